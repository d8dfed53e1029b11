"""Spec: what repeats a run, said plainly when it is wrong, and the same in TOML, JSON and links."""

from __future__ import annotations

import json
import random
import struct
import tomllib
from pathlib import Path
from typing import Any

import pytest
import tomlkit
from pydantic import ValidationError

from app.core import registry
from app.core.problems import Problem
from app.core.validation import validate
from app.planning import links, presets
from app.planning.resolve import resolve
from app.setup.spec import Launch, Spec, parse_spec, read_spec_file, set_value

LEAST = {"method": "sft", "data": [{"source": "sample:tickets"}]}


def refused(data: Any) -> Problem:
    with pytest.raises(Problem) as refusal:
        resolve(parse_spec(data))
    return refusal.value


def test_a_method_and_one_source_are_enough() -> None:
    spec = resolve(parse_spec(LEAST))
    assert (spec.model.id, spec.adapter.kind, spec.adapter.r, spec.seed) == ("pocket", "lora", 16, 7)
    assert spec.holdout.share == 0.05
    assert spec.data[0].split == "train"


def test_null_and_absent_are_the_same_at_every_depth() -> None:
    nulls = LEAST | {"title": None, "model": {"id": "pocket", "revision": None}, "holdout": None, "prompts": None,
                     "data": [{"source": "sample:tickets", "limit": None, "mapping": {"prompt": None}}],
                     "knobs": {"epochs": None}, "rewards": [{"name": "contains", "as": None, "params": {"words": ["a"], "column": None}}]}  # fmt: skip
    absent = LEAST | {"rewards": [{"name": "contains", "params": {"words": ["a"]}}]}
    assert resolve(parse_spec(nulls)) == resolve(parse_spec(absent))


def test_an_empty_holdout_keeps_nothing_aside_and_an_absent_one_five_percent() -> None:
    assert parse_spec(LEAST | {"holdout": {}}).holdout.share is None
    assert parse_spec(LEAST).holdout.share == 0.05


def test_a_setup_cannot_be_changed_in_place() -> None:
    with pytest.raises(ValidationError):
        parse_spec(LEAST).title = "other"


# -- refusals -----------------------------------------------------------------------------------------------------


def test_an_unknown_field_names_the_nearest_one() -> None:
    problem = refused(LEAST | {"metod": "sft"})
    assert problem.text == "The setup has no field called “metod”."
    assert problem.advice == "Did you mean “method”?"


def test_an_unknown_field_inside_a_group_names_the_nearest_one() -> None:
    problem = refused(LEAST | {"adapter": {"alfa": 3}})
    assert problem.text == "The setup has no field called “adapter.alfa”."
    assert problem.advice == "Did you mean “alpha”?"


def test_an_unknown_setting_names_the_nearest_one() -> None:
    problem = refused(LEAST | {"knobs": {"learning_rat": 1}})
    assert problem.text == "There is no setting called “learning_rat” for sft."
    assert problem.advice == "Did you mean “learning_rate”?"


def test_a_setting_of_another_method_is_refused() -> None:
    assert "“attempts” for sft" in refused(LEAST | {"knobs": {"attempts": 4}}).text


def test_an_unknown_method_and_reward_name_the_nearest_one() -> None:
    assert refused(LEAST | {"method": "stf"}).advice == "Did you mean “sft”?"
    assert refused(LEAST | {"rewards": [{"name": "exact"}]}).advice == "Did you mean “exact_match”?"


def test_a_missing_field_is_named() -> None:
    assert refused({"data": [{"source": "sample:tickets"}]}).text == "The setup lacks “method”."
    assert refused({"method": "sft", "data": [{}]}).text == "The setup lacks “data.0.source”."


@pytest.mark.parametrize("value", ["abc", [], {"a": 1}, float("nan"), float("inf"), 0, 0.2, 1e-8, -1])
def test_a_bad_learning_rate_is_quoted_with_its_range(value: Any) -> None:
    problem = refused(LEAST | {"knobs": {"learning_rate": value}})
    assert f"“learning_rate” is {value!r}" in problem.text
    assert problem.advice == "Choose between 1e-07 and 0.1."


@pytest.mark.parametrize("value", [1e-7, 1e-1])
def test_both_ends_of_a_range_are_allowed(value: float) -> None:
    assert resolve(parse_spec(LEAST | {"knobs": {"learning_rate": value}})).knobs["learning_rate"] == value


