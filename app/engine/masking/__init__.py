"""Loss masks: which tokens of a row are trained, where more is chosen than TRL's own masks can express."""
