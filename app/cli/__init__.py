"""Commands of the command line that need more than one call of the core."""
