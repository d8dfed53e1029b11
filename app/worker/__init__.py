"""The page's side of the warm worker process: questions sent to it, and what is kept warm."""
