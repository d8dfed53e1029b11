"""Local Hub: a server that speaks the Hub's own protocol on this machine, to unmodified clients, through HF_ENDPOINT.

`python -m tests.hub --root DIR --port N` runs it from the command line; tests start one with `run_local_hub(folder)`.
"""

from tests.hub.local import LocalHub, run_local_hub

__all__ = ["LocalHub", "run_local_hub"]
