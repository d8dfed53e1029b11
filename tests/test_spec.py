"""Spec: the settings that reproduce a run; errors are plain sentences, and TOML, JSON and links give the same spec."""

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
from app.setup.set_value import set_value
from app.setup.spec import Launch, Spec, parse_spec, read_spec_file

MINIMAL_SETUP = {"method": "sft", "data": [{"source": "sample:tickets"}]}


def refusal(setup: Any) -> Problem:
    with pytest.raises(Problem) as exc_info:
        resolve(parse_spec(setup))
    return exc_info.value


def test_a_method_and_one_source_are_sufficient() -> None:
    spec = resolve(parse_spec(MINIMAL_SETUP))
    assert (spec.model.id, spec.adapter.kind, spec.adapter.r, spec.seed) == ("pocket", "lora", 16, 7)
    assert spec.holdout.share == 0.05
    assert spec.data[0].split == "train"


def test_null_means_the_same_as_absent_at_every_depth() -> None:
    setup_with_nulls = MINIMAL_SETUP | {"title": None, "model": {"id": "pocket", "revision": None}, "holdout": None, "prompts": None,
                                        "data": [{"source": "sample:tickets", "limit": None, "mapping": {"prompt": None}}],
                                        "knobs": {"epochs": None}, "rewards": [{"name": "contains", "as": None, "params": {"words": ["a"], "column": None}}]}  # fmt: skip
    setup_without_nulls = MINIMAL_SETUP | {"rewards": [{"name": "contains", "params": {"words": ["a"]}}]}
    assert resolve(parse_spec(setup_with_nulls)) == resolve(parse_spec(setup_without_nulls))


def test_an_empty_holdout_holds_out_nothing_and_an_absent_one_five_percent() -> None:
    assert parse_spec(MINIMAL_SETUP | {"holdout": {}}).holdout.share is None
    assert parse_spec(MINIMAL_SETUP).holdout.share == 0.05


def test_a_spec_is_immutable() -> None:
    with pytest.raises(ValidationError):
        parse_spec(MINIMAL_SETUP).title = "other"


# -- refusals -----------------------------------------------------------------------------------------------------


def test_an_unknown_field_suggests_the_nearest_one() -> None:
    problem = refusal(MINIMAL_SETUP | {"metod": "sft"})
    assert problem.text == "The setup has no field called “metod”."
    assert problem.advice == "Did you mean “method”?"


def test_an_unknown_field_inside_a_group_suggests_the_nearest_one() -> None:
    problem = refusal(MINIMAL_SETUP | {"adapter": {"alfa": 3}})
    assert problem.text == "The setup has no field called “adapter.alfa”."
    assert problem.advice == "Did you mean “alpha”?"


def test_an_unknown_setting_suggests_the_nearest_one() -> None:
    problem = refusal(MINIMAL_SETUP | {"knobs": {"learning_rat": 1}})
    assert problem.text == "There is no setting called “learning_rat” for sft."
    assert problem.advice == "Did you mean “learning_rate”?"


def test_a_setting_of_another_method_is_refused() -> None:
    assert "“attempts” for sft" in refusal(MINIMAL_SETUP | {"knobs": {"attempts": 4}}).text


def test_an_unknown_method_or_reward_suggests_the_nearest_one() -> None:
    assert refusal(MINIMAL_SETUP | {"method": "stf"}).advice == "Did you mean “sft”?"
    assert refusal(MINIMAL_SETUP | {"rewards": [{"name": "exact"}]}).advice == "Did you mean “exact_match”?"


def test_a_missing_field_is_named() -> None:
    assert refusal({"data": [{"source": "sample:tickets"}]}).text == "The setup lacks “method”."
    assert refusal({"method": "sft", "data": [{}]}).text == "The setup lacks “data.0.source”."


@pytest.mark.parametrize("value", ["abc", [], {"a": 1}, float("nan"), float("inf"), 0, 0.2, 1e-8, -1])
def test_an_invalid_learning_rate_is_quoted_with_the_allowed_range(value: Any) -> None:
    problem = refusal(MINIMAL_SETUP | {"knobs": {"learning_rate": value}})
    assert f"“learning_rate” is {value!r}" in problem.text
    assert problem.advice == "Choose between 1e-07 and 0.1."


