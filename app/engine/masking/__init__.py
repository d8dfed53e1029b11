"""Masking: which tokens of a row are learned, where a person or the rows themselves say more than TRL's own masks can."""
