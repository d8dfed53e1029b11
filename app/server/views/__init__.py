"""Views of the page, one module each: its components, and the events bound to them."""
