"""Story: a run's events, read as they grow: curves, lists, what a run came to, and the stream to every open page."""
