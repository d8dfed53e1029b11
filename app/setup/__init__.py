"""What a person sets up: the Spec and the Launch, presets, links, models, and how a setting is declared."""
