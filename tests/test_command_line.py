"""The command line: every command as a person or a program calls it, and every bad input answered in one sentence."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.core import registry
from app.core.paths import ROOT
from app.core.workspace import local_workspace
from app.planning import links, presets
from app.runs import store
from app.runs.store import Run
from app.setup.spec import Launch, parse_spec
from tests.support import cli, pairs, write_rows


def ended() -> Run:
    """A run whose story is over, without an engine having run."""
    run = store.create_run(local_workspace(), presets.preset_spec("first_tune"), Launch())
    story = [{"kind": "state", "state": "training"}, {"kind": "eval", "step": 0, "set": "holdout", "metrics": {"eval/loss": 2.0}},
             {"kind": "step", "step": 1, "of": 1, "seconds_left": 0.0, "metrics": {"train/loss": 1.5, "time/step": 0.1}},
             {"kind": "note", "level": "info", "text": "A note."}, {"kind": "done", "why": "finished", "verdict": "Better."}]  # fmt: skip
    lines = [json.dumps({"seq": seq, "attempt": 1, "time": 1.0} | event) + "\n" for seq, event in enumerate(story, 1)]
    run.events.write_text("".join(lines))
    return run


def document(*arguments: str) -> Any:
    """What --json prints: one document and nothing else."""
    done = cli(*arguments, "--json")
    assert done.stderr == ""
    return json.loads(done.stdout)


# -- lists and documents ------------------------------------------------------------------------------------------


def test_presets_are_listed() -> None:
    assert document("presets") == presets.list_presets()
    assert [one["name"] for one in presets.list_presets()] == sorted(
        registry.names("presets"), key=lambda name: (presets.describe_preset(name)["minutes"], name)
    )
    assert "First tune" in cli("presets").stdout


def test_methods_are_listed_with_their_settings() -> None:
    listed = document("methods")
    assert [one["name"] for one in listed] == registry.names("methods")
    assert {"name", "title", "term", "sentence", "layouts", "knobs"} <= set(listed[0])
    said = cli("methods").stdout
    assert "knobs.learning_rate = automatic [1e-07 to 0.1]" in said
    assert "sft: Imitate examples (SFT)." in said


def test_one_method_is_described_with_the_names_that_libraries_have_for_its_settings() -> None:
    assert "  knobs.attempts (num_generations) = 8 [2 to 256 answers]" in cli("methods", "grpo").stdout
    described = document("methods", "grpo")
    assert (described["name"], described["term"]) == ("grpo", "GRPO")
    assert {"kl": "beta", "temperature": ""}.items() <= {
        knob["name"]: knob["library_name"] for knob in described["knobs"]
    }.items()
    schema = json.loads(cli("schema").stdout)
    assert schema["knobs"]["grpo"]["properties"]["attempts"]["library_name"] == "num_generations"
    assert schema["$defs"]["Adapter"]["properties"]["alpha"]["library_name"] == "lora_alpha"


def test_pipelines_are_listed_and_their_runs_too() -> None:
    assert [one["name"] for one in document("pipelines", "list")] == registry.names("pipelines")
    assert document("pipelines", "runs") == []
    assert "`python -m app pipelines runs`" in refused("pipelines", "show", "nope")


def test_the_schema_is_one_document_of_everything() -> None:
    schema = json.loads(cli("schema").stdout)
    assert set(schema["knobs"]) == set(registry.names("methods"))
    assert set(schema["rewards"]) == set(registry.names("rewards"))
    assert "as" in schema["$defs"]["Reward"]["properties"]


def test_runs_are_listed_with_their_state() -> None:
    assert document("runs") == []
    run = ended()
    assert document("runs") == [{"name": run.id, "title": "First tune", "state": "finished"}]
    assert run.id in cli("runs").stdout


def test_a_run_is_shown_with_its_tests() -> None:
    run = ended()
    shown = document("show", "last")
    assert (shown["name"], shown["state"], shown["last"]["verdict"]) == (run.id, "finished", "Better.")
    assert parse_spec(shown["spec"]) == run.spec
    assert [test["metrics"] for test in shown["tests"]] == [{"eval/loss": 2.0}]


def test_a_story_is_told_in_words_or_line_by_line() -> None:
    run = ended()
    assert [line for line in cli("events", "last").stdout.splitlines() if line] == [
        "held-out: loss 2", "step 1/1  loss 1.5  0 s left", "A note.", "Done (finished). Better."]  # fmt: skip
    lines = cli("events", run.id, "--json").stdout.splitlines()
    assert [json.loads(line)["seq"] for line in lines] == [1, 2, 3, 4, 5]
    assert cli("events", "last", "--follow").stdout == cli("events", "last").stdout, "what is over is told to its end"


def test_stopping_what_does_not_run_says_so() -> None:
    ended()
    assert cli("stop", "last").stdout == "It was not running.\n"


def test_a_link_opens_the_setup_it_was_made_from() -> None:
    address = document("link", "first_tune", "--set", "seed=11")["link"]
    assert parse_spec(json.loads(cli("open", address).stdout)) == links.decode_setup(address)
    assert links.decode_setup(address).seed == 11


def test_a_setup_may_be_a_file_and_text_needs_no_quotes(tmp_path: Path) -> None:
    source = write_rows(tmp_path / "a.jsonl", pairs(3))
    file = tmp_path / "mine.json"
    file.write_text(json.dumps({"method": "sft", "data": [{"source": source}]}))
    done = cli(
        "link",
        str(file),
        "--set",
        "data.0.source=sample:tickets",
        "--set",
        "title=Hello there",
        "--set",
        "knobs.epochs=2",
        "--json",
    )
    spec = links.decode_setup(json.loads(done.stdout)["link"])
    assert (spec.title, spec.knobs["epochs"], spec.data[0].source) == ("Hello there", 2, "sample:tickets")


# -- bad inputs: exit code 2, one sentence that names the value and the next step ---------------------------------


def refused(*arguments: str, **env: str) -> str:
    """What stderr says, on one line and without a traceback."""
    done = cli(*arguments, code=2, **env)
    assert done.stdout == ""
    said = done.stderr.strip()
    assert "Traceback" not in said
    assert said.count("\n") == 0, said
    assert said.endswith((".", "?", "`", "--follow"))
    return said


RUN = ("run", "first_tune", "--detach")
BAD: dict[str, tuple[tuple[str, ...], str, str]] = {  # what was typed, what must be named, the next step
    "a preset that does not exist": (("run", "first_tun"), "“first_tun”", "“first_tune”"),
    "a file that does not exist": (("run", "nowhere.toml"), "“nowhere.toml”", "first_tune"),
    "an unknown setting": ((*RUN, "--set", "knobs.learning_rat=1"), "“learning_rat”", "“learning_rate”"),
    "a misspelt name of TRL's": ((*RUN, "--set", "knobs.num_train_epoch=1"), "“num_train_epoch”", "“num_train_epochs”"),
    "both names of a setting": ((*RUN, "--set", "knobs.epochs=1", "--set", "knobs.num_train_epochs=1"), "“knobs.num_train_epochs”", "Leave one"),
    "an unknown field": ((*RUN, "--set", "metod=sft"), "“metod”", "“method”"),
    "a learning rate of abc": ((*RUN, "--set", "knobs.learning_rate=abc"), "“learning_rate” is 'abc'", "between 1e-07 and 0.1"),
    "a model that does not exist": ((*RUN, "--set", "model.id=nosuch"), "“nosuch”", "pocket"),
    "a reward that does not exist": ((*RUN, "--set", "rewards.0.name=exact"), "“exact”", "“exact_match”"),
    "a machine that does not exist": ((*RUN, "--machine", "moon"), "“moon”", "local"),
    "a device that does not exist": ((*RUN, "--machine", "local:banana"), "“local:banana”", "“local"),
    "a change that sets nothing": ((*RUN, "--set", "seed"), "“seed”", "path=value"),
    "a change without a name": ((*RUN, "--set", "=5"), "“=5”", "path=value"),
    "a change that leads nowhere": ((*RUN, "--set", "data.²=1"), "“data.²”", "Choose one of them"),
    "a run that does not exist": (("show", "nope"), "“nope”", "python -m app runs"),
    "a link that is none": (("open", "http://127.0.0.1:7860/?setup=abc"), "link", "preset"),
}  # fmt: skip


@pytest.mark.parametrize("case", BAD)
def test_a_bad_input_is_refused_in_one_sentence(case: str, home: Path) -> None:
    typed, named, step = BAD[case]
    said = refused(*typed)
    assert named in said
    assert step in said
    assert not (home / "runs").exists() or list((home / "runs").iterdir()) == [], "no half-made run is left behind"


FILES: dict[str, tuple[str, str, str]] = {  # name, content, what is said
    "a file of another kind": ("a.xlsx", "PK", "“.xlsx”"),
    "a broken line": ("a.jsonl", '{"prompt": "a", "completion": "b"\n', "line 1"),
    "a missing column": ("a.jsonl", '{"frage": "a", "antwort": "b"}\n', "`frage`, `antwort`"),
    "no usable rows": ("a.csv", "prompt,completion\na,\n,b\n", "2 × empty prompt or completion"),
    "no rows": ("a.csv", "prompt,completion\n", "are empty"),
    "another encoding": ("a.csv", "prompt,completion\ngr\udcfcn,x\n", "UTF-8"),
}


@pytest.mark.parametrize("case", FILES)
def test_bad_examples_are_refused_in_one_sentence(case: str, tmp_path: Path, home: Path) -> None:
    name, content, said = FILES[case]
    (tmp_path / name).write_text(content, encoding="utf-8", errors="surrogateescape")
    assert said in refused(
        *RUN, "--set", f"data.0.source=path:{tmp_path / name}", "--set", "holdout={}", "--set", "rewards=[]"
    )
    assert list((home / "runs").iterdir()) == []


def test_a_home_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    said = refused(*RUN, TUNESMITH_HOME=str(tmp_path / "file" / "home"))
    assert str(tmp_path / "file" / "home") in said
    assert "TUNESMITH_HOME" in said


def test_a_finished_run_is_not_resumed() -> None:
    run = ended()
    assert f"{run.id} is finished" in refused("resume", "last")


def test_a_run_without_a_result_is_not_pushed() -> None:
    ended()
    assert "no result yet" in refused("push", "last", "me/mine")


@pytest.mark.parametrize("arguments", [("nosuch",), ("run",), ("run", "first_tune", "--minutes", "0"), ("run", "first_tune", "--minutes", "soon"),
                                       ("preview", "first_tune", "--rows", "0"), ("chat", "last")])  # fmt: skip
def test_a_wrong_call_is_refused_with_its_usage(arguments: tuple[str, ...]) -> None:
    said = cli(*arguments, code=2).stderr
    assert "Usage: python -m app" in said
    assert "Traceback" not in said


def test_a_reader_that_has_seen_enough_is_no_error() -> None:
    """`python -m app schema | head -1`"""
    program = subprocess.Popen(
        [sys.executable, "-m", "app", "schema"],
        cwd=ROOT,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=os.environ,
    )
    program.stdout.readline()
    program.stdout.close()
    said = program.stderr.read().decode()
    program.stderr.close()
    program.wait(timeout=30)
    assert said == ""


def test_help_names_every_command_with_a_sentence() -> None:
    said = cli("--help").stdout
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
        assert f"│ {name} " in said
