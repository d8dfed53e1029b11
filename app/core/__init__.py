"""What everything else stands on: problems, validation, the registry, paths, the cache, processes. Imports nothing of ours."""
