"""Reading of files and datasets, to rows as they stand there."""