BAD = {
    "no sources": {"data": []},
    "not a setup at all": None,
    "more new tokens than anybody needs": {"model": {"new_tokens": ["<x>"] * 65}},
    "a layer named by a regular expression": {"adapter": {"unfreeze": ["(a+)+$"]}},
    "a group that is a number": {"adapter": 5},
    "a list that is text": {"data": "sample:tickets"},
    "a number that is text": {"seed": "many"},
    "text that is a number": {"title": 2024},
    "both ways to hold out": {"holdout": {"share": 0.1, "split": "test"}},
    "a band upside down": {"rewards": [{"name": "length_band", "params": {"least": 5, "most": 2}}]},
    "a pattern that is none": {"rewards": [{"name": "pattern", "params": {"pattern": "("}}]},
    "a whole number that is broken": {"knobs": {"steps": 1.5}},
    "a whole number that is huge": {"knobs": {"steps": 1e308}},
    "an adapter nobody knows": {"adapter": {"kind": "ia3"}},
}
JARGON = (
    "validation",
    "instance of",
    "dictionary",
    "as a whole",
    "unable to",
    "parse",
    "input",
    "Input",
    "list should",
    "string",
)


@pytest.mark.parametrize("case", BAD)
def test_a_refusal_is_written_for_a_person(case: str) -> None:
    problem = refused([] if BAD[case] is None else LEAST | BAD[case])
    assert problem.text.endswith(".")
    assert problem.advice.endswith((".", "?"))
    assert [word for word in JARGON if word in str(problem)] == []


def test_a_refusal_does_not_repeat_a_novel() -> None:
    assert len(str(refused(LEAST | {"title": "x" * 100_000}))) < 600
    assert len(str(refused(LEAST | {"y" * 100_000: 1}))) < 600


def test_a_setup_of_a_later_version_says_so() -> None:
    assert "newer" in str(refused(LEAST | {"v": 2}))


@pytest.mark.parametrize("source", ["tickets", "sample:", "sample:../x", "sample:a/b", "hub:owner", "hub:a/b/c", "upload:abc", "https://x.org/a",
                                    "path:", "hub:a/b\n", "hub:../..", "hub:./data", "hub:a/..", "hub:~/x"])  # fmt: skip
def test_a_source_is_of_a_known_kind(source: str) -> None:
    assert f"“data.0.source” is {source!r}" in refused(LEAST | {"data": [{"source": source}]}).text


@pytest.mark.parametrize(
    "source", ["sample:tickets", "hub:owner/na-me.v2", "upload:" + "0a" * 32, "path:/a b/c.jsonl", "path:~/x.csv"]
)
def test_every_kind_of_source_is_taken(source: str) -> None:
    assert parse_spec(LEAST | {"data": [{"source": source}]}).data[0].source == source


@pytest.mark.parametrize("split", ["../../x", "a/b", "..", "/etc/x", "a\\b", ""])
def test_a_split_is_a_name_and_not_a_path(split: str) -> None:
    assert "split" in refused(LEAST | {"data": [{"source": "sample:tickets", "split": split}]}).text
    assert "split" in refused(LEAST | {"holdout": {"split": split}}).text


def test_text_that_no_file_can_hold_is_refused() -> None:
    """Half of a surrogate pair is valid in JSON's escapes and cannot be written as UTF-8."""
    data = json.loads('{"method": "sft", "data": [{"source": "sample:tickets"}], "prompts": ["\\ud83d"]}')
    assert "prompts.0" in refused(data).text


def test_what_is_nested_without_end_is_refused() -> None:
    deep: Any = []
    for _ in range(600):
        deep = [deep]
    assert "nested" in str(refused(LEAST | {"knobs": {"epochs": deep}}))


def test_two_rewards_of_one_name_are_refused() -> None:
    twice = [{"name": "exact_match"}, {"name": "exact_match"}]
    assert refused(LEAST | {"rewards": twice}).text == "Two rewards are both called “exact_match”."
    one = [{"name": "exact_match"}, {"name": "exact_match", "as": "again"}]
    assert [reward.label for reward in resolve(parse_spec(LEAST | {"rewards": one})).rewards] == [
        "exact_match",
        "again",
    ]


def test_a_rewards_own_settings_are_checked_and_filled() -> None:
    [reward] = resolve(parse_spec(LEAST | {"rewards": [{"name": "number", "params": {"column": "x"}}]})).rewards
    assert reward.params == {"column": "x", "tolerance": 1e-6}
    problem = refused(LEAST | {"rewards": [{"name": "number", "params": {"colum": "x"}}]})
    assert problem.advice == "Did you mean “column”?"


# -- defaults that follow from what is trained --------------------------------------------------------------------


