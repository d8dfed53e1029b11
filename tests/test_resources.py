"""What a run needs before it starts: refused in time, with the number or the name, and before a run exists."""

from __future__ import annotations

import shutil
import socket
import time
from collections import namedtuple
from pathlib import Path
from typing import Any

import pytest
from huggingface_hub import constants

from app.core.problems import Problem
from app.core.workspace import local_workspace
from app.planning import launcher, presets, resources
from app.setup.spec import Spec
from tests.support import run_command_line

DiskUsage = namedtuple("DiskUsage", "total used free")


@pytest.fixture(autouse=True)
def without_copies(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(constants, "HF_HUB_CACHE", str(home / "hub-cache"))
    monkeypatch.delenv("HF_HUB_OFFLINE", raising=False)


def hub_spec(**changes: Any) -> Spec:
    spec = presets.preset_spec("first_tune")
    return spec.model_copy(update={"model": spec.model.model_copy(update={"id": "owner/some-model"}), **changes})


def test_a_full_disk_is_noticed_before_a_run_exists(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shutil, "disk_usage", lambda _: DiskUsage(10, 9, 100_000_000))
    with pytest.raises(Problem, match=r"The disk has 0\.1 GB free, and this run needs about 0\.3 GB"):
        launcher.launch_run(local_workspace(), presets.preset_spec("first_tune"))
    assert list(local_workspace().runs.iterdir()) == []


def test_a_full_tune_needs_room_for_four_checkpoints(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(resources.models, "count_parameters", lambda _: 100_000_000)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: DiskUsage(10, 9, 2_000_000_000))
    spec = presets.preset_spec("first_tune")
    resources.require_resources(local_workspace(), spec)  # an adapter is small
    whole = spec.model_copy(update={"adapter": spec.adapter.model_copy(update={"kind": "none"})})
    with pytest.raises(Problem, match=r"needs about 5\.1 GB"):
        resources.require_resources(local_workspace(), whole)


@pytest.mark.parametrize("listens", [False, True])
def test_an_unreachable_hub_is_noticed_within_five_seconds(listens: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{server.getsockname()[1]}")
        if listens:
            server.listen(5)
            resources.require_resources(local_workspace(), hub_spec())
            return
        start_time = time.monotonic()
        with pytest.raises(Problem, match="“owner/some-model” would be loaded from the Hub, which is out of reach"):
            resources.require_resources(local_workspace(), hub_spec())
        assert time.monotonic() - start_time < 5


def test_a_hub_that_never_answers_is_given_up_in_time(monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))
        server.listen(0)
        address = server.getsockname()
        waiting = [socket.socket() for _ in range(4)]  # they fill the queue of connections
        for client in waiting:
            client.setblocking(False)
            client.connect_ex(address)
        monkeypatch.setenv("HF_ENDPOINT", f"http://127.0.0.1:{address[1]}")
        start_time = time.monotonic()
        with pytest.raises(Problem, match="out of reach"):
            resources.require_resources(local_workspace(), hub_spec())
        assert time.monotonic() - start_time < 5
        for client in waiting:
            client.close()


def test_what_is_here_needs_no_hub(home: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    with pytest.raises(Problem, match="set to work without the Hub"):
        resources.require_resources(local_workspace(), hub_spec())
    (home / "hub-cache" / "models--owner--some-model" / "snapshots" / "abc").mkdir(parents=True)
    resources.require_resources(local_workspace(), hub_spec())
    with_dataset = hub_spec().to_dict() | {"data": [{"source": "hub:owner/rows"}]}
    with pytest.raises(Problem, match="“owner/rows” would be loaded"):
        resources.require_resources(local_workspace(), Spec.model_validate(with_dataset))


def test_the_command_line_refuses_before_a_run_exists(home: Path) -> None:
    arguments = ("run", "first_tune", "--set", "model.id=owner/some-model")
    process = run_command_line(*arguments, expected_exit_code=2, HF_ENDPOINT="http://127.0.0.1:9", HF_HUB_OFFLINE="0")
    assert "out of reach" in process.stderr
    assert list(local_workspace().runs.iterdir()) == []
