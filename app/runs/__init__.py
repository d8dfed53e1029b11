"""Runs on disk: their folders, events, checkpoints and cleanup, and the standby engine that starts the next run quickly."""
