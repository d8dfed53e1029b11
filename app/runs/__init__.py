"""Runs on disk: their folders, events and checkpoints, and what is done to them."""
