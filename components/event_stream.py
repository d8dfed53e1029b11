"""Live: the page's one stream of news; live.js tells it to the pieces as events on the document."""

from __future__ import annotations

from pathlib import Path

from components import shell
from components.theme import alone, page

HEAD = f"<script>{Path(__file__).with_suffix('.js').read_text(encoding='utf-8')}</script>"


def example() -> None:
    """Without a server of Tunesmith behind it the page says that it cannot be reached."""
    shell.frame()
    page("<p>The sentence at the foot of the page is this piece.</p>")


if __name__ == "__main__":
    alone(example, head=shell.HEAD + HEAD)
