"""Model cards: generated from the run folder; untrusted text stays text, and nothing about this machine is included."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path
from typing import Any

import pytest
import yaml
from PIL import Image

from app.core.json_files import read_json, write_json
from app.core.workspace import local_workspace
from app.hub.curve_image import axis_ticks, render_curves
from app.hub.model_card import CardContext, render_model_card
from app.planning import links, presets
from app.runs import store
from app.runs.store import Run
from app.setup.spec import Launch, parse_spec

HOSTILE_MARKDOWN = (
    "---\nlicense: mit\n---\n# a\n```\n<script>alert(1)</script> | ![x](http://evil.example/x.png) [y](javascript:z)"
)


def run_with_events(*event_dicts: dict[str, Any], **spec_changes: Any) -> Run:
    run = store.create_run(
        local_workspace(), parse_spec(presets.preset_spec("first_tune").to_dict() | spec_changes), Launch()
    )
    lines = [
        json.dumps({"seq": seq, "attempt": 1, "time": 1.0} | event) + "\n" for seq, event in enumerate(event_dicts, 1)
    ]
    run.events.write_text("".join(lines))
    write_json(run.path / "facts.json", {"versions": {"trl": "1.16.0"}, "chat": True, "device": {"bf16": False}})
    return run


def holdout_event(step: int, **metrics: float | None) -> dict[str, Any]:
    eval_metrics = {f"eval/{name}": value for name, value in metrics.items()}
    return {"kind": "eval", "step": step, "set": "holdout", "metrics": eval_metrics}


def sample_event(step: int, *prompt_completions: tuple[str, str]) -> dict[str, Any]:
    return {
        "kind": "sample",
        "step": step,
        "rows": [{"prompt": prompt, "completion": completion} for prompt, completion in prompt_completions],
    }


def front_matter(text: str) -> dict[str, Any]:
    return yaml.safe_load(text.split("---\n")[1])


def test_a_card_begins_with_the_hub_metadata() -> None:
    sources = [{"source": "hub:owner/rows"}, {"source": "sample:tickets"}]
    metadata = front_matter(
        render_model_card(run_with_events(model={"id": "owner/base"}, data=sources), CardContext(licence="apache-2.0"))
    )
    assert metadata == {"library_name": "peft", "pipeline_tag": "text-generation", "tags": ["tunesmith", "trl", "sft", "lora"], "base_model": "owner/base",
                    "base_model_relation": "adapter", "license": "apache-2.0", "datasets": ["owner/rows"]}  # fmt: skip


def test_the_practice_model_is_named_as_base_model_only_if_it_was_published() -> None:
    assert "base_model" not in front_matter(render_model_card(run_with_events()))
    assert (
        front_matter(render_model_card(run_with_events(), CardContext(base="alice/practice")))["base_model"]
        == "alice/practice"
    )
    assert (
        "practice model of Tunesmith (`pocket`), taught with “Imitate examples” on `sample:tickets`. "
        "The model imitates the answers it is shown." in render_model_card(run_with_events())
    )


def test_a_fully_fine_tuned_model_is_described_and_loaded_with_transformers() -> None:
    card = render_model_card(run_with_events(adapter={"kind": "none"}), CardContext("alice/whole"))
    assert front_matter(card)["library_name"] == "transformers"
    assert 'AutoModelForCausalLM.from_pretrained("alice/whole", dtype="float32")' in card
    assert "All weights of" in card


def test_a_card_contains_the_spec_of_the_run() -> None:
    run = run_with_events()
    spec_json = render_model_card(run).partition("```json\n")[2].partition("\n```")[0]
    assert parse_spec(json.loads(spec_json)) == run.spec


def test_a_card_lists_the_differences_from_the_nearest_preset() -> None:
    knobs = presets.preset_spec("first_tune").knobs | {"epochs": 2.0}
    card = render_model_card(run_with_events(knobs=knobs, seed=8))
    assert "Nearest preset: “First tune”. What differs:" in card
    assert "| `epochs` | `5.0` | `2.0` |" in card
    assert "| `seed` | `7` | `8` |" in card
    assert "Nothing differs." in render_model_card(run_with_events(title="Another title"))


def test_a_card_shows_the_first_and_the_last_evaluation() -> None:
    card = render_model_card(run_with_events(holdout_event(0, loss=2.0, correct=0.1), holdout_event(5, loss=1.5, correct=None), holdout_event(9, loss=0.123456, correct=0.9)))  # fmt: skip
    assert "| held-out examples | before | after |" in card
    assert "| loss | 2 | 0.1235 |" in card
    assert "| correct | 0.1 | 0.9 |" in card
    assert "held-out examples" not in render_model_card(run_with_events(holdout_event(0, loss=2.0)))


def test_a_card_shows_the_prompts_of_the_spec_before_and_after_and_no_dataset_rows() -> None:
    run = run_with_events(sample_event(0, ("Hello?", "before"), ("a private row", "x")), sample_event(9, ("Hello?", "after"), ("a private row", "y")),
                          prompts=["Hello?", "never answered"])  # fmt: skip
    card = render_model_card(run)
    assert re.search(r"Hello\?.*Before.*before.*After.*after", card, re.DOTALL)
    assert "a private row" not in card


@pytest.mark.parametrize("base", [None, "alice/practice"])
def test_untrusted_text_adds_no_metadata_headings_links_or_scripts(base: str | None) -> None:
    run = run_with_events(sample_event(0, (HOSTILE_MARKDOWN, HOSTILE_MARKDOWN)), sample_event(1, (HOSTILE_MARKDOWN, HOSTILE_MARKDOWN + "```")), title=HOSTILE_MARKDOWN[:200], prompts=[HOSTILE_MARKDOWN],
                          data=[{"source": f"path:/x/{HOSTILE_MARKDOWN}.jsonl"}], holdout={"share": 0.0})  # fmt: skip
    card = render_model_card(run, CardContext(base=base))
    assert "license" not in front_matter(card)
    unfenced_lines, fence = [], ""
    for line in card.splitlines():
        opening = re.match(r"`{3,}", line)
        if fence:
            fence = "" if line == fence else fence
        elif opening:
            fence = opening[0]
        else:
            unfenced_lines.append(re.sub(r"`[^`]*`", "", line))
    unfenced_text = "\n".join(unfenced_lines)
    assert fence == "", "every code fence must be closed"
    assert [line for line in unfenced_lines if line.startswith("# ")] == [
        unfenced_lines[unfenced_lines.index("---", 1) + 2]
    ]
    assert "<script" not in unfenced_text
    assert "](http://evil" not in unfenced_text
    assert "](javascript" not in unfenced_text


@pytest.mark.parametrize(
    ("quantization", "loader_args"),
    [("nf4", 'load_in_4bit=True, bnb_4bit_quant_type="nf4"'), ("int8", "load_in_8bit=True")],
)
def test_a_quantized_base_model_is_loaded_quantized(quantization: str, loader_args: str) -> None:
    card = render_model_card(
        run_with_events(model={"id": "pocket", "quantization": quantization}), CardContext("me/it", "me/base")
    )
    assert (
        f'AutoPeftModelForCausalLM.from_pretrained("me/it", dtype="float32", quantization_config=BitsAndBytesConfig({loader_args}'
        in card
    )
    assert "from transformers import AutoTokenizer, BitsAndBytesConfig" in card
    assert "BitsAndBytes" not in render_model_card(run_with_events(), CardContext("me/it", "me/base"))


def test_a_vision_model_is_loaded_with_its_processor() -> None:
    run = run_with_events(model={"id": "pocket-vision"})
    write_json(run.path / "facts.json", read_json(run.path / "facts.json") | {"model": {"sees": True}})
    card = render_model_card(run, CardContext("me/it", "me/base"))
    assert front_matter(card)["pipeline_tag"] == "image-text-to-text"
    assert 'PeftModel.from_pretrained(model, "me/it")' in card
    assert 'AutoProcessor.from_pretrained("me/base")' in card


def test_a_card_contains_no_local_paths(tmp_path: Path) -> None:
    """Paths would reveal the owner's user name and folders."""
    card = render_model_card(
        run_with_events(data=[{"source": f"path:{tmp_path}/a.jsonl"}], model={"id": f"{tmp_path}/model"})
    )
    assert str(tmp_path) not in card
    assert "`path:a.jsonl`" in card


