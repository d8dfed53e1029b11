"""Web server of the page: views, the event stream, and access control."""