def model_folder(folder: Path, *shapes: list[int]) -> str:
    """A model whose file has only its header: sizes are read without the weights."""
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    for number, shape in enumerate(shapes):
        header = json.dumps(
            {"__metadata__": {}, "w": {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}}
        ).encode()
        (folder / f"model-{number}.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    return str(folder)


@pytest.mark.parametrize(("method", "adapter", "shapes", "rate"), [
    ("sft", "lora", [[7000, 7000]], 2e-3), ("sft", "none", [[7000, 7000]], 2e-4),
    ("sft", "lora", [[49_999_999]], 2e-3), ("sft", "lora", [[50_000_000]], 2e-4), ("sft", "none", [[50_000_000]], 2e-5),
    ("sft", "dora", [[49_999_999], [1]], 2e-4), ("pretrain", "rslora", [[10, 10]], 2e-3),
    ("grpo", "lora", [[10, 10]], 1e-3), ("grpo", "lora", [[50_000_000]], 2e-5), ("grpo", "none", [[50_000_000]], 2e-6),
])  # fmt: skip
def test_the_learning_rate_follows_adapter_and_size(
    method: str, adapter: str, shapes: list, rate: float, tmp_path: Path
) -> None:
    data = LEAST | {
        "method": method,
        "adapter": {"kind": adapter},
        "model": {"id": model_folder(tmp_path / "m", *shapes)},
    }
    assert resolve(parse_spec(data)).knobs["learning_rate"] == pytest.approx(rate, rel=1e-12)


def test_a_model_not_seen_yet_counts_as_large() -> None:
    assert resolve(parse_spec(LEAST | {"model": {"id": "owner/name"}})).knobs["learning_rate"] == 2e-4


def test_what_is_asked_for_beats_what_is_usual() -> None:
    knobs = resolve(parse_spec(LEAST | {"knobs": {"learning_rate": 5e-5}})).knobs
    assert (knobs["learning_rate"], knobs["epochs"]) == (5e-5, 3.0)


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", struct.pack("<Q", 5) + b"{]",
                                     struct.pack("<Q", 2) + b"[]", struct.pack("<Q", 2**63) + b"{}"],
                         ids=["empty", "git-lfs pointer", "broken header", "a list", "endless header"])  # fmt: skip
def test_a_damaged_model_file_is_named(content: bytes, tmp_path: Path) -> None:
    folder = Path(model_folder(tmp_path / "m"))
    (folder / "model.safetensors").write_bytes(content)
    assert str(folder / "model.safetensors") in str(refused(LEAST | {"model": {"id": str(folder)}}))


@pytest.mark.parametrize(
    "name", ["nosuch", "./x", "/nowhere", "~/nowhere", "a/b/c", "", "x" * 5000, "owner/" + "x" * 5000, "a/b\0"]
)
def test_a_model_that_is_nowhere_is_refused(name: str) -> None:
    assert "model" in str(refused(LEAST | {"model": {"id": name}}))


# -- paths --------------------------------------------------------------------------------------------------------


def test_a_path_reaches_groups_and_lists() -> None:
    data = {"knobs": {"epochs": 1}, "data": [{"source": "a"}]}
    assert set_value(data, "knobs.epochs", 2) == {"knobs": {"epochs": 2}, "data": [{"source": "a"}]}
    assert set_value(data, "data.0.limit", 5)["data"] == [{"source": "a", "limit": 5}]
    assert set_value(data, "adapter.r", 8)["adapter"] == {"r": 8}
    assert set_value(data, "data.0", {"source": "b"})["data"] == [{"source": "b"}]
    assert data == {"knobs": {"epochs": 1}, "data": [{"source": "a"}]}, "what was given stays as it was"


@pytest.mark.parametrize("path", ["data.1.limit", "data.1", "data.-1.limit", "data.x.limit", "data.².limit", "data." + "9" * 5000, "data..limit",
                                  "seed.a", "seed.a.b", "title.0", ".".join("a" * 2000)])  # fmt: skip
def test_a_path_that_leads_nowhere_is_refused(path: str) -> None:
    with pytest.raises(Problem):
        parse_spec(set_value(parse_spec(LEAST).to_dict(), path, 1))


def test_what_only_a_file_can_say_survives_a_change(tmp_path: Path) -> None:
    """TOML has dates, JSON has none."""
    file = tmp_path / "a.toml"
    file.write_text('method = "sft"\nknobs.epochs = 2020-01-01\n[[data]]\nsource = "sample:tickets"\n')
    with pytest.raises(Problem, match="epochs"):
        resolve(parse_spec(set_value(read_spec_file(file).to_dict(), "seed", 1)))


# -- files --------------------------------------------------------------------------------------------------------