def test_a_card_names_other_models_without_their_paths(tmp_path: Path) -> None:
    """The teacher in the settings and the model of a reward."""
    reward = {"name": "reward_model", "params": {"model": f"{tmp_path}/judge"}}
    card = render_model_card(
        run_with_events(method="distill", knobs={"teacher": f"{tmp_path}/teacher"}, rewards=[reward])
    )
    assert str(tmp_path) not in card
    assert '"teacher": "teacher"' in card
    assert '"model": "judge"' in card
    assert '"teacher": "run:20261122-a"' in render_model_card(
        run_with_events(method="distill", knobs={"teacher": "run:20261122-a"}, rewards=[])
    )


def test_a_card_links_to_its_setup_unless_the_setup_has_local_data(tmp_path: Path) -> None:
    run = run_with_events(seed=8)
    link = re.search(
        r"\((https://space\.example/\S+)\)", render_model_card(run, CardContext(page="https://space.example"))
    )
    assert links.decode_setup(link[1]) == run.spec
    assert "Make your own" not in render_model_card(run_with_events(data=[{"source": f"path:{tmp_path}/a.jsonl"}]), CardContext(page="https://space.example"))  # fmt: skip


# -- the curve image ---------------------------------------------------------------------------------------------------


def step_event(number: int, **metrics: float | None) -> dict[str, Any]:
    return {"kind": "step", "step": number, "of": 9, "metrics": {f"train/{name}": value for name, value in metrics.items()}}  # fmt: skip


