"""Preview: what the page is shown before training, by the trainer's own code."""
