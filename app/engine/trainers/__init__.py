"""Trainers: TRL's with our extensions, and those that TRL lacks."""
