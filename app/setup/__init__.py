"""What a person sets up: Spec and Launch, presets, links, names of models, and the declaration of settings."""
