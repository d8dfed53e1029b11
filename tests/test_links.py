"""Setup links: a link is untrusted text. It fills the form, contains nothing of this machine, and fails only with a Problem."""

from __future__ import annotations

import base64
import json
import random
import string
import sys
from pathlib import Path
from typing import Any

import pytest

from app.core import registry
from app.core.problems import Problem
from app.planning import links, presets
from app.planning.resolve import resolve
from app.setup.spec import Spec, parse_spec


def encode_payload(payload: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(payload).encode()).decode().rstrip("=")


def decode_changes(changes: Any, preset: Any = "first_tune", version: Any = 1) -> Spec:
    return links.decode_setup(encode_payload({"v": version, "preset": preset, "set": changes}))


def modified_first_tune(**changes: Any) -> Spec:
    return resolve(parse_spec(presets.unresolved_preset_spec("first_tune").to_dict() | changes))


# -- round trips --------------------------------------------------------------------------------------------------


def test_a_link_decodes_to_the_same_spec_from_its_code_and_its_url() -> None:
    spec = modified_first_tune(title="Zwölf 🜁 & = ? #", seed=11)
    assert links.decode_setup(links.encode_setup(spec)) == spec
    assert links.decode_setup(links.link_to_setup(spec, "https://me-tunesmith.hf.space")) == spec
    assert links.decode_setup(links.link_to_setup(spec) + "&other=1") == spec


def test_a_link_contains_only_the_differences_from_the_nearest_preset() -> None:
    code = links.encode_setup(modified_first_tune(seed=11))
    payload = json.loads(base64.urlsafe_b64decode(code + "=" * (-len(code) % 4)))
    assert payload == {"v": 1, "preset": "first_tune", "set": {"seed": 11}}


def test_fields_that_a_setup_empties_stay_empty_after_decoding() -> None:
    spec = modified_first_tune(holdout={"share": 0.5}, rewards=[], prompts=[])
    assert links.decode_setup(links.encode_setup(spec)) == spec
    empty_holdout_spec = modified_first_tune(holdout={})
    assert links.decode_setup(links.encode_setup(empty_holdout_spec)).holdout.split is None


def test_a_setup_of_another_method_gets_no_settings_of_the_preset() -> None:
    spec = resolve(
        parse_spec({"method": "grpo", "data": [{"source": "sample:sums"}], "rewards": [{"name": "exact_match"}]})
    )
    assert links.decode_setup(links.encode_setup(spec)) == spec


def test_a_link_code_has_only_url_safe_characters() -> None:
    code = links.encode_setup(modified_first_tune(title="Zwölf 🜁 & = ? #"))
    assert set(code) <= set(string.ascii_letters + string.digits + "-_")


def test_a_setup_too_long_for_a_link_is_refused_with_advice() -> None:
    rng = random.Random(1)
    prompts = ["".join(rng.choices(string.ascii_letters, k=400)) for _ in range(32)]
    with pytest.raises(Problem, match="browsers take 8000") as exc_info:
        links.encode_setup(modified_first_tune(prompts=prompts))
    assert exc_info.value.advice == "Shorten its prompts."


# -- changes that a link may not make -----------------------------------------------------------------------------

TICKETS = {"source": "sample:tickets"}
REFUSED_CHANGES: dict[str, dict[str, Any]] = {
    "a path": {"data": [{"source": "path:/etc/hosts.txt"}]},
    "a path behind a sample": {"data": [TICKETS, {"source": "path:~/x.csv"}]},
    "an upload": {"data": [{"source": "upload:" + "0a" * 32}]},
    "a folder called a Hub name": {"data": [{"source": "hub:../.."}]},
    "a folder beside us called a Hub name": {"data": [{"source": "hub:./data"}]},
    "a split that climbs": {"data": [{"source": "sample:tickets", "split": "../../../../tmp/x"}]},
    "a split that is a path": {"data": [{"source": "sample:tickets", "split": "/etc/x"}]},
    "held-out rows that climb": {"holdout": {"split": "../tickets/train"}},
    "a model's folder": {"model": {"id": "/tmp/model"}},
    "a model's folder at home": {"model": {"id": "~/model"}},
    "a model's folder above": {"model": {"id": "../model"}},
    "a model's folder that climbs": {"model": {"id": "presets/.."}},
    "a template": {"model": {"template": "{{ messages }}"}},
    "a run of one's own": {"model": {"start_from": "run:20261122-153012-x-k3f9"}},
    "an adapter's folder": {"model": {"start_from": "/tmp/adapter"}},
    "an adapter's folder above": {"model": {"start_from": "../adapter"}},
    "an adapter's folder at home": {"model": {"start_from": "~/adapter"}},
    "a folder of the engines' own directory called a Hub name": {"data": [{"source": "hub:presets/samples"}]},
    "a pattern that never ends": {"adapter.targets": "([a-z0-9_.]+)+!"},
    "more rows than anybody would count unasked": {"data": [{"source": "sample:tickets", "weight": 100}] * 2},
    "more sources than fit on a page": {"data": [TICKETS] * 65},
    "an adapter's folder by another system's path": {"model": {"start_from": "C:\\adapter"}},
}


