"""Settings that a preset sets for its own model or examples: they follow where others are chosen."""

from __future__ import annotations

from pathlib import Path

import pytest

from app.cli.terminal import read_setup
from app.core import registry
from app.core.workspace import local_workspace
from app.data.source_title import title_of_sources
from app.engine.contracts import load_method
from app.planning import launcher, links, preflight, presets
from app.planning.resolve import resolve
from app.planning.setup_changes import describe_setup_changes
from app.setup.models import count_parameters
from app.setup.spec import Launch, Source

OTHER_MODEL = "model.id=owner/name"


def test_a_rate_for_the_practice_model_does_not_survive_another_model() -> None:
    other = resolve(read_setup("first_tune", [OTHER_MODEL]))
    assert other.knobs["learning_rate"] == 2e-4  # the default of an adapter on a larger model
    assert resolve(read_setup("first_tune", [])).knobs["learning_rate"] == 0.004
    assert resolve(read_setup("first_tune", ["adapter.kind=dora"])).knobs["learning_rate"] == 0.004
    assert resolve(read_setup("first_tune", ["adapter.kind=none"])).knobs["learning_rate"] == pytest.approx(2e-4)


def test_a_setting_that_the_person_gives_stays() -> None:
    other = read_setup("first_tune", ["knobs.learning_rate=0.004", OTHER_MODEL, "title=First tune"])
    assert (other.knobs["learning_rate"], other.title) == (0.004, "First tune")
    assert read_setup("prefer_kindness", [OTHER_MODEL, "knobs.num_train_epochs=2"]).knobs["epochs"] == 2


@pytest.mark.parametrize("name", registry.names("presets"))
def test_no_preset_hands_its_rate_or_lengths_to_another_model_and_other_examples(name: str) -> None:
    preset = presets.unresolved_preset_spec(name)
    other = read_setup(name, [OTHER_MODEL, "data.0.source=hub:owner/rows"])
    automatic = load_method(preset.method).defaults(preset.adapter.kind, None)
    assert not {*automatic, "max_length", "eval_length", "max_completion_length"} & set(other.knobs)
    assert (other.title, other.prompts) == ("", [])
    assert presets.preset_for(name, preset) == preset


@pytest.mark.parametrize("name", registry.names("presets"))
def test_a_preset_does_not_warn_of_its_own_rate(name: str) -> None:
    """The page takes a tenth to five times the method's default as usual, and widens it to a preset's own value."""
    preset = presets.unresolved_preset_spec(name)
    automatic = load_method(preset.method).defaults(preset.adapter.kind, count_parameters(preset.model))
    assert set(presets.bound_settings(name)["model"]) <= {f"knobs.{knob}" for knob in automatic}


def test_a_rate_that_the_method_chose_is_no_choice_of_the_person_when_the_setup_is_used_again() -> None:
    spec = resolve(read_setup("first_tune", [OTHER_MODEL]))
    assert "learning_rate" not in links.preset_changes(spec, "first_tune")["knobs"]  # type: ignore[operator]
    assert [change["path"] for change in describe_setup_changes(spec, "first_tune")] == ["model.id"]


@pytest.mark.parametrize(
    ("sources", "title"),
    [
        (["sample:tickets"], "Support tickets"),
        (["hub:trl-lib/ultra_feedback-binarized"], "Ultra feedback binarized"),
        (["path:/data/desk_tickets.csv"], "Desk tickets"),
        (["path:/data/größe 2.0.csv", "sample:sums"], "Größe 2.0 and 1 more"),
        (["path:/data/export.jsonl.gz"], "Export"),
        (["path:/data/.csv"], ".csv"),
    ],
)
def test_a_title_is_made_of_the_examples(sources: list[str], title: str) -> None:
    assert title_of_sources([Source(source=source) for source in sources]) == title


def test_a_run_without_a_title_is_named_after_its_examples(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TUNESMITH_HOME", str(tmp_path / "home"))
    path = tmp_path / "desk_tickets.csv"
    path.write_text("question,answer\n" + "Where is it?,Here.\n" * 20)
    spec = preflight.check_spec(read_setup("first_tune", [f"data.0.source=path:{path}", "holdout={}", "rewards=[]"]))
    run = launcher.create_run(local_workspace(), spec, Launch())
    assert run.spec.title == "Desk tickets"
    assert "-desk-tickets-" in run.id
    own = launcher.create_run(local_workspace(), spec.model_copy(update={"title": "Mine"}), Launch())
    assert own.spec.title == "Mine"
