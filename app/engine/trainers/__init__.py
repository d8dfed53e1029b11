"""Trainers: extensions of TRL's, and those that TRL lacks."""
