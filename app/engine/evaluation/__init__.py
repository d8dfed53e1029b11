"""How good a model is: held-out measures, comparisons, and scores given by models that score."""
