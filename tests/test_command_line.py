"""Command line: every command called in a child process, and every bad input refused in one sentence."""

from __future__ import annotations

import csv
import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.cli import terminal
from app.core import registry
from app.core.paths import ROOT
from app.core.workspace import local_workspace
from app.planning import links, presets
from app.runs import store
from app.runs.store import Run
from app.setup.spec import Launch, parse_spec
from tests.support import prompt_completion_rows, run_command_line, write_rows


def create_finished_run() -> Run:
    """A finished run with written events, made without an engine."""
    run = store.create_run(local_workspace(), presets.preset_spec("first_tune"), Launch())
    event_records = [{"kind": "state", "state": "training"}, {"kind": "eval", "step": 0, "set": "holdout", "metrics": {"eval/loss": 2.0}},
                     {"kind": "step", "step": 1, "of": 1, "seconds_left": 0.0, "metrics": {"train/loss": 1.5, "time/step": 0.1}},
                     {"kind": "note", "level": "info", "text": "A note."}, {"kind": "done", "why": "finished", "verdict": "Better."}]  # fmt: skip
    lines = [
        json.dumps({"seq": seq, "attempt": 1, "time": 1.0} | event) + "\n" for seq, event in enumerate(event_records, 1)
    ]
    run.events.write_text("".join(lines))
    return run


def json_output(*arguments: str) -> Any:
    """The parsed output of a command with --json, which prints one document and nothing else."""
    process = run_command_line(*arguments, "--json")
    assert process.stderr == ""
    return json.loads(process.stdout)


# -- lists and JSON output ----------------------------------------------------------------------------------------


def test_presets_are_listed() -> None:
    assert json_output("presets") == presets.list_presets()
    listed = presets.list_presets()
    assert sorted(preset["name"] for preset in listed) == registry.names("presets")
    practice = [preset for preset in listed if not preset["goal"]]
    assert listed[: len(practice)] == sorted(practice, key=lambda preset: (preset["minutes"] or 0, preset["name"]))
    lines = run_command_line("presets").stdout
    assert "1 min  First tune" in lines
    assert "24 GB  Maths by trying with Qwen3 4B" in lines


def test_methods_are_listed_with_their_settings() -> None:
    listed = json_output("methods")
    assert [method["name"] for method in listed] == registry.names("methods")
    assert {"name", "title", "term", "sentence", "layouts", "knobs"} <= set(listed[0])
    output = run_command_line("methods").stdout
    assert "knobs.learning_rate = automatic [1e-07 to 0.1]" in output
    assert "sft: Imitate examples (SFT)." in output


@pytest.mark.slow
def test_a_method_is_described_with_the_library_names_of_its_settings() -> None:
    assert "  knobs.attempts (num_generations) = 8 [2 to 256 answers]" in run_command_line("methods", "grpo").stdout
    description = json_output("methods", "grpo")
    assert (description["name"], description["term"]) == ("grpo", "GRPO")
    assert {"kl": "beta", "temperature": ""}.items() <= {
        knob["name"]: knob["library_name"] for knob in description["knobs"]
    }.items()
    schema = json.loads(run_command_line("schema").stdout)
    assert schema["knobs"]["grpo"]["properties"]["attempts"]["library_name"] == "num_generations"
    assert schema["$defs"]["Adapter"]["properties"]["alpha"]["library_name"] == "lora_alpha"


@pytest.mark.slow
def test_pipelines_and_pipeline_runs_are_listed() -> None:
    assert [pipeline["name"] for pipeline in json_output("pipelines", "list")] == registry.names("pipelines")
    assert json_output("pipelines", "runs") == []
    assert "`python -m app pipelines runs`" in refusal_message("pipelines", "show", "nope")


def test_the_schema_is_one_json_document_with_all_methods_and_rewards() -> None:
    schema = json.loads(run_command_line("schema").stdout)
    assert set(schema["knobs"]) == set(registry.names("methods"))
    assert set(schema["rewards"]) == set(registry.names("rewards"))
    assert "as" in schema["$defs"]["Reward"]["properties"]


@pytest.mark.slow
def test_runs_are_listed_with_their_state() -> None:
    assert json_output("runs") == []
    run = create_finished_run()
    assert json_output("runs") == [{"name": run.id, "title": "First tune", "state": "finished"}]
    assert run.id in run_command_line("runs").stdout


def test_show_prints_a_run_with_its_evaluations() -> None:
    run = create_finished_run()
    run_json = json_output("show", "last")
    assert (run_json["name"], run_json["state"], run_json["last"]["verdict"]) == (run.id, "finished", "Better.")
    assert parse_spec(run_json["spec"]) == run.spec
    assert [evaluation["metrics"] for evaluation in run_json["tests"]] == [{"eval/loss": 2.0}]


@pytest.mark.slow
def test_events_are_printed_as_text_or_as_json_lines() -> None:
    run = create_finished_run()
    assert [line for line in run_command_line("events", "last").stdout.splitlines() if line] == [
        "held-out: loss 2", "step 1/1  loss 1.5  0 s left", "A note.", "Done (finished). Better."]  # fmt: skip
    lines = run_command_line("events", run.id, "--json").stdout.splitlines()
    assert [json.loads(line)["seq"] for line in lines] == [1, 2, 3, 4, 5]
    assert run_command_line("events", "last", "--follow").stdout == run_command_line("events", "last").stdout, (
        "--follow of a finished run prints all events and returns"
    )


