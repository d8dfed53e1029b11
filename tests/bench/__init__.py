"""Benchmarks: full versions of what the tests check in short form. `python -m tests.bench NAME` writes a dated table."""
