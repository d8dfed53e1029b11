"""Plotly's own script as its Python package ships it, so that no other host is asked for it."""

from __future__ import annotations

import gzip
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

PLOTLY = f"live/plotly-{version('plotly')}.js"  # the route, relative to the page's address


def plotly() -> Path:
    """Where the package keeps the script."""
    return Path(find_spec("plotly").origin).with_name("package_data") / "plotly.min.js"


@cache
def library(packed: bool) -> bytes:
    """The script's bytes. packed: compressed with gzip, once."""
    return gzip.compress(plotly().read_bytes(), 6) if packed else plotly().read_bytes()
