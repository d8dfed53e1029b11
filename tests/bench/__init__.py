"""Bench: the full versions of what the tests show in short. `python -m tests.bench NAME` writes a dated table."""
