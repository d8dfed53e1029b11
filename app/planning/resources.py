"""What a run needs of its surroundings before it starts: room on the disk, and the Hub in reach where it loads from there."""

from __future__ import annotations

import os
import shutil
import socket
from pathlib import Path
from urllib.parse import urlsplit
from urllib.request import getproxies

from app.core.problems import Problem
from app.core.workspace import Workspace
from app.planning.resolve import models_in_settings
from app.setup import models
from app.setup.sources import HUB_NAME
from app.setup.spec import Spec

_MIN_FREE_BYTES = 300_000_000  # for logs, samples, an adapter and its checkpoints
_CHECKPOINT_BYTES_PER_WEIGHT = 12  # the weight itself and the two moments of AdamW, in float32
_CHECKPOINTS_AT_ONCE = 4  # the two newest, the best, and the next one until it is complete
_CONNECT_SECONDS = 4.0
_DEFAULT_PORTS = {"http": 80, "https": 443}


def require_resources(workspace: Workspace, spec: Spec) -> None:
    """Raises Problem where a run of this Spec could not begin, or not be saved."""
    _require_free_disk(workspace, spec)
    missing = _missing_repositories(spec)
    if missing:
        _require_hub(missing[0])


def _require_free_disk(workspace: Workspace, spec: Spec) -> None:
    needed_bytes = _MIN_FREE_BYTES
    weights = models.count_parameters(spec.model) if spec.adapter.kind == "none" else None
    if weights:
        needed_bytes += weights * _CHECKPOINT_BYTES_PER_WEIGHT * _CHECKPOINTS_AT_ONCE
    free_bytes = shutil.disk_usage(workspace.runs).free
    if free_bytes < needed_bytes:
        raise Problem(
            f"The disk has {free_bytes / 1e9:.1f} GB free, and this run needs about {needed_bytes / 1e9:.1f} GB to save what it learns.",
            advice="Delete runs that you no longer need, or set TUNESMITH_HOME to a folder on a larger disk.",
            reason="disk_full",
        )


# -- the Hub ------------------------------------------------------------------------------------------------------------


def _missing_repositories(spec: Spec) -> list[str]:
    """Names of the models and datasets on the Hub of which this machine has no copy."""
    model_names = {str(name) for name in (spec.model.id, *models_in_settings(spec), spec.model.start_from) if name}
    candidates = [("models", name) for name in sorted(model_names) if _is_on_hub(name)]
    candidates += [("datasets", source.source[4:]) for source in spec.sources if source.source.startswith("hub:")]
    return [name for kind, name in candidates if not _has_copy(kind, name)]


def _is_on_hub(name: str) -> bool:
    is_local = name in models.SHIPPED_MODELS or name.startswith("run:") or os.path.exists(name)
    return not is_local and bool(HUB_NAME.fullmatch(name.partition("@")[0]))


def _has_copy(kind: str, name: str) -> bool:
    from huggingface_hub import constants

    folder = Path(constants.HF_HUB_CACHE, f"{kind}--{name.partition('@')[0].replace('/', '--')}", "snapshots")
    return folder.is_dir() and any(folder.iterdir())


def _require_hub(name: str) -> None:
    """Raises Problem where nobody answers at the Hub's address, or at the proxy before it."""
    endpoint = os.environ.get("HF_ENDPOINT") or "https://huggingface.co"
    url = urlsplit(getproxies().get(urlsplit(endpoint).scheme) or endpoint)
    reason = (
        "it is set to work without the Hub" if os.environ.get("HF_HUB_OFFLINE") in ("1", "true", "ON", "YES") else ""
    )
    try:
        if not reason:
            address = (url.hostname or "", url.port or _DEFAULT_PORTS.get(url.scheme, 443))
            socket.create_connection(address, timeout=_CONNECT_SECONDS).close()
    except OSError as error:  # a boundary: the network
        reason = os.strerror(error.errno) if error.errno and error.errno > 0 else str(error)
    if reason:
        raise Problem(
            f"“{name}” would be loaded from the Hub, which is out of reach ({reason}).",
            advice="Check your connection and try again, or choose what this machine has already.",
            reason="needs_hub",
        )