def test_stopping_a_run_that_is_not_running_says_so() -> None:
    create_finished_run()
    assert run_command_line("stop", "last").stdout == "It was not running.\n"


def test_a_link_opens_the_setup_it_was_made_from() -> None:
    link = json_output("link", "first_tune", "--set", "seed=11")["link"]
    assert parse_spec(json.loads(run_command_line("open", link).stdout)) == links.decode_setup(link)
    assert links.decode_setup(link).seed == 11


def test_a_setup_can_be_a_json_file_and_text_settings_need_no_quotes(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", prompt_completion_rows(3))
    setup_file = tmp_path / "mine.json"
    setup_file.write_text(json.dumps({"method": "sft", "data": [{"source": source}]}))
    process = run_command_line(
        "link",
        str(setup_file),
        "--set",
        "data.0.source=sample:tickets",
        "--set",
        "title=Hello there",
        "--set",
        "knobs.epochs=2",
        "--json",
    )
    spec = links.decode_setup(json.loads(process.stdout)["link"])
    assert (spec.title, spec.knobs["epochs"], spec.data[0].source) == ("Hello there", 2, "sample:tickets")


# -- bad inputs: exit code 2, one sentence that names the value and the next step ---------------------------------


def refusal_message(*arguments: str, **env: str) -> str:
    """The stderr of a command that exits with code 2: one line without a traceback."""
    process = run_command_line(*arguments, expected_exit_code=2, **env)
    assert process.stdout == ""
    message = process.stderr.strip()
    assert "Traceback" not in message
    assert message.count("\n") == 0, message
    assert message.endswith((".", "?", "`", "--follow"))
    return message


RUN_COMMAND = ("run", "first_tune", "--detach")
BAD_INPUTS: dict[str, tuple[tuple[str, ...], str, str]] = {  # arguments, name in the message, advice in the message
    "a preset that does not exist": (("run", "first_tun"), "“first_tun”", "“first_tune”"),
    "a file that does not exist": (("run", "nowhere.toml"), "“nowhere.toml”", "first_tune"),
    "an unknown setting": ((*RUN_COMMAND, "--set", "knobs.learning_rat=1"), "“learning_rat”", "“learning_rate”"),
    "a misspelt name of TRL's": ((*RUN_COMMAND, "--set", "knobs.num_train_epoch=1"), "“num_train_epoch”", "“num_train_epochs”"),
    "both names of a setting": ((*RUN_COMMAND, "--set", "knobs.epochs=1", "--set", "knobs.num_train_epochs=1"), "“knobs.num_train_epochs”", "Leave one"),
    "an unknown field": ((*RUN_COMMAND, "--set", "metod=sft"), "“metod”", "“method”"),
    "a learning rate of abc": ((*RUN_COMMAND, "--set", "knobs.learning_rate=abc"), "“learning_rate” is 'abc'", "between 1e-07 and 0.1"),
    "a model that does not exist": ((*RUN_COMMAND, "--set", "model.id=nosuch"), "“nosuch”", "pocket"),
    "a reward that does not exist": ((*RUN_COMMAND, "--set", "rewards.0.name=exact"), "“exact”", "“exact_match”"),
    "a machine that does not exist": ((*RUN_COMMAND, "--machine", "moon"), "“moon”", "local"),
    "a device that does not exist": ((*RUN_COMMAND, "--machine", "local:banana"), "“local:banana”", "“local"),
    "a change that sets nothing": ((*RUN_COMMAND, "--set", "seed"), "“seed”", "path=value"),
    "a change without a name": ((*RUN_COMMAND, "--set", "=5"), "“=5”", "path=value"),
    "a change at an index that does not exist": ((*RUN_COMMAND, "--set", "data.²=1"), "“data.²”", "Choose one of them"),
    "a run that does not exist": (("show", "nope"), "“nope”", "python -m app runs"),
    "an invalid link": (("open", "http://127.0.0.1:7860/?setup=abc"), "link", "preset"),
}  # fmt: skip


@pytest.mark.slow
@pytest.mark.first_cases(4)
@pytest.mark.parametrize("case", BAD_INPUTS)
def test_a_bad_input_is_refused_in_one_sentence(case: str, home: Path) -> None:
    arguments, expected_name, expected_advice = BAD_INPUTS[case]
    message = refusal_message(*arguments)
    assert expected_name in message
    assert expected_advice in message
    assert not (home / "runs").exists() or list((home / "runs").iterdir()) == [], "no run folder is created"


BAD_DATA_FILES: dict[str, tuple[str, str, str]] = {  # file name, content, expected text
    "a file of another kind": ("a.xls", "PK", "“.xls”"),
    "a broken line": ("a.jsonl", '{"prompt": "a", "completion": "b"\n', "line 1"),
    "a missing column": ("a.jsonl", '{"frage": "a", "antwort": "b"}\n', "`frage`, `antwort`"),
    "no usable rows": ("a.csv", "prompt,completion\na,\n,b\n", "2 × empty prompt or completion"),
    "no rows": ("a.csv", "prompt,completion\n", "are empty"),
    "another encoding": ("a.csv", "prompt,completion\ngr\udcfcn,x\n", "UTF-8"),
}


@pytest.mark.parametrize("case", BAD_DATA_FILES)
def test_a_bad_data_file_is_refused_in_one_sentence(case: str, tmp_path: Path, home: Path) -> None:
    name, content, expected_text = BAD_DATA_FILES[case]
    (tmp_path / name).write_text(content, encoding="utf-8", errors="surrogateescape")
    assert expected_text in refusal_message(
        *RUN_COMMAND, "--set", f"data.0.source=path:{tmp_path / name}", "--set", "holdout={}", "--set", "rewards=[]"
    )
    assert list((home / "runs").iterdir()) == []


# Writes to the clipboard, clears the screen, hides, turns the direction, begins a sequence in one character.
TERMINAL_TRICKS = "\x1b]52;c;cHduZWQ=\x07\x1b[2J\x1b[8m\u202egnp.exe\u202c\x9b2J\x7f"
OBEYED = re.compile("[\x00-\x09\x0b-\x1f\x7f-\x9f\u202a-\u202e]")


@pytest.mark.slow
@pytest.mark.parametrize("kind", ["jsonl", "csv"])
def test_a_terminal_shows_control_characters_of_strangers_and_obeys_none(kind: str, tmp_path: Path) -> None:
    rows = [{"prompt": f"Hi {TERMINAL_TRICKS}", "completion": "Hello", f"x{TERMINAL_TRICKS}": "y"}]
    file = tmp_path / f"{TERMINAL_TRICKS[:5]}rows.{kind}"
    with file.open("w", newline="") as stream:
        if kind == "csv":
            writer = csv.DictWriter(stream, rows[0])
            writer.writeheader()
            writer.writerows(rows)
        else:
            stream.write(json.dumps(rows[0], ensure_ascii=False) + "\n")
    for arguments in (["inspect", str(file)], ["inspect", str(file), "--json"], ["run", str(file)]):
        process = run_command_line(*arguments, expected_exit_code=None)
        assert not OBEYED.search(process.stdout + process.stderr), arguments
    assert "\\u001b]52;c;" in run_command_line("inspect", str(file)).stdout
    assert json_output("inspect", str(file))["columns"][0]["examples"] == [rows[0]["prompt"]]  # as JSON it is the same


def test_a_preview_shows_control_characters_of_a_token_and_underlines_it_itself(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(sys.stdout, "isatty", lambda: True, raising=False)
    token = {"text": "\x1b[0mnot learned\x1b]52;c;x\x07", "id": 1, "trained": True, "special": False}
    shown = terminal.format_preview_row({"tokens": [token], "sides": []})  # type: ignore[typeddict-item]
    assert shown.removeprefix("\x1b[4;36m").removesuffix("\x1b[0m") == "\\u001b[0mnot learned\\u001b]52;c;x\\u0007"


def test_a_home_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    message = refusal_message(*RUN_COMMAND, TUNESMITH_HOME=str(tmp_path / "file" / "home"))
    assert str(tmp_path / "file" / "home") in message
    assert "TUNESMITH_HOME" in message


def test_a_finished_run_is_not_resumed() -> None:
    run = create_finished_run()
    assert f"{run.id} is finished" in refusal_message("resume", "last")


def test_a_run_without_a_result_is_not_pushed() -> None:
    create_finished_run()
    assert "no result yet" in refusal_message("push", "last", "me/mine")


@pytest.mark.slow
@pytest.mark.parametrize("arguments", [("nosuch",), ("run",), ("run", "first_tune", "--minutes", "0"), ("run", "first_tune", "--minutes", "soon"),
                                       ("preview", "first_tune", "--rows", "0"), ("chat", "last")])  # fmt: skip
def test_wrong_arguments_are_refused_with_the_usage_text(arguments: tuple[str, ...]) -> None:
    stderr = run_command_line(*arguments, expected_exit_code=2).stderr
    assert "Usage: python -m app" in stderr
    assert "Traceback" not in stderr


def test_a_closed_output_pipe_is_no_error() -> None:
    """`python -m app schema | head -1`"""
    process = subprocess.Popen(
        [sys.executable, "-m", "app", "schema"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ,
    )
    process.stdout.readline()
    process.stdout.close()
    stderr = process.stderr.read().decode()
    process.stderr.close()
    process.wait(timeout=30)
    assert stderr == ""


def test_help_lists_every_command() -> None:
    output = run_command_line("--help").stdout
    for name in (
        "presets",
        "methods",
        "schema",
        "preview",
        "run",
        "runs",
        "show",
        "events",
        "stop",
        "resume",
        "chat",
        "push",
        "link",
        "open",
        "inspect",
        "audit",
        "score",
        "pipelines",
    ):
        assert f"│ {name} " in output