def image_colours(run: Run) -> set[tuple[int, ...]]:
    image = Image.open(io.BytesIO(render_curves(run))).convert("RGB")
    return {colour for _, colour in image.getcolors(1_000_000)}


def test_the_image_shows_the_training_curve_and_the_evaluation_curve() -> None:
    training_colour, evaluation_colour = (0x0F, 0x76, 0x6E), (0xB4, 0x53, 0x09)
    training_only = run_with_events(*(step_event(number, loss=1 / number) for number in range(1, 9)))
    assert training_colour in image_colours(training_only)
    assert evaluation_colour not in image_colours(training_only)
    training_and_evaluation = run_with_events(
        *(step_event(number, loss=1 / number) for number in range(1, 9)),
        holdout_event(0, loss=2.0),
        holdout_event(9, loss=0.1),
    )
    assert {training_colour, evaluation_colour} <= image_colours(training_and_evaluation)


def test_a_missing_loss_is_a_gap_and_fewer_than_two_points_give_no_image() -> None:
    assert render_curves(run_with_events(step_event(1, loss=1.0), step_event(2, loss=None), step_event(3, loss=0.5)))
    assert render_curves(run_with_events(step_event(1, loss=1.0), step_event(2, loss=1.0))), (
        "a flat curve has an axis too"
    )
    assert render_curves(run_with_events(step_event(1, loss=1.0))) is None
    assert render_curves(run_with_events()) is None


def test_axes_have_few_round_ticks() -> None:
    assert axis_ticks(0.35, 4.4) == (0.0, 6.0, [0.0, 2.0, 4.0, 6.0])
    assert axis_ticks(0, 1)[2] == [0.0, 0.5, 1.0]
    assert axis_ticks(3.0, 3.0)[:2] == (2.5, 3.5)
