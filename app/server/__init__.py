"""The page's server: views, the event stream, and who may open it."""
