"""Pipelines: several runs that build on each other, and the pipeline runs that execute them."""
