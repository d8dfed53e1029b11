"""Plotly's script from its Python package, served by the page itself: nothing is loaded from other hosts."""

from __future__ import annotations

import gzip
from functools import cache
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

PLOTLY_ROUTE = f"live/plotly-{version('plotly')}.js"  # relative to the page's address; the version keeps caches fresh


def plotly_script_path() -> Path:
    """Path of the script in the installed package."""
    package = find_spec("plotly")
    assert package is not None, "plotly is a dependency"
    assert package.origin is not None
    return Path(package.origin).with_name("package_data") / "plotly.min.js"


@cache
def plotly_script_bytes(is_compressed: bool) -> bytes:
    """The script, cached. is_compressed: as gzip."""
    return gzip.compress(plotly_script_path().read_bytes(), 6) if is_compressed else plotly_script_path().read_bytes()
