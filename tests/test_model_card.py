"""Card: how a model was made, from its run's folder; what strangers wrote stays text, and nothing tells of this machine."""

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

HOSTILE = (
    "---\nlicense: mit\n---\n# a\n```\n<script>alert(1)</script> | ![x](http://evil.example/x.png) [y](javascript:z)"
)


def told(*events: dict[str, Any], **changes: Any) -> Run:
    run = store.create_run(
        local_workspace(), parse_spec(presets.preset_spec("first_tune").to_dict() | changes), Launch()
    )
    lines = [json.dumps({"seq": seq, "attempt": 1, "time": 1.0} | event) + "\n" for seq, event in enumerate(events, 1)]
    run.events.write_text("".join(lines))
    write_json(run.path / "facts.json", {"versions": {"trl": "1.16.0"}, "chat": True, "device": {"bf16": False}})
    return run


def held_out(step: int, **metrics: float | None) -> dict[str, Any]:
    named = {f"eval/{name}": value for name, value in metrics.items()}
    return {"kind": "eval", "step": step, "set": "holdout", "metrics": named}


def sampled(step: int, *rows: tuple[str, str]) -> dict[str, Any]:
    return {"kind": "sample", "step": step, "rows": [{"prompt": prompt, "completion": said} for prompt, said in rows]}


def matter(text: str) -> dict[str, Any]:
    return yaml.safe_load(text.split("---\n")[1])


def test_a_card_begins_with_what_the_hub_reads() -> None:
    data = [{"source": "hub:owner/rows"}, {"source": "sample:tickets"}]
    said = matter(render_model_card(told(model={"id": "owner/base"}, data=data), CardContext(licence="apache-2.0")))
    assert said == {"library_name": "peft", "pipeline_tag": "text-generation", "tags": ["tunesmith", "trl", "sft", "lora"], "base_model": "owner/base",
                    "base_model_relation": "adapter", "license": "apache-2.0", "datasets": ["owner/rows"]}  # fmt: skip


def test_the_practice_model_is_a_base_only_where_it_was_published() -> None:
    assert "base_model" not in matter(render_model_card(told()))
    assert matter(render_model_card(told(), CardContext(base="alice/practice")))["base_model"] == "alice/practice"
    assert (
        "practice model of Tunesmith (`pocket`), taught with “Imitate examples” on `sample:tickets`. "
        "The model imitates the answers it is shown." in render_model_card(told())
    )


def test_a_whole_model_is_named_as_such_and_loads_as_such() -> None:
    said = render_model_card(told(adapter={"kind": "none"}), CardContext("alice/whole"))
    assert matter(said)["library_name"] == "transformers"
    assert 'AutoModelForCausalLM.from_pretrained("alice/whole", dtype="float32")' in said
    assert "All weights of" in said


def test_a_card_repeats_the_run() -> None:
    run = told()
    block = render_model_card(run).partition("```json\n")[2].partition("\n```")[0]
    assert parse_spec(json.loads(block)) == run.spec


def test_a_card_names_what_differs_from_the_nearest_preset() -> None:
    knobs = presets.preset_spec("first_tune").knobs | {"epochs": 2.0}
    said = render_model_card(told(knobs=knobs, seed=8))
    assert "Nearest preset: “First tune”. What differs:" in said
    assert "| `epochs` | `5.0` | `2.0` |" in said
    assert "| `seed` | `7` | `8` |" in said
    assert "Nothing differs." in render_model_card(told(title="Another title"))


def test_a_card_shows_the_first_and_the_last_test() -> None:
    said = render_model_card(told(held_out(0, loss=2.0, correct=0.1), held_out(5, loss=1.5, correct=None), held_out(9, loss=0.123456, correct=0.9)))  # fmt: skip
    assert "| held-out examples | before | after |" in said
    assert "| loss | 2 | 0.1235 |" in said
    assert "| correct | 0.1 | 0.9 |" in said
    assert "held-out examples" not in render_model_card(told(held_out(0, loss=2.0)))


def test_a_card_shows_its_own_prompts_before_and_after_and_nobodys_rows() -> None:
    run = told(sampled(0, ("Hello?", "before"), ("a private row", "x")), sampled(9, ("Hello?", "after"), ("a private row", "y")),
               prompts=["Hello?", "never answered"])  # fmt: skip
    said = render_model_card(run)
    assert re.search(r"Hello\?.*Before.*before.*After.*after", said, re.DOTALL)
    assert "a private row" not in said


@pytest.mark.parametrize("base", [None, "alice/practice"])
def test_strangers_words_stay_words(base: str | None) -> None:
    run = told(sampled(0, (HOSTILE, HOSTILE)), sampled(1, (HOSTILE, HOSTILE + "```")), title=HOSTILE[:200], prompts=[HOSTILE],
               data=[{"source": f"path:/x/{HOSTILE}.jsonl"}], holdout={"share": 0.0})  # fmt: skip
    said = render_model_card(run, CardContext(base=base))
    assert "license" not in matter(said)
    outside, fence = [], ""
    for line in said.splitlines():
        opening = re.match(r"`{3,}", line)
        if fence:
            fence = "" if line == fence else fence
        elif opening:
            fence = opening[0]
        else:
            outside.append(re.sub(r"`[^`]*`", "", line))
    plain = "\n".join(outside)
    assert fence == "", "every fence is closed again"
    assert [line for line in outside if line.startswith("# ")] == [outside[outside.index("---", 1) + 2]]
    assert "<script" not in plain
    assert "](http://evil" not in plain
    assert "](javascript" not in plain


