"""What is decided before a run starts: defaults, validation against the methods' declarations, and preflight checks."""
