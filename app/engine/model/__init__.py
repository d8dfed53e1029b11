"""Weights: the model a run starts from, on what it computes, and which of it is trained."""
