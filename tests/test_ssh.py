"""Runs on a machine over ssh, against a real OpenSSH server on loopback: nothing is lost, whatever is cut or killed."""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest
from peft import AutoPeftModelForCausalLM

from app.core import platform
from app.core.problems import Problem
from app.core.workspace import Workspace, local_workspace
from app.planning import launcher
from app.remote import adoption, environment, host, mirrors
from app.remote.machines import RemoteMachine, list_machines, remove_machine
from app.runs import checkpoints, events, store
from app.runs.events import DoneEvent, StepEvent, of_type
from app.runs.mirror_record import MIRROR_LOCK, read_mirror_record
from app.runs.store import Run
from app.setup.spec import Spec
from backends import ssh
from tests.ssh_server import SshServer, add_machine, end_processes_of, ssh_server
from tests.support import build_spec, conversation_rows, drain_generator, run_losses, train, wait_until, write_rows

pytestmark = pytest.mark.timeout(240)


@pytest.fixture(scope="module")
def server() -> Iterator[SshServer]:
    with ssh_server() as started:
        yield started


@pytest.fixture
def lab(server: SshServer, home: Path) -> Iterator[RemoteMachine]:
    """The server as a machine that is prepared; its engines and mirrors end with the test."""
    server.write_client_config()
    machine = add_machine(local_workspace(), server)
    drain_generator(environment.prepare(machine))
    yield machine
    end_processes_of(server, home)


def spec_of_lines(folder: Path, steps: int = 6, **knobs: object) -> Spec:
    """Short training on a file of this machine, of which each step is saved."""
    source = write_rows(folder / "mine.jsonl", conversation_rows(16))
    settings = {"steps": steps, "batch_size": 2, "max_length": 96, "saves": steps, "precision": "fp32"}
    return build_spec("sft", source, settings | knobs)


def launch(spec: Spec, machine: str = "ssh:lab") -> Run:
    return launcher.launch_run(local_workspace(), spec, launcher.create_launch(machine))


def wait_for_end(run: Run, seconds: float = 120) -> None:
    def has_ended() -> bool:
        mirrors.ensure_mirror(run)
        return not store.is_alive(run)

    wait_until(has_ended, seconds, run)


def steps_of(run: Run) -> list[int]:
    return [event.step for event in of_type(events.read_events(run.events), StepEvent)]


def seqs_of(run: Run) -> list[int]:
    return [event.seq for event in events.read_events(run.events)]


def mirror_pid(run: Run) -> int:
    text = wait_until(lambda: (run.path / MIRROR_LOCK).exists() and (run.path / MIRROR_LOCK).read_text().strip())
    return int(text)


def test_a_run_over_ssh_equals_a_local_one_whatever_is_cut(
    lab: RemoteMachine, server: SshServer, tmp_path: Path
) -> None:
    spec = spec_of_lines(tmp_path, steps=12)
    run = launch(spec)
    assert run.handle["backend"] == "ssh"
    wait_until(lambda: steps_of(run), 90, run)
    server.cut()  # in mid-step
    wait_until(lambda: len(steps_of(run)) >= 3, 60, run)
    pid = mirror_pid(run)
    assert psutil.Process(pid).memory_info().rss < 60e6
    os.kill(pid, signal.SIGKILL)
    assert store.is_alive(run), "a dead mirror says nothing of the engine"
    server.stop()
    mirrors.ensure_mirror(run)
    record = wait_until(lambda: (r := read_mirror_record(run.path)) and not r["connected"] and r, 30, run)
    assert "lab" in record["reason"]
    assert store.is_alive(run), "no contact is never the end of a run"
    server.start()
    wait_for_end(run)
    assert seqs_of(run) == list(range(1, len(seqs_of(run)) + 1)), "no gap, no double"
    assert isinstance(events.last_event(run.events), DoneEvent)
    assert run_losses(run) == pytest.approx(run_losses(train(spec)), rel=1e-6)
    model = AutoPeftModelForCausalLM.from_pretrained(str(run.adapter))
    assert model.peft_config["default"].base_model_name_or_path.endswith("presets/pocket")
    assert checkpoints.usable_checkpoints(run.checkpoints), "what was saved there is here, as it was saved"
    assert launcher.find_changed_files(run) == []
    assert [*run.facts["data"]["files"]] == [spec.data[0].source], "named as it is here"
    wait_until(lambda: not platform.is_locked(run.path / MIRROR_LOCK), 10)
    assert host.ask(lab, "delete", run=run.id)["freed"] > 100_000
    assert run.id not in [there["id"] for there in adoption.list_remote_runs(local_workspace(), "lab")]
    assert run.adapter.is_dir(), "what was fetched stays"


def test_a_stopped_run_goes_on_there_and_then_here(lab: RemoteMachine, server: SshServer, tmp_path: Path) -> None:
    spec = spec_of_lines(tmp_path, steps=40)
    run = launch(spec)
    wait_until(lambda: steps_of(run), 90, run)
    server.stop()
    ssh.control(run.handle, "stop")  # while nobody answers: it waits for the machine
    server.start()
    wait_for_end(run)
    last = events.last_event(run.events)
    assert isinstance(last, DoneEvent)
    assert last.why == "stopped"
    stopped_at = steps_of(run)[-1]
    assert stopped_at < 40

    launcher.resume_run(run)
    wait_until(lambda: steps_of(run)[-1] > stopped_at, 90, run)
    assert launcher.stop_run(run) == "asked"
    assert seqs_of(run) == list(range(1, len(seqs_of(run)) + 1))

    continued_at = steps_of(run)[-1]
    launcher.resume_run(run, launch=run.launch.model_copy(update={"machine": "local"}))
    wait_until(lambda: steps_of(run)[-1] > continued_at, 90, run)
    assert run.handle["backend"] == "local"
    assert launcher.stop_run(run) == "asked"
    assert len({*steps_of(run)}) == len(steps_of(run)), (
        "no step was trained twice: each attempt went on where one ended"
    )


