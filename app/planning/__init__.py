"""What is decided before a run starts: the values of all settings, and preflight checks."""
