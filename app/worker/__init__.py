"""The page's side of the worker process: the client, its RPC, and what is started in advance."""
