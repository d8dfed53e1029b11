"""Tokenized examples, and what the preview, the audit, the datasets and the masks share about them."""