def written(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_text(text, encoding=encoding)
    return path


def test_a_file_is_read_by_its_suffix(tmp_path: Path) -> None:
    toml = written(
        tmp_path / "a.toml", 'method = "sft"\nsentence = "For people."\n[[data]]\nsource = "sample:tickets"\n'
    )
    assert read_spec_file(toml) == read_spec_file(written(tmp_path / "a.json", json.dumps(LEAST))) == parse_spec(LEAST)


def test_a_file_may_begin_with_a_byte_order_mark(tmp_path: Path) -> None:
    """As Windows editors write them."""
    assert read_spec_file(written(tmp_path / "a.json", json.dumps(LEAST), "utf-8-sig")) == parse_spec(LEAST)
    assert read_spec_file(written(tmp_path / "a.toml", tomlkit.dumps(LEAST), "utf-8-sig")) == parse_spec(LEAST)


@pytest.mark.parametrize(("name", "text", "said"), [
    ("a.json", "{", "not JSON"), ("a.toml", "a = ", "not TOML"), ("a.json", "[1]", "list"), ("a.json", "5", "not a setup"),
    ("a.json", "[" * 100_000, "a.json"), ("a.toml", "a = " + "[" * 5000, "a.toml"), ("a.json", "", "not JSON"), ("a.toml", "", "lacks"),
])  # fmt: skip
def test_a_broken_file_is_refused_by_name(name: str, text: str, said: str, tmp_path: Path) -> None:
    with pytest.raises(Problem, match=said):
        read_spec_file(written(tmp_path / name, text))


def test_a_file_that_is_not_there_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="No such file"):
        read_spec_file(tmp_path / "gone.toml")
    with pytest.raises(Problem, match="directory"):
        read_spec_file(tmp_path)


# -- round trips --------------------------------------------------------------------------------------------------

WORDS = ["", "plain", 'quote " and \\ and {x}', "two\nlines", "ünï©ode 🜁", "null", "=[a]\t"]


def some_spec(dice: random.Random) -> Spec:
    """A valid Spec, drawn anew each time: every part of it is sometimes there and sometimes not."""

    def sometimes(value: Any) -> Any:
        return value if dice.random() < 0.5 else None

    kinds = ["sample:tickets", "sample:sums", "hub:owner/name.v2"]
    sources = [{"source": dice.choice(kinds), "config": sometimes("en"), "revision": sometimes("abc"), "weight": sometimes(dice.choice([0.5, 1, 3.25])),
                "limit": sometimes(dice.randint(1, 9)), "mapping": sometimes({"prompt": dice.choice(WORDS), "completion": "b.c"})}
               for _ in range(dice.randint(1, 3))]  # fmt: skip
    rewards = [{"name": name, "as": f"curve_{number}", "weight": sometimes(dice.choice([-1, 0, 0.25]))}
               for number, name in enumerate(dice.sample(["exact_match", "number", "valid_json", "length_band"], dice.randint(0, 3)))]  # fmt: skip
    holdout = dice.choice([None, {}, {"share": 0.0}, {"share": 0.25}, {"split": "holdout"}])
    adapter = {
        "kind": dice.choice(["lora", "dora", "rslora", "none"]),
        "r": dice.randint(1, 64),
        "alpha": sometimes(dice.choice([1, 0.5, 64])),
    }
    return resolve(parse_spec({
        "title": sometimes(dice.choice(WORDS)), "method": dice.choice(registry.names("methods")), "data": sources, "holdout": holdout,
        "prompts": sometimes(dice.sample(WORDS, 3)), "adapter": sometimes(adapter), "rewards": rewards, "seed": sometimes(dice.randrange(2**32)),
        "knobs": {"epochs": sometimes(dice.choice([1, 2.5, 1e-2])), "steps": sometimes(dice.randint(1, 99)),
                  "learning_rate": sometimes(10 ** dice.uniform(-6, -2)), "schedule": sometimes("cosine")},
    }))  # fmt: skip


@pytest.mark.parametrize("seed", range(5))
def test_any_setup_survives_toml_json_and_a_link(seed: int) -> None:
    dice = random.Random(seed)
    for _ in range(40):
        spec = some_spec(dice)
        assert resolve(spec) == spec
        assert parse_spec(tomllib.loads(tomlkit.dumps(spec.to_dict()))) == spec
        assert parse_spec(json.loads(spec.to_json())) == spec
        assert links.decode_setup(links.encode_setup(spec)) == spec


def test_a_setup_as_data_holds_no_nulls_and_its_aliases() -> None:
    data = presets.preset_spec("first_tune").to_dict()
    assert "null" not in json.dumps(data)
    assert data["rewards"][0]["as"] == "correct"


# -- launch -------------------------------------------------------------------------------------------------------


def test_what_belongs_to_one_start_is_not_part_of_the_setup() -> None:
    assert set(Launch.model_fields) & set(Spec.model_fields) == set()
    for name in Launch.model_fields:
        assert "no field called" in refused(LEAST | {name: "x"}).text


@pytest.mark.parametrize(
    "budget", [{"minutes": 0}, {"minutes": -1}, {"minutes": float("nan")}, {"minutes": float("inf")}, {"hours": 1}]
)
def test_a_budget_that_makes_no_sense_is_refused(budget: dict[str, float]) -> None:
    with pytest.raises(Problem, match="The launch"):
        validate(Launch, {"budget": budget}, "The launch")