@pytest.mark.parametrize(
    ("held", "how"), [("nf4", 'load_in_4bit=True, bnb_4bit_quant_type="nf4"'), ("int8", "load_in_8bit=True")]
)
def test_a_base_in_few_bits_is_loaded_so(held: str, how: str) -> None:
    said = render_model_card(told(model={"id": "pocket", "quantization": held}), CardContext("me/it", "me/base"))
    assert (
        f'AutoPeftModelForCausalLM.from_pretrained("me/it", dtype="float32", quantization_config=BitsAndBytesConfig({how}'
        in said
    )
    assert "from transformers import AutoTokenizer, BitsAndBytesConfig" in said
    assert "BitsAndBytes" not in render_model_card(told(), CardContext("me/it", "me/base"))


def test_a_model_that_sees_is_loaded_with_its_eyes() -> None:
    run = told(model={"id": "pocket-vision"})
    write_json(run.path / "facts.json", read_json(run.path / "facts.json") | {"model": {"sees": True}})
    said = render_model_card(run, CardContext("me/it", "me/base"))
    assert matter(said)["pipeline_tag"] == "image-text-to-text"
    assert 'PeftModel.from_pretrained(model, "me/it")' in said
    assert 'AutoProcessor.from_pretrained("me/base")' in said


def test_a_card_names_no_place_on_this_machine(tmp_path: Path) -> None:
    """Paths tell a stranger the owner's name and folders."""
    said = render_model_card(told(data=[{"source": f"path:{tmp_path}/a.jsonl"}], model={"id": f"{tmp_path}/model"}))
    assert str(tmp_path) not in said
    assert "`path:a.jsonl`" in said


def test_a_card_names_another_model_without_its_place(tmp_path: Path) -> None:
    """A teacher among the settings, or a model among the rewards."""
    judge = {"name": "reward_model", "params": {"model": f"{tmp_path}/judge"}}
    said = render_model_card(told(method="distill", knobs={"teacher": f"{tmp_path}/teacher"}, rewards=[judge]))
    assert str(tmp_path) not in said
    assert '"teacher": "teacher"' in said
    assert '"model": "judge"' in said
    assert '"teacher": "run:20261122-a"' in render_model_card(
        told(method="distill", knobs={"teacher": "run:20261122-a"}, rewards=[])
    )


def test_a_link_reopens_the_setup_where_a_link_can_carry_it(tmp_path: Path) -> None:
    run = told(seed=8)
    link = re.search(
        r"\((https://space\.example/\S+)\)", render_model_card(run, CardContext(page="https://space.example"))
    )
    assert links.decode_setup(link[1]) == run.spec
    assert "Make your own" not in render_model_card(told(data=[{"source": f"path:{tmp_path}/a.jsonl"}]), CardContext(page="https://space.example"))  # fmt: skip


# -- the picture -------------------------------------------------------------------------------------------------------


def step(number: int, **metrics: float | None) -> dict[str, Any]:
    return {"kind": "step", "step": number, "of": 9, "metrics": {f"train/{name}": value for name, value in metrics.items()}}  # fmt: skip


def colours(run: Run) -> set[tuple[int, ...]]:
    image = Image.open(io.BytesIO(render_curves(run))).convert("RGB")
    return {colour for _, colour in image.getcolors(1_000_000)}


def test_the_picture_shows_what_was_learned_and_what_was_tested() -> None:
    teal, amber = (0x0F, 0x76, 0x6E), (0xB4, 0x53, 0x09)
    learned = told(*(step(number, loss=1 / number) for number in range(1, 9)))
    assert teal in colours(learned)
    assert amber not in colours(learned)
    both = told(
        *(step(number, loss=1 / number) for number in range(1, 9)), held_out(0, loss=2.0), held_out(9, loss=0.1)
    )
    assert {teal, amber} <= colours(both)


def test_a_number_that_was_not_finite_is_a_gap_and_a_run_without_numbers_has_no_picture() -> None:
    assert render_curves(told(step(1, loss=1.0), step(2, loss=None), step(3, loss=0.5)))
    assert render_curves(told(step(1, loss=1.0), step(2, loss=1.0))), "a flat line has a scale too"
    assert render_curves(told(step(1, loss=1.0))) is None
    assert render_curves(told()) is None


def test_axes_have_few_round_marks() -> None:
    assert axis_ticks(0.35, 4.4) == (0.0, 6.0, [0.0, 2.0, 4.0, 6.0])
    assert axis_ticks(0, 1)[2] == [0.0, 0.5, 1.0]
    assert axis_ticks(3.0, 3.0)[:2] == (2.5, 3.5)
