"""Share: a link is a stranger's text. It fills the form, carries nothing of this machine, and only ever fails as a Problem."""

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


def coded(data: Any) -> str:
    return base64.urlsafe_b64encode(json.dumps(data).encode()).decode().rstrip("=")


def opened(changes: Any, preset: Any = "first_tune", v: Any = 1) -> Spec:
    return links.decode_setup(coded({"v": v, "preset": preset, "set": changes}))


def changed(**changes: Any) -> Spec:
    return resolve(parse_spec(presets.unresolved_preset_spec("first_tune").to_dict() | changes))


# -- there and back -----------------------------------------------------------------------------------------------


def test_a_link_opens_the_same_setup_by_code_and_by_address() -> None:
    spec = changed(title="Zwölf 🜁 & = ? #", seed=11)
    assert links.decode_setup(links.encode_setup(spec)) == spec
    assert links.decode_setup(links.link_to_setup(spec, "https://me-tunesmith.hf.space")) == spec
    assert links.decode_setup(links.link_to_setup(spec) + "&other=1") == spec


def test_a_link_holds_only_what_differs_from_the_nearest_preset() -> None:
    code = links.encode_setup(changed(seed=11))
    data = json.loads(base64.urlsafe_b64decode(code + "=" * (-len(code) % 4)))
    assert data == {"v": 1, "preset": "first_tune", "set": {"seed": 11}}


def test_what_a_setup_leaves_out_is_left_out_again() -> None:
    spec = changed(holdout={"share": 0.5}, rewards=[], prompts=[])
    assert links.decode_setup(links.encode_setup(spec)) == spec
    bare = changed(holdout={})
    assert links.decode_setup(links.encode_setup(bare)).holdout.split is None


def test_another_method_takes_none_of_the_presets_settings() -> None:
    spec = resolve(
        parse_spec({"method": "grpo", "data": [{"source": "sample:sums"}], "rewards": [{"name": "exact_match"}]})
    )
    assert links.decode_setup(links.encode_setup(spec)) == spec


def test_a_link_is_a_web_address_of_plain_characters() -> None:
    code = links.encode_setup(changed(title="Zwölf 🜁 & = ? #"))
    assert set(code) <= set(string.ascii_letters + string.digits + "-_")


def test_a_setup_too_long_for_a_link_says_so() -> None:
    dice = random.Random(1)
    prompts = ["".join(dice.choices(string.ascii_letters, k=400)) for _ in range(32)]
    with pytest.raises(Problem, match="browsers take 8000") as found:
        links.encode_setup(changed(prompts=prompts))
    assert found.value.advice == "Shorten its prompts."


# -- what a link never carries ------------------------------------------------------------------------------------

