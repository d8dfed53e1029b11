"""What the page is made of: one component per module, with its script and stylesheet beside it."""
