"""Local Hub: speaks the Hub's own protocol on this machine, to unmodified clients, through HF_ENDPOINT.

`python -m tests.hub --root DIR --port N` runs it by hand; tests open one with `opened(folder)`.
"""

from tests.hub.local import LocalHub, opened

__all__ = ["LocalHub", "opened"]
