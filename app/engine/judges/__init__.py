"""Judges: models that score."""
