"""Teachers: models that are asked but not trained, and learning from them."""