TICKETS = {"source": "sample:tickets"}
LOCAL: dict[str, dict[str, Any]] = {
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


@pytest.mark.parametrize("case", LOCAL)
def test_a_link_never_carries(case: str) -> None:
    with pytest.raises(Problem) as found:
        opened(LOCAL[case])
    assert found.value.advice


def test_a_chat_format_that_trl_ships_travels_by_its_name() -> None:
    assert opened({"model": {"template": "trl:qwen3"}}).model.template == "trl:qwen3"
    with pytest.raises(Problem):
        opened({"model": {"template": "trl:qwen3 {{ messages }}"}})


@pytest.mark.parametrize("case", ["a path", "an upload", "a template", "a run of one's own"])
def test_what_lies_on_one_machine_is_not_put_into_a_link(case: str, tmp_path: Path) -> None:
    """Refused for being local, with the thing named, not for being absent here."""
    spec = parse_spec(presets.unresolved_preset_spec("first_tune").to_dict() | LOCAL[case])
    with pytest.raises(Problem, match=r"cannot carry|cannot be part of a link"):
        links.encode_setup(spec)


def test_a_folder_that_looks_like_a_hub_name_is_no_hub_name(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """owner/name may also exist below the folder we happen to stand in; a stranger must not reach it."""
    model = tmp_path / "owner" / "name"
    model.mkdir(parents=True)
    (model / "config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    with pytest.raises(Problem):
        opened({"model": {"id": "owner/name"}})


@pytest.mark.parametrize(
    "name",
    ["machine", "launch", "publish", "budget", "owner", "notify", "strategy", "token", "trust_remote_code", "url"],
)
def test_a_link_starts_pays_and_publishes_nothing(name: str) -> None:
    for changes in ({name: "x"}, {f"model.{name}": "x"}, {f"knobs.{name}": "x"}, {"data": [TICKETS | {name: "x"}]}):
        with pytest.raises(Problem):
            opened(changes)


# -- what is no link ----------------------------------------------------------------------------------------------

NO_LINKS = ["", " ", "abc", "====", "%%%", "🜁", "\0", "http://127.0.0.1:7860/", "http://127.0.0.1:7860/?setup=", "a" * 8001, "A" * 1_000_000,
            coded([]), coded(5), coded(None), coded("x"), coded({}), coded({"preset": "first_tune"}), coded({"set": {}}), coded("[" * 3000),
            base64.urlsafe_b64encode(b"[" * 5000).decode(), base64.urlsafe_b64encode(b"\xff\xfe").decode(),
            base64.urlsafe_b64encode(b'{"preset":' * 500).decode()]  # fmt: skip


@pytest.mark.parametrize("text", NO_LINKS, ids=range(len(NO_LINKS)))
def test_what_is_no_link_says_so(text: str) -> None:
    with pytest.raises(Problem, match="not a whole setup") as found:
        links.decode_setup(text)
    assert found.value.advice == "Ask for it again, or start from a preset."


@pytest.mark.parametrize(
    "preset", ["nosuch", "", "../first_tune", "first_tune.toml", None, 5, [], {"a": 1}, True, "x" * 3000]
)
def test_an_unknown_preset_is_refused(preset: Any) -> None:
    with pytest.raises(Problem):
        opened({}, preset)


def test_a_link_of_a_later_version_says_so() -> None:
    with pytest.raises(Problem, match="newer"):
        opened({}, v=2)


def nested(depth: int) -> Any:
    deep: Any = 1
    for _ in range(depth):
        deep = {"a": deep}
    return deep


SETS = [[[1, 2]], [["a"]], "ab", 5, None, [[None, 1]], [[[], 1]], {"": 1}, {".": 1}, {"a.b.c.d": 1}, {"data.0": None}, {"data": None},
        {"data.²": 1}, {"data.0.limit": 0}, {"data." + "9" * 4400: 1}, {"method": None}, {"method": ["sft"]}, {"method": "../x"}, {"seed": 1e400},
        {"seed": "9" * 5000}, {"knobs": []}, {"knobs": nested(400)}, {"knobs.epochs": nested(700)}, {".".join("a" * 900): 1}, {".".join("a" * 2500): 1},
        {"title": "\ud800"}, {"prompts": ["\ud800"]}, {"knobs.\ud800": 1}, {"prompts": ["x"] * 33}, {"model.id": "x" * 4000},
        {"model.id": "x/" + "y" * 4000}, {"model.id": "a/\0"}, {"model.id": ""}, {"knobs.learning_rate": "abc"}, {"v": 2}, {"v": None},
        {"rewards": [{"name": "pattern", "params": {"pattern": "("}}]}, {"rewards": [{"name": "pattern", "params": {"pattern": "(" * 1500 + ")" * 1500}}]},
        {"rewards": [{"name": "__init__"}]}, {"rewards": [{"name": "exact_match", "as": "<b>"}]}, {"rewards": [{"name": []}]}]  # fmt: skip
HARMLESS = ({"v": None},)  # the version is absent, so it is this one


@pytest.mark.parametrize("changes", SETS, ids=range(len(SETS)))
def test_changes_that_make_no_sense_are_refused(changes: Any) -> None:
    if changes in HARMLESS:
        assert opened(changes).v == 1
        return
    with pytest.raises(Problem):
        opened(changes)


# -- anything at all ----------------------------------------------------------------------------------------------

ODD = [
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


def mutated(dice: random.Random, code: str) -> str:
    """The text with some of its characters changed, cut, doubled or moved; or its data with odd values in odd places."""
    if dice.random() < 0.4:
        at, length = dice.randrange(len(code)), dice.randint(0, 6)
        return code[:at] + "".join(dice.choices(string.printable + "²🜁\0", k=dice.randint(0, 6))) + code[at + length :]
    data = json.loads(base64.urlsafe_b64decode(code + "=" * (-len(code) % 4)))
    fields = ["", "v", "title", "method", "model", "model.id", "model.start_from", "data", "data.0", "data.0.source", "data.0.split", "data.0.mapping",
              "data.7", "data.²", "data.-1", "holdout", "holdout.split", "holdout.share", "prompts", "prompts.0", "adapter", "adapter.kind", "adapter.r",
              "knobs", "knobs.epochs", "knobs.x.y", "rewards", "rewards.0", "rewards.0.params", "rewards.0.as", "seed", "seed.x", "a.b"]  # fmt: skip
    for _ in range(dice.randint(1, 4)):
        data["set"][dice.choice(fields)] = dice.choice(ODD)
    if dice.random() < 0.1:
        data[dice.choice(["preset", "set", "v"])] = dice.choice(ODD)
    return coded(data)


@pytest.mark.parametrize("seed", range(6))
def test_a_mutated_link_is_refused_or_makes_a_harmless_setup(seed: int) -> None:
    dice = random.Random(seed)
    codes = [links.encode_setup(presets.preset_spec(name)) for name in registry.names("presets")]
    taken = 0
    for _ in range(150):
        text = mutated(dice, dice.choice(codes))
        try:
            spec = links.decode_setup(text)
        except Problem:  # and nothing else
            continue
        taken += 1
        links.refuse_local(spec)
        assert resolve(spec) == spec, text
        assert spec.to_json().encode(), text
    assert taken < 75, "most mutations must matter, or nothing was tested"


def test_decoding_leaves_the_interpreters_limits_alone() -> None:
    limit = sys.getrecursionlimit()
    with pytest.raises(Problem):
        links.decode_setup(NO_LINKS[-1])
    assert sys.getrecursionlimit() == limit
