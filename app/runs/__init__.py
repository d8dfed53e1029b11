"""Runs on disk: folders, events, checkpoints and cleanup; and the standby engine, for a quick start of the next run."""
