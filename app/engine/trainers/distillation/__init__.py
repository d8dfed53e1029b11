"""Distillation: training a student on the outputs of a teacher model that is not trained itself."""
