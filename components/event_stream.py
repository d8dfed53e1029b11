"""The page's single event stream; event_stream.js passes its messages on as events of the document."""

from __future__ import annotations

from components import scripts
from components.theme import html_block, launch_demo


def _demo() -> None:
    """Without Tunesmith's server the page says that it cannot be reached."""
    html_block("<p>The sentence at the foot of the page is this piece.</p>")


if __name__ == "__main__":
    launch_demo(_demo, head=scripts.head("event_stream"))
