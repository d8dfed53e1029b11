"""Training data: the sources of a Spec as the tables that a trainer gets, prepared once and cached."""
