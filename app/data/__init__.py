"""Training data: reading of files, detection of layouts, and normalization of rows for a method."""
