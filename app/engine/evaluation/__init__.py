"""Evaluation of models: held-out metrics, comparisons, and scores given by reward models."""
