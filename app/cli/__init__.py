"""Commands: what the command line does beyond one call of the pipe."""
