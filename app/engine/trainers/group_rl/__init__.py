"""Trying: models that write their own answers and learn from them."""
