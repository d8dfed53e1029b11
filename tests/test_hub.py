"""Hub: what cannot be published is refused, the card says how a model was made, and no token is ever written."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from app import presets, runs
from app.card import card
from app.runs import Run
from app.spec import Launch, read
from tests.support import cli

TOKEN = "hf_" + "secret" * 6
NOBODY = {"HF_TOKEN": "", "HUGGING_FACE_HUB_TOKEN": ""}


def finished(evals: tuple[dict[str, Any], ...] = (), **changes: Any) -> Run:
    run = runs.create(read(presets.spec("first_tune").to_dict() | changes), Launch())
    run.adapter.mkdir()
    (run.adapter / "adapter_config.json").write_text("{}")
    story = [
        *({"kind": "eval", "step": step, "set": "holdout", "metrics": metrics} for step, metrics in enumerate(evals)),
        {"kind": "done", "why": "finished"},
    ]
    run.events.write_text(
        "".join(
            json.dumps({"seq": seq, "attempt": 1, "time": 1.0} | event) + "\n" for seq, event in enumerate(story, 1)
        )
    )
    runs.write_json(run.path / "facts.json", {"versions": {"trl": "1.16.0"}})
    return run


def refused(run: Run, repo: str, **env: str) -> str:
    return cli("push", run.id, repo, code=2, **env).stderr


@pytest.mark.parametrize(
    "repo", ["mine", "me/mine/too", "me/", "https://huggingface.co/me/mine", "me/mi ne", "me/../x"]
)
def test_a_name_that_is_none_on_the_hub_is_refused(repo: str) -> None:
    assert f"“{repo}” is not a name on the Hub. Write it as owner/name." in refused(finished(), repo)


def test_somebody_who_is_not_signed_in_is_told_how(tmp_path: Path) -> None:
    said = refused(finished(), "me/mine", HF_HOME=str(tmp_path / "hf"), **NOBODY)
    assert "not signed in" in said
    assert "hf auth login" in said


def test_a_hub_out_of_reach_is_said_in_a_sentence(tmp_path: Path) -> None:
    """Nothing of this machine listens there."""
    done = cli(
        "push",
        finished().id,
        "me/mine",
        code=1,
        HF_HOME=str(tmp_path / "hf"),
        HF_TOKEN=TOKEN,
        HF_ENDPOINT="http://127.0.0.1:9",
        HF_HUB_OFFLINE="0",
    )
    assert "Traceback" not in done.stderr
    assert TOKEN not in done.stderr + done.stdout


def test_no_token_is_left_in_the_runs_folder(tmp_path: Path) -> None:
    run = finished()
    cli("push", run.id, "me/mine", code=None, HF_HOME=str(tmp_path / "hf"), HF_TOKEN=TOKEN)
    assert not any(TOKEN.encode() in path.read_bytes() for path in run.path.rglob("*") if path.is_file())


# -- the card -----------------------------------------------------------------------------------------------------


def test_a_card_begins_with_what_the_hub_reads() -> None:
    said = card(finished(model={"id": "owner/base"}))
    matter = said.split("---\n")[1].splitlines()
    assert matter == ["library_name: peft", "tags:", "- tunesmith", "- sft", "base_model: owner/base"]


def test_the_practice_model_is_no_base_on_the_hub() -> None:
    said = card(finished())
    assert "base_model" not in said
    assert "practice model trained with sft on `sample:tickets`." in said


def test_a_whole_model_is_named_as_such() -> None:
    assert "library_name: transformers" in card(finished(adapter={"kind": "none"}))


def test_a_card_repeats_the_run() -> None:
    run = finished()
    block = card(run).partition("```json\n")[2].partition("\n```")[0]
    assert read(json.loads(block)) == run.spec


def test_a_card_shows_the_first_and_the_last_test() -> None:
    said = card(
        finished(
            (
                {"eval/loss": 2.0, "eval/correct": 0.1},
                {"eval/loss": 1.5, "eval/correct": None},
                {"eval/loss": 0.123456, "eval/correct": 0.9},
            )
        )
    )
    assert "| held-out | before | after |" in said
    assert "| eval/loss | 2 | 0.1235 |" in said
    assert "| eval/correct | 0.1 | 0.9 |" in said


def test_a_card_without_tests_has_no_table() -> None:
    assert "held-out" not in card(finished(({"eval/loss": 2.0},)))


@pytest.mark.parametrize("title", ["---\nlicense: mit\n---", "```\nescaped", "<script>alert(1)</script>", "a\n# b"])
def test_a_title_cannot_rewrite_the_card(title: str) -> None:
    said = card(finished(title=title))
    assert said.split("---\n")[1].startswith("library_name: peft")
    heading = next(line for line in said.splitlines() if line.startswith("# "))
    assert said.count("\n# ") == 1
    assert "<script>" not in heading


def test_a_card_names_no_place_on_this_machine(tmp_path: Path) -> None:
    """Paths of examples tell a stranger the owner's name and folders."""
    (tmp_path / "a.jsonl").write_text('{"text": "a"}\n')
    said = card(finished(data=[{"source": f"path:{tmp_path}/a.jsonl"}]))
    assert str(tmp_path) not in said
