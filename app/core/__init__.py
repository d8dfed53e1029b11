"""The lowest layer: problems, validation, the registry, paths, the cache and processes.

It imports no other package of this project.
"""
