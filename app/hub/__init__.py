"""Access to the Hugging Face Hub: identity, model search, and publishing of a run's result."""
