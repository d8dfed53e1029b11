"""Control: commands to a running engine are read once and in order and are answered, and malformed ones do no harm."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest

from app.engine.control import Control, Stopped
from app.engine.emitter import Emitter
from app.runs import events
from backends import local


@pytest.fixture
def control(tmp_path: Path) -> Control:
    return Control(tmp_path / "control.jsonl", Emitter(tmp_path))


def append_to_control_file(control: Control, content: str | bytes) -> None:
    with control.path.open("ab") as file:
        file.write(content.encode() if isinstance(content, str) else content)


def command_json(command_id: int | str, command: str) -> str:
    return json.dumps({"id": str(command_id), "command": command}) + "\n"


def note_events(control: Control) -> list[events.NoteEvent]:
    return events.of_type(events.read_events(control.emitter.path), events.NoteEvent)


def test_without_commands_nothing_is_polled_and_no_stop_is_requested(control: Control) -> None:
    assert control.poll_commands() == []
    assert not control.stop_requested
    control.raise_if_stopped()


def test_commands_are_polled_once_in_order_and_answered_by_id(control: Control) -> None:
    append_to_control_file(control, command_json("a", "save") + command_json("b", "evaluate"))
    assert control.poll_commands() == ["save", "evaluate"]
    assert control.poll_commands() == []
    append_to_control_file(control, command_json("c", "sample"))
    assert control.poll_commands() == ["sample"]
    assert [(note.control, note.text) for note in note_events(control)] == [
        ("a", "Saving after this step."), ("b", "Testing after this step."), ("c", "Writing sample answers after this step.")]  # fmt: skip


def test_a_command_written_by_the_backend_is_read(control: Control) -> None:
    command_id = local.control({"folder": str(control.path.parent)}, "save")
    assert control.poll_commands() == ["save"]
    assert note_events(control)[0].control == command_id


def test_a_partly_written_command_is_read_once_it_is_complete(control: Control) -> None:
    line = command_json("a", "save")
    append_to_control_file(control, line[:10])
    assert control.poll_commands() == []
    append_to_control_file(control, line[10:] + line[:4].replace("a", "b"))
    assert control.poll_commands() == ["save"]


def test_a_command_with_a_repeated_id_is_answered_once_also_by_a_later_attempt(control: Control) -> None:
    append_to_control_file(control, command_json("a", "save") * 2)
    assert control.poll_commands() == ["save"]
    next_control = Control(control.path, Emitter(control.path.parent))
    assert next_control.poll_commands() == []
    assert len(note_events(control)) == 1


def test_commands_before_the_start_offset_are_not_read(control: Control) -> None:
    append_to_control_file(control, command_json("a", "stop"))
    later_control = Control(control.path, control.emitter, start=control.path.stat().st_size)
    append_to_control_file(control, command_json("b", "save"))
    assert later_control.poll_commands() == ["save"]
    assert not later_control.stop_requested


def test_a_stop_command_sets_the_flag_and_raises_stopped(control: Control) -> None:
    append_to_control_file(control, command_json("a", "stop"))
    with pytest.raises(Stopped):
        control.raise_if_stopped()
    assert control.stop_requested
    assert note_events(control)[0].text.startswith("Stopping")


def test_an_unknown_command_is_answered_with_an_error(control: Control) -> None:
    append_to_control_file(control, command_json("a", "explode"))
    assert control.poll_commands() == []
    [note] = note_events(control)
    assert (note.level, note.text, note.control) == ("wrong", "There is no command “explode”.", "a")


@pytest.mark.parametrize("line", [b"\n", b"[]\n", b"5\n", b"null\n", b"{\n", b"\xff\xfe\n", b"[" * 5000 + b"\n", b'{"id": "a"}\n', b'{"id": "a", "command": []}\n',
                                  b'{"id": "a", "command": null}\n', b'{"id": {"a": 1}, "command": "explode"}\n', b'{"command": "' + b"x" * 20_000 + b'"}\n',
                                  b'{"id": "' + b"x" * 20_000 + b'", "command": "explode"}\n', b'{"id": "a", "command": "\\ud800"}\n'],
                         ids=range(14))  # fmt: skip
def test_malformed_lines_are_skipped(line: bytes, control: Control) -> None:
    append_to_control_file(control, line + command_json("after", "save").encode())
    assert control.poll_commands() == ["save"]


def test_commands_without_an_id_are_all_read(control: Control) -> None:
    append_to_control_file(control, '{"command": "save"}\n')
    assert control.poll_commands() == ["save"]
    append_to_control_file(control, '{"command": "stop"}\n')
    assert control.poll_commands() == ["stop"]


@pytest.fixture
def restored_signal_handlers() -> Iterator[None]:
    previous_handlers = {
        signal_number: signal.getsignal(signal_number) for signal_number in (signal.SIGTERM, signal.SIGINT)
    }
    yield
    for signal_number, handler in previous_handlers.items():
        signal.signal(signal_number, handler)


@pytest.mark.usefixtures("restored_signal_handlers")
@pytest.mark.parametrize("signal_number", [signal.SIGTERM, signal.SIGINT])
def test_a_termination_signal_during_training_requests_a_stop(signal_number: int, control: Control) -> None:
    control.listen()
    control.is_training = True
    os.kill(os.getpid(), signal_number)
    assert control.stop_requested


@pytest.mark.usefixtures("restored_signal_handlers")
def test_a_termination_signal_before_training_raises_stopped(control: Control) -> None:
    control.listen()
    with pytest.raises(Stopped):
        os.kill(os.getpid(), signal.SIGTERM)