@pytest.mark.full
def test_a_run_of_a_lost_home_is_adopted_by_another(
    lab: RemoteMachine, server: SshServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = launch(spec_of_lines(tmp_path, steps=8))
    monkeypatch.setenv("TUNESMITH_HOME", str(tmp_path / "another"))
    workspace = local_workspace()
    add_machine(workspace, server)
    there = next(found for found in adoption.list_remote_runs(workspace, "lab") if found["id"] == run.id)
    assert not there["is_ours"]
    assert not there["is_here"]
    adopted = adoption.adopt_run(workspace, "lab", run.id)
    wait_for_end(adopted)
    assert isinstance(events.last_event(adopted.events), DoneEvent)
    assert adopted.adapter.is_dir()
    with pytest.raises(Problem, match="no such run"):
        adoption.adopt_run(workspace, "lab", "../../etc")


@pytest.mark.full
def test_a_given_up_run_can_be_resumed_here(lab: RemoteMachine, server: SshServer, tmp_path: Path) -> None:
    run = launch(spec_of_lines(tmp_path, steps=400))
    wait_until(lambda: checkpoints.complete_checkpoints(run.checkpoints), 90, run)
    with pytest.raises(Problem, match="trains on"):
        adoption.require_unused(local_workspace(), "lab")
    server.stop()
    mirrors.abandon_run(run)
    server.start()
    assert not store.is_alive(run)
    assert store.run_state(run, alive=False) == "lost"
    assert not platform.is_locked(run.path / MIRROR_LOCK)
    with pytest.raises(Problem, match="does not run on another machine"):
        mirrors.abandon_run(run)
    host.ask(lab, "stop", run=run.id, seconds=90)


# -- a machine that does not answer as it should -----------------------------------------------------------------------


@pytest.mark.parametrize(
    ("key", "host_key", "text"),
    [
        ("other_key", "host_key", "refuses your key"),
        ("client_key", "other_key", "another host key than before"),
        ("client_key", "", "not known here yet"),
    ],
)
def test_a_refused_connection_says_why(home: Path, server: SshServer, key: str, host_key: str, text: str) -> None:
    machine = add_machine(local_workspace(), server)
    server.write_client_config(key, host_key)
    with pytest.raises(Problem, match=text):
        environment.probe(machine)


@pytest.mark.parametrize(
    ("name", "text"), [("no-such-host.invalid", "no machine of the name"), ("127.0.0.1", "takes no ssh connections")]
)
def test_a_machine_that_is_not_there_says_so(home: Path, tmp_path: Path, name: str, text: str) -> None:
    config = tmp_path / "config"
    config.write_text("Host *\n  Port 9\n")
    server = SshServer.__new__(SshServer)
    server.folder, server.config = tmp_path, config
    machine = add_machine(local_workspace(), server, host=name)
    with pytest.raises(Problem, match=text) as refusal:
        environment.probe(machine)
    assert refusal.value.advice


def test_an_environment_with_other_packages_is_refused(home: Path, server: SshServer, tmp_path: Path) -> None:
    server.write_client_config()
    other = tmp_path / "python"
    other.write_text('#!/bin/sh\necho \'{"torch": "2.12.0", "trl": null}\'\n')
    other.chmod(0o755)
    machine = add_machine(local_workspace(), server, python=str(other), folder=str(tmp_path / "far"))
    with pytest.raises(Problem, match=r"torch 2\.12\.0 instead of 2\.13\.0.*trl missing instead of"):
        drain_generator(environment.prepare(machine))


def test_a_run_on_a_machine_that_is_not_prepared_is_refused(home: Path, server: SshServer, tmp_path: Path) -> None:
    server.write_client_config()
    add_machine(local_workspace(), server, python=str(tmp_path / "missing"), folder=str(tmp_path / "far"))
    with pytest.raises(Problem, match="no environment for training yet"):
        launch(spec_of_lines(tmp_path))


@pytest.mark.parametrize(("driver", "index"), [(0, "whl/cpu"), (580, ""), (610, ""), (535, "whl/cu126")])
def test_the_build_of_torch_fits_the_driver(driver: int, index: str) -> None:
    assert environment.torch_index(driver).endswith(index)
    assert bool(environment.torch_index(driver)) == bool(index)


def test_a_driver_that_no_build_fits_is_named() -> None:
    with pytest.raises(Problem, match="driver 470 there is too old"):
        environment.torch_index(470)


# -- machines ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "fields",
    [
        {"host": "-oProxyCommand=touch /tmp/owned"},
        {"host": "lab; touch x"},
        {"name": "../lab"},
        {"folder": "$(touch x)"},
        {"python": "bin/python"},
        {"backend": "teleport"},
    ],
)
def test_a_machine_takes_no_commands_in_its_fields(home: Path, server: SshServer, fields: dict[str, str]) -> None:
    with pytest.raises(Problem):
        add_machine(local_workspace(), server, **fields)
    assert list_machines(local_workspace()) == []


def test_a_removed_machine_is_unknown(home: Path, server: SshServer) -> None:
    workspace: Workspace = local_workspace()
    add_machine(workspace, server)
    assert [machine["name"] for machine in ssh.machines()] == ["ssh:lab"]
    remove_machine(workspace, "lab")
    with pytest.raises(Problem, match="no machine called"):
        launcher.create_launch("ssh:lab")