@pytest.mark.parametrize("case", REFUSED_CHANGES)
def test_a_link_with_local_or_unsafe_changes_is_refused(case: str) -> None:
    with pytest.raises(Problem) as exc_info:
        decode_changes(REFUSED_CHANGES[case])
    assert exc_info.value.advice


def test_a_chat_template_of_trl_is_encoded_by_its_name() -> None:
    assert decode_changes({"model": {"template": "trl:qwen3"}}).model.template == "trl:qwen3"
    with pytest.raises(Problem):
        decode_changes({"model": {"template": "trl:qwen3 {{ messages }}"}})


@pytest.mark.parametrize("case", ["a path", "an upload", "a template", "a run of one's own"])
def test_encoding_refuses_files_templates_and_runs_of_this_machine(case: str, tmp_path: Path) -> None:
    """The refusal names the local value. It is not the error for a missing file or run."""
    spec = parse_spec(presets.unresolved_preset_spec("first_tune").to_dict() | REFUSED_CHANGES[case])
    with pytest.raises(Problem, match=r"cannot carry|cannot be part of a link"):
        links.encode_setup(spec)


def test_a_local_folder_with_the_form_of_a_hub_name_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A folder owner/name may exist in the current directory; an untrusted link must not reach it."""
    model_folder = tmp_path / "owner" / "name"
    model_folder.mkdir(parents=True)
    (model_folder / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Problem):
        decode_changes({"model": {"id": "owner/name"}})


@pytest.mark.parametrize(
    "name",
    ["machine", "launch", "publish", "budget", "owner", "notify", "strategy", "token", "trust_remote_code", "url"],
)
def test_a_link_cannot_set_launch_budget_publish_or_token_fields(name: str) -> None:
    for changes in ({name: "x"}, {f"model.{name}": "x"}, {f"knobs.{name}": "x"}, {"data": [TICKETS | {name: "x"}]}):
        with pytest.raises(Problem):
            decode_changes(changes)


# -- invalid links -----------------------------------------------------------------------------------------------

INVALID_LINKS = ["", " ", "abc", "====", "%%%", "🜁", "\0", "http://127.0.0.1:7860/", "http://127.0.0.1:7860/?setup=", "a" * 8001, "A" * 1_000_000,
                 encode_payload([]), encode_payload(5), encode_payload(None), encode_payload("x"), encode_payload({}), encode_payload({"preset": "first_tune"}), encode_payload({"set": {}}), encode_payload("[" * 3000),
                 base64.urlsafe_b64encode(b"[" * 5000).decode(), base64.urlsafe_b64encode(b"\xff\xfe").decode(),
                 base64.urlsafe_b64encode(b'{"preset":' * 500).decode()]  # fmt: skip


@pytest.mark.parametrize("text", INVALID_LINKS, ids=range(len(INVALID_LINKS)))
def test_text_that_is_not_a_link_is_refused_with_advice(text: str) -> None:
    with pytest.raises(Problem, match="not a whole setup") as exc_info:
        links.decode_setup(text)
    assert exc_info.value.advice == "Ask for it again, or start from a preset."


@pytest.mark.parametrize(
    "preset", ["nosuch", "", "../first_tune", "first_tune.toml", None, 5, [], {"a": 1}, True, "x" * 3000]
)
def test_an_unknown_preset_is_refused(preset: Any) -> None:
    with pytest.raises(Problem):
        decode_changes({}, preset)


def test_a_link_of_a_newer_version_is_refused() -> None:
    with pytest.raises(Problem, match="newer"):
        decode_changes({}, version=2)


def build_nested_dict(depth: int) -> Any:
    nested_dict: Any = 1
    for _ in range(depth):
        nested_dict = {"a": nested_dict}
    return nested_dict


INVALID_CHANGES = [[[1, 2]], [["a"]], "ab", 5, None, [[None, 1]], [[[], 1]], {"": 1}, {".": 1}, {"a.b.c.d": 1}, {"data.0": None}, {"data": None},
                   {"data.²": 1}, {"data.0.limit": 0}, {"data." + "9" * 4400: 1}, {"method": None}, {"method": ["sft"]}, {"method": "../x"}, {"seed": 1e400},
                   {"seed": "9" * 5000}, {"knobs": []}, {"knobs": build_nested_dict(400)}, {"knobs.epochs": build_nested_dict(700)}, {".".join("a" * 900): 1}, {".".join("a" * 2500): 1},
                   {"title": "\ud800"}, {"prompts": ["\ud800"]}, {"knobs.\ud800": 1}, {"prompts": ["x"] * 33}, {"model.id": "x" * 4000},
                   {"model.id": "x/" + "y" * 4000}, {"model.id": "a/\0"}, {"model.id": ""}, {"knobs.learning_rate": "abc"}, {"v": 2}, {"v": None},
                   {"rewards": [{"name": "pattern", "params": {"pattern": "("}}]}, {"rewards": [{"name": "pattern", "params": {"pattern": "(" * 1500 + ")" * 1500}}]},
                   {"rewards": [{"name": "__init__"}]}, {"rewards": [{"name": "exact_match", "as": "<b>"}]}, {"rewards": [{"name": []}]}]  # fmt: skip
ACCEPTED_CHANGES = ({"v": None},)  # a missing version means the current one


@pytest.mark.parametrize("changes", INVALID_CHANGES, ids=range(len(INVALID_CHANGES)))
def test_invalid_changes_are_refused(changes: Any) -> None:
    if changes in ACCEPTED_CHANGES:
        assert decode_changes(changes).v == 1
        return
    with pytest.raises(Problem):
        decode_changes(changes)


# -- random mutations --------------------------------------------------------------------------------------------

UNEXPECTED_VALUES = [
    None,
    True,
    0,
    -1,
    1e308,
    "",
    "x",
    "../x",
    "\0",
    "\ud800",
    [],
    [[]],
    {},
    {"a": None},
    "run:x",
    "hub:a/b",
    10**400,
    "9" * 5000,
]


def mutate_code(rng: random.Random, code: str) -> str:
    """The code with some characters replaced, or its payload with unexpected values in random fields."""
    if rng.random() < 0.4:
        position, length = rng.randrange(len(code)), rng.randint(0, 6)
        return (
            code[:position]
            + "".join(rng.choices(string.printable + "²🜁\0", k=rng.randint(0, 6)))
            + code[position + length :]
        )
    payload = json.loads(base64.urlsafe_b64decode(code + "=" * (-len(code) % 4)))
    fields = ["", "v", "title", "method", "model", "model.id", "model.start_from", "data", "data.0", "data.0.source", "data.0.split", "data.0.mapping",
              "data.7", "data.²", "data.-1", "holdout", "holdout.split", "holdout.share", "prompts", "prompts.0", "adapter", "adapter.kind", "adapter.r",
              "knobs", "knobs.epochs", "knobs.x.y", "rewards", "rewards.0", "rewards.0.params", "rewards.0.as", "seed", "seed.x", "a.b"]  # fmt: skip
    for _ in range(rng.randint(1, 4)):
        payload["set"][rng.choice(fields)] = rng.choice(UNEXPECTED_VALUES)
    if rng.random() < 0.1:
        payload[rng.choice(["preset", "set", "v"])] = rng.choice(UNEXPECTED_VALUES)
    return encode_payload(payload)


@pytest.mark.parametrize("seed", range(6))
def test_a_mutated_link_is_refused_or_decodes_to_a_valid_spec_without_local_values(seed: int) -> None:
    rng = random.Random(seed)
    codes = [links.encode_setup(presets.preset_spec(name)) for name in registry.names("presets")]
    accepted_count = 0
    for _ in range(150):
        text = mutate_code(rng, rng.choice(codes))
        try:
            spec = links.decode_setup(text)
        except Problem:  # any other exception fails the test
            continue
        accepted_count += 1
        links.refuse_local(spec)
        assert resolve(spec) == spec, text
        assert spec.to_json().encode(), text
    assert accepted_count < 75, "fewer than half of the mutated links may be accepted, or the mutations are too weak"


def test_decoding_does_not_change_the_recursion_limit() -> None:
    limit = sys.getrecursionlimit()
    with pytest.raises(Problem):
        links.decode_setup(INVALID_LINKS[-1])
    assert sys.getrecursionlimit() == limit