@pytest.mark.parametrize("revision", ["main", "v1.0.2", "refs/pr/12", "refs/convert/parquet", "0a" * 20, "dev-2_x"])
def test_every_kind_of_revision_is_accepted(revision: str) -> None:
    assert parse_spec(MINIMAL_SETUP | {"model": {"id": "a/b", "revision": revision}}).model.revision == revision


@pytest.mark.parametrize("value", [1e-7, 1e-1])
def test_both_ends_of_a_range_are_allowed(value: float) -> None:
    assert resolve(parse_spec(MINIMAL_SETUP | {"knobs": {"learning_rate": value}})).knobs["learning_rate"] == value


INVALID_FIELDS = {
    "no sources": {"data": []},
    "not a setup at all": None,
    "more rows than can be counted": {"data": [{"source": "sample:tickets", "limit": 10**40}]},
    "a slice that begins nowhere": {"data": [{"source": "sample:tickets", "start": 10**40}]},
    "a revision that is a path": {"model": {"id": "a/b", "revision": "../../../models/mine"}},
    "a revision of examples that is a path": {"data": [{"source": "hub:a/b", "revision": "/etc"}]},
    "a revision of two lines": {"model": {"id": "a/b", "revision": "main\nx"}},
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
    "an adapter nobody knows": {"adapter": {"kind": "prefix"}},
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


@pytest.mark.parametrize("case", INVALID_FIELDS)
def test_a_refusal_is_a_sentence_without_validator_jargon(case: str) -> None:
    problem = refusal([] if INVALID_FIELDS[case] is None else MINIMAL_SETUP | INVALID_FIELDS[case])
    assert problem.text.endswith(".")
    assert problem.advice.endswith((".", "?"))
    assert [word for word in JARGON if word in str(problem)] == []


def test_a_refusal_shortens_long_values() -> None:
    assert len(str(refusal(MINIMAL_SETUP | {"title": "x" * 100_000}))) < 600
    assert len(str(refusal(MINIMAL_SETUP | {"y" * 100_000: 1}))) < 600


def test_a_setup_of_a_newer_version_is_refused() -> None:
    assert "newer" in str(refusal(MINIMAL_SETUP | {"v": 2}))


@pytest.mark.parametrize("source", ["tickets", "sample:", "sample:../x", "sample:a/b", "hub:owner", "hub:a/b/c", "upload:abc", "https://x.org/a",
                                    "path:", "hub:a/b\n", "hub:../..", "hub:./data", "hub:a/..", "hub:~/x"])  # fmt: skip
def test_an_invalid_source_is_refused_and_quoted(source: str) -> None:
    assert f"“data.0.source” is {source!r}" in refusal(MINIMAL_SETUP | {"data": [{"source": source}]}).text


@pytest.mark.parametrize(
    "source", ["sample:tickets", "hub:owner/na-me.v2", "upload:" + "0a" * 32, "path:/a b/c.jsonl", "path:~/x.csv"]
)
def test_every_kind_of_source_is_accepted(source: str) -> None:
    assert parse_spec(MINIMAL_SETUP | {"data": [{"source": source}]}).data[0].source == source


@pytest.mark.parametrize("split", ["../../x", "a/b", "..", "/etc/x", "a\\b", ""])
def test_a_split_is_a_name_and_not_a_path(split: str) -> None:
    assert "split" in refusal(MINIMAL_SETUP | {"data": [{"source": "sample:tickets", "split": split}]}).text
    assert "split" in refusal(MINIMAL_SETUP | {"holdout": {"split": split}}).text


def test_text_that_utf_8_cannot_encode_is_refused() -> None:
    """A lone surrogate is valid as a JSON escape and cannot be encoded as UTF-8."""
    setup = json.loads('{"method": "sft", "data": [{"source": "sample:tickets"}], "prompts": ["\\ud83d"]}')
    assert "prompts.0" in refusal(setup).text


def test_very_deep_nesting_is_refused() -> None:
    nested_list: Any = []
    for _ in range(600):
        nested_list = [nested_list]
    assert "nested" in str(refusal(MINIMAL_SETUP | {"knobs": {"epochs": nested_list}}))


def test_two_rewards_with_the_same_name_are_refused() -> None:
    duplicate_rewards = [{"name": "exact_match"}, {"name": "exact_match"}]
    assert refusal(MINIMAL_SETUP | {"rewards": duplicate_rewards}).text == "Two rewards are both called “exact_match”."
    renamed_rewards = [{"name": "exact_match"}, {"name": "exact_match", "as": "again"}]
    assert [reward.label for reward in resolve(parse_spec(MINIMAL_SETUP | {"rewards": renamed_rewards})).rewards] == [
        "exact_match",
        "again",
    ]


def test_the_params_of_a_reward_are_checked_and_get_defaults() -> None:
    [reward] = resolve(parse_spec(MINIMAL_SETUP | {"rewards": [{"name": "number", "params": {"column": "x"}}]})).rewards
    assert reward.params == {"column": "x", "tolerance": 1e-6}
    problem = refusal(MINIMAL_SETUP | {"rewards": [{"name": "number", "params": {"colum": "x"}}]})
    assert problem.advice == "Did you mean “column”?"


# -- defaults that depend on the model and adapter ----------------------------------------------------------------


def model_folder(folder: Path, *shapes: list[int]) -> str:
    """A model folder whose safetensors files have only a header: sizes are read without loading weights."""
    folder.mkdir()
    (folder / "config.json").write_text("{}")
    for shard, shape in enumerate(shapes):
        header = json.dumps(
            {"__metadata__": {}, "w": {"dtype": "F32", "shape": shape, "data_offsets": [0, 0]}}
        ).encode()
        (folder / f"model-{shard}.safetensors").write_bytes(struct.pack("<Q", len(header)) + header)
    return str(folder)


@pytest.mark.parametrize(("method", "adapter", "weight_shapes", "learning_rate"), [
    ("sft", "lora", [[7000, 7000]], 2e-3), ("sft", "none", [[7000, 7000]], 2e-4),
    ("sft", "lora", [[49_999_999]], 2e-3), ("sft", "lora", [[50_000_000]], 1e-3), ("sft", "none", [[50_000_000]], 1e-4),
    ("sft", "lora", [[300_000_000]], 2e-4), ("sft", "none", [[300_000_000]], 2e-5),
    ("sft", "dora", [[299_999_999], [1]], 2e-4), ("pretrain", "rslora", [[10, 10]], 2e-3),
    ("grpo", "lora", [[10, 10]], 1e-3), ("grpo", "lora", [[300_000_000]], 2e-5), ("grpo", "none", [[300_000_000]], 2e-6),
])  # fmt: skip
def test_the_default_learning_rate_depends_on_method_adapter_and_model_size(
    method: str, adapter: str, weight_shapes: list, learning_rate: float, tmp_path: Path
) -> None:
    setup = MINIMAL_SETUP | {
        "method": method,
        "adapter": {"kind": adapter},
        "model": {"id": model_folder(tmp_path / "m", *weight_shapes)},
    }
    assert resolve(parse_spec(setup)).knobs["learning_rate"] == pytest.approx(learning_rate, rel=1e-12)


def test_a_model_on_the_hub_counts_as_the_catalogue_knows_it_and_an_unknown_one_as_large() -> None:
    rates = {
        name: resolve(parse_spec(MINIMAL_SETUP | {"model": {"id": name}})).knobs["learning_rate"]
        for name in ("owner/name", "HuggingFaceTB/SmolLM2-135M-Instruct", "Qwen/Qwen2.5-0.5B-Instruct")
    }
    assert list(rates.values()) == pytest.approx([2e-4, 1e-3, 2e-4])


def test_explicit_settings_override_defaults() -> None:
    knobs = resolve(parse_spec(MINIMAL_SETUP | {"knobs": {"learning_rate": 5e-5}})).knobs
    assert (knobs["learning_rate"], knobs["epochs"]) == (5e-5, 3.0)


@pytest.mark.parametrize("content", [b"", b"version https://git-lfs.github.com/spec/v1\noid sha256:0\n", struct.pack("<Q", 5) + b"{]",
                                     struct.pack("<Q", 2) + b"[]", struct.pack("<Q", 2**63) + b"{}"],
                         ids=["empty", "git-lfs pointer", "broken header", "a list", "endless header"])  # fmt: skip
def test_a_damaged_model_file_is_named(content: bytes, tmp_path: Path) -> None:
    folder = Path(model_folder(tmp_path / "m"))
    (folder / "model.safetensors").write_bytes(content)
    assert str(folder / "model.safetensors") in str(refusal(MINIMAL_SETUP | {"model": {"id": str(folder)}}))


@pytest.mark.parametrize(
    "name", ["nosuch", "./x", "/nowhere", "~/nowhere", "a/b/c", "", "x" * 5000, "owner/" + "x" * 5000, "a/b\0"]
)
def test_a_model_that_does_not_exist_is_refused(name: str) -> None:
    assert "model" in str(refusal(MINIMAL_SETUP | {"model": {"id": name}}))


# -- paths --------------------------------------------------------------------------------------------------------


def test_set_value_reaches_groups_and_lists_by_path() -> None:
    setup = {"knobs": {"epochs": 1}, "data": [{"source": "a"}]}
    assert set_value(setup, "knobs.epochs", 2) == {"knobs": {"epochs": 2}, "data": [{"source": "a"}]}
    assert set_value(setup, "data.0.limit", 5)["data"] == [{"source": "a", "limit": 5}]
    assert set_value(setup, "adapter.r", 8)["adapter"] == {"r": 8}
    assert set_value(setup, "data.0", {"source": "b"})["data"] == [{"source": "b"}]
    assert setup == {"knobs": {"epochs": 1}, "data": [{"source": "a"}]}, "the input must not be modified"


@pytest.mark.parametrize("path", ["data.1.limit", "data.1", "data.-1.limit", "data.x.limit", "data.².limit", "data." + "9" * 5000, "data..limit",
                                  "seed.a", "seed.a.b", "title.0", ".".join("a" * 2000)])  # fmt: skip
def test_an_invalid_path_is_refused(path: str) -> None:
    with pytest.raises(Problem):
        parse_spec(set_value(parse_spec(MINIMAL_SETUP).to_dict(), path, 1))


def test_a_toml_date_is_refused_by_name_after_another_field_changed(tmp_path: Path) -> None:
    """TOML has dates, JSON does not."""
    spec_file = tmp_path / "a.toml"
    spec_file.write_text('method = "sft"\nknobs.epochs = 2020-01-01\n[[data]]\nsource = "sample:tickets"\n')
    with pytest.raises(Problem, match="epochs"):
        resolve(parse_spec(set_value(read_spec_file(spec_file).to_dict(), "seed", 1)))


# -- files --------------------------------------------------------------------------------------------------------


def write_text_file(path: Path, text: str, encoding: str = "utf-8") -> Path:
    path.write_text(text, encoding=encoding)
    return path


def test_a_file_is_read_by_its_suffix(tmp_path: Path) -> None:
    toml_file = write_text_file(
        tmp_path / "a.toml", 'method = "sft"\nsentence = "For people."\n[[data]]\nsource = "sample:tickets"\n'
    )
    assert (
        read_spec_file(toml_file)
        == read_spec_file(write_text_file(tmp_path / "a.json", json.dumps(MINIMAL_SETUP)))
        == parse_spec(MINIMAL_SETUP)
    )


def test_a_file_may_start_with_a_byte_order_mark(tmp_path: Path) -> None:
    """Some Windows editors write one."""
    assert read_spec_file(write_text_file(tmp_path / "a.json", json.dumps(MINIMAL_SETUP), "utf-8-sig")) == parse_spec(
        MINIMAL_SETUP
    )
    assert read_spec_file(
        write_text_file(tmp_path / "a.toml", tomlkit.dumps(MINIMAL_SETUP), "utf-8-sig")
    ) == parse_spec(MINIMAL_SETUP)


@pytest.mark.parametrize(("name", "text", "message"), [
    ("a.json", "{", "not JSON"), ("a.toml", "a = ", "not TOML"), ("a.json", "[1]", "list"), ("a.json", "5", "not a setup"),
    ("a.json", "[" * 100_000, "a.json"), ("a.toml", "a = " + "[" * 5000, "a.toml"), ("a.json", "", "not JSON"), ("a.toml", "", "lacks"),
])  # fmt: skip
def test_a_broken_file_is_refused_with_the_cause(name: str, text: str, message: str, tmp_path: Path) -> None:
    with pytest.raises(Problem, match=message):
        read_spec_file(write_text_file(tmp_path / name, text))


def test_a_missing_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(Problem, match="No such file"):
        read_spec_file(tmp_path / "gone.toml")
    with pytest.raises(Problem, match="directory"):
        read_spec_file(tmp_path)


# -- round trips --------------------------------------------------------------------------------------------------

SAMPLE_TEXTS = ["", "plain", 'quote " and \\ and {x}', "two\nlines", "ünï©ode 🜁", "null", "=[a]\t"]


def random_spec(rng: random.Random) -> Spec:
    """A random valid Spec, in which every optional part is sometimes present and sometimes absent."""

    def optional(value: Any) -> Any:
        return value if rng.random() < 0.5 else None

    source_names = ["sample:tickets", "sample:sums", "hub:owner/name.v2"]
    sources = [{"source": rng.choice(source_names), "config": optional("en"), "revision": optional("abc"), "weight": optional(rng.choice([0.5, 1, 3.25])),
                "limit": optional(rng.randint(1, 9)), "mapping": optional({"prompt": rng.choice(SAMPLE_TEXTS), "completion": "b.c"})}
               for _ in range(rng.randint(1, 3))]  # fmt: skip
    rewards = [{"name": name, "as": f"curve_{number}", "weight": optional(rng.choice([-1, 0, 0.25]))}
               for number, name in enumerate(rng.sample(["exact_match", "number", "valid_json", "length_band"], rng.randint(0, 3)))]  # fmt: skip
    holdout = rng.choice([None, {}, {"share": 0.0}, {"share": 0.25}, {"split": "holdout"}])
    adapter = {
        "kind": rng.choice(["lora", "dora", "rslora", "none"]),
        "r": rng.randint(1, 64),
        "alpha": optional(rng.choice([1, 0.5, 64])),
    }
    return resolve(parse_spec({
        "title": optional(rng.choice(SAMPLE_TEXTS)), "method": rng.choice(registry.names("methods")), "data": sources, "holdout": holdout,
        "prompts": optional(rng.sample(SAMPLE_TEXTS, 3)), "adapter": optional(adapter), "rewards": rewards, "seed": optional(rng.randrange(2**32)),
        "knobs": {"epochs": optional(rng.choice([1, 2.5, 1e-2])), "steps": optional(rng.randint(1, 99)),
                  "learning_rate": optional(10 ** rng.uniform(-6, -2)), "schedule": optional("cosine")},
    }))  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_any_spec_is_unchanged_by_toml_json_and_links(seed: int) -> None:
    rng = random.Random(seed)
    for _ in range(40):
        spec = random_spec(rng)
        assert resolve(spec) == spec
        assert parse_spec(tomllib.loads(tomlkit.dumps(spec.to_dict()))) == spec
        assert parse_spec(json.loads(spec.to_json())) == spec
        assert links.decode_setup(links.encode_setup(spec)) == spec


def test_to_dict_has_aliases_and_no_nulls() -> None:
    setup = presets.preset_spec("first_tune").to_dict()
    assert "null" not in json.dumps(setup)
    assert setup["rewards"][0]["as"] == "correct"


# -- launch -------------------------------------------------------------------------------------------------------


def test_launch_fields_are_not_part_of_the_setup() -> None:
    assert set(Launch.model_fields) & set(Spec.model_fields) == set()
    for name in Launch.model_fields:
        assert "no field called" in refusal(MINIMAL_SETUP | {name: "x"}).text


@pytest.mark.parametrize(
    "budget", [{"minutes": 0}, {"minutes": -1}, {"minutes": float("nan")}, {"minutes": float("inf")}, {"hours": 1}]
)
def test_an_invalid_budget_is_refused(budget: dict[str, float]) -> None:
    with pytest.raises(Problem, match="The launch"):
        validate(Launch, {"budget": budget}, "The launch")
