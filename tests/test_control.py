"""Control: what is asked of a running engine arrives once, in order, is answered, and nothing asked can break it."""

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


def wish(control: Control, text: str | bytes) -> None:
    with control.path.open("ab") as file:
        file.write(text.encode() if isinstance(text, str) else text)


def asked(number: int | str, command: str) -> str:
    return json.dumps({"id": str(number), "command": command}) + "\n"


def answers(control: Control) -> list[events.NoteEvent]:
    return events.of_type(events.read_events(control.emitter.path), events.NoteEvent)


def test_without_a_wish_there_is_nothing_to_do(control: Control) -> None:
    assert control.poll_commands() == []
    assert not control.stop_requested
    control.raise_if_stopped()


def test_wishes_arrive_once_and_in_order_and_are_answered_by_their_id(control: Control) -> None:
    wish(control, asked("a", "save") + asked("b", "evaluate"))
    assert control.poll_commands() == ["save", "evaluate"]
    assert control.poll_commands() == []
    wish(control, asked("c", "sample"))
    assert control.poll_commands() == ["sample"]
    assert [(note.control, note.text) for note in answers(control)] == [
        ("a", "Saving after this step."), ("b", "Testing after this step."), ("c", "Writing sample answers after this step.")]  # fmt: skip


def test_the_backends_wish_is_understood(control: Control) -> None:
    name = local.control({"folder": str(control.path.parent)}, "save")
    assert control.poll_commands() == ["save"]
    assert answers(control)[0].control == name


def test_a_wish_half_written_waits_for_its_end(control: Control) -> None:
    line = asked("a", "save")
    wish(control, line[:10])
    assert control.poll_commands() == []
    wish(control, line[10:] + line[:4].replace("a", "b"))
    assert control.poll_commands() == ["save"]


def test_a_wish_repeated_is_answered_once_also_by_a_later_attempt(control: Control) -> None:
    wish(control, asked("a", "save") * 2)
    assert control.poll_commands() == ["save"]
    again = Control(control.path, Emitter(control.path.parent))
    assert again.poll_commands() == []
    assert len(answers(control)) == 1


def test_wishes_of_earlier_starts_are_not_read(control: Control) -> None:
    wish(control, asked("a", "stop"))
    later = Control(control.path, control.emitter, start=control.path.stat().st_size)
    wish(control, asked("b", "save"))
    assert later.poll_commands() == ["save"]
    assert not later.stop_requested


def test_a_stop_raises_the_flag_and_ends_what_has_nothing_to_save(control: Control) -> None:
    wish(control, asked("a", "stop"))
    with pytest.raises(Stopped):
        control.raise_if_stopped()
    assert control.stop_requested
    assert answers(control)[0].text.startswith("Stopping")


def test_an_unknown_command_is_answered_too(control: Control) -> None:
    wish(control, asked("a", "explode"))
    assert control.poll_commands() == []
    [note] = answers(control)
    assert (note.level, note.text, note.control) == ("wrong", "There is no command “explode”.", "a")


@pytest.mark.parametrize("line", [b"\n", b"[]\n", b"5\n", b"null\n", b"{\n", b"\xff\xfe\n", b"[" * 5000 + b"\n", b'{"id": "a"}\n', b'{"id": "a", "command": []}\n',
                                  b'{"id": "a", "command": null}\n', b'{"id": {"a": 1}, "command": "explode"}\n', b'{"command": "' + b"x" * 20_000 + b'"}\n',
                                  b'{"id": "' + b"x" * 20_000 + b'", "command": "explode"}\n', b'{"id": "a", "command": "\\ud800"}\n'],
                         ids=range(14))  # fmt: skip
def test_nothing_in_the_file_can_break_the_run(line: bytes, control: Control) -> None:
    wish(control, line + asked("after", "save").encode())
    assert control.poll_commands() == ["save"]


def test_wishes_without_an_id_are_each_heard(control: Control) -> None:
    wish(control, '{"command": "save"}\n')
    assert control.poll_commands() == ["save"]
    wish(control, '{"command": "stop"}\n')
    assert control.poll_commands() == ["stop"]


@pytest.fixture
def handlers() -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)}
    yield
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.usefixtures("handlers")
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_polite_signal_is_a_wish_to_stop_and_save(number: int, control: Control) -> None:
    control.listen()
    control.is_training = True
    os.kill(os.getpid(), number)
    assert control.stop_requested


@pytest.mark.usefixtures("handlers")
def test_before_training_a_signal_ends_the_engine_at_once(control: Control) -> None:
    control.listen()
    with pytest.raises(Stopped):
        os.kill(os.getpid(), signal.SIGTERM)
