"""The view Words: what the page calls things, and what the field calls them."""

from __future__ import annotations

from components.glossary import build_glossary
from components.shell import build_view


def build_words_view() -> None:
    """Builds the view."""
    sentence = "What this page calls things, and the words to search for elsewhere."
    with build_view("words", "Words", sentence):
        build_glossary()
