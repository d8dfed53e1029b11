"""Toys: a method and a reward, one new file each in a copy of this repository, are everywhere at once, with nothing edited."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from app.core.paths import ROOT
from tests.support import chats, write_rows

METHOD = '''"""The model imitates the last answers it is shown."""

from typing import Any

from app.engine.contracts import Method
from app.engine.methods import sft
from app.setup.knob import knob


class Knobs(sft.Knobs):
    feathers: int = knob(3, "How many feathers the parrot has.", low=0, high=9)


def build(job: Any) -> Any:
    """TRL's SFTTrainer."""
    return sft.build(job)


METHOD = Method(
    title="Imitate like a parrot",
    term="Parrot",
    sentence=__doc__,
    row_types=("messages",),
    knobs=Knobs,
    build=build,
    defaults=sft.defaults,
)
'''
REWARD = '''"""The share of letters that are vowels."""

from app.engine.contracts import RewardDefinition
from app.engine.reward_runtime.reward import PerRowReward
from app.setup.knob import Knobs, knob


class Params(Knobs):
    vowels: str = knob("aeiou", "Which letters count.")


def make(params: Params) -> PerRowReward:
    return PerRowReward(lambda said: sum(letter in params.vowels for letter in said) / max(1, len(said)))


REWARD = RewardDefinition(title="Full of vowels", sentence=__doc__, params=Params, make=make)
'''
FILES = ("app.py", "README.md", "requirements.txt", "pyproject.toml")
PACKAGES = ("app", "backends", "components", "spaces", "tests")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def copied(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("copied")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "results", "browser"))
    for name in FILES:
        shutil.copy2(ROOT / name, root / name)
    (root / "presets").symlink_to(ROOT / "presets")
    (root / "app" / "engine" / "methods" / "toy_parrot.py").write_text(METHOD)
    (root / "app" / "engine" / "rewards" / "toy_vowels.py").write_text(REWARD)
    return root


def told(root: Path, *arguments: str) -> str:
    """What Python says there; fails with its last words when it fails."""
    done = subprocess.run([sys.executable, *arguments], cwd=root, capture_output=True, text=True, timeout=240,
                          env=os.environ | {"PYTHONPATH": str(root)})  # fmt: skip
    assert done.returncode == 0, f"{done.stdout[-3000:]}\n{done.stderr[-2000:]}"
    return done.stdout


def test_the_command_line_knows_them(copied: Path) -> None:
    methods = {one["name"]: one for one in json.loads(told(copied, "-m", "app", "methods", "--json"))}
    assert methods["toy_parrot"]["title"] == "Imitate like a parrot"
    assert "feathers" in {knob["name"] for knob in methods["toy_parrot"]["knobs"]}
    schema = json.loads(told(copied, "-m", "app", "schema"))
    assert schema["knobs"]["toy_parrot"]["properties"]["feathers"]["maximum"] == 9
    assert schema["rewards"]["toy_vowels"]["properties"]["vowels"]["default"] == "aeiou"


def test_the_page_offers_them(copied: Path) -> None:
    script = (
        "import json; from components.settings import settings_menu; print(json.dumps(settings_menu(), default=str))"
    )
    menu: dict[str, Any] = json.loads(told(copied, "-c", script))
    assert menu["methods"]["toy_parrot"]["sentence"] == "The model imitates the last answers it is shown."
    assert any(field["name"] == "feathers" for field in menu["methods"]["toy_parrot"]["fields"])
    assert menu["rewards"]["toy_vowels"]["title"] == "Full of vowels"


def test_a_preview_shows_what_the_toy_learns(copied: Path, tmp_path: Path) -> None:
    setup = {"method": "toy_parrot", "data": [{"source": write_rows(tmp_path / "rows.jsonl", chats(12))}],
             "rewards": [{"name": "toy_vowels"}], "knobs": {"feathers": 4}}  # fmt: skip
    (tmp_path / "setup.json").write_text(json.dumps(setup))
    [row] = json.loads(told(copied, "-m", "app", "preview", str(tmp_path / "setup.json"), "--rows", "1", "--json"))["rows"]  # fmt: skip
    assert "".join(token["text"] for token in row["tokens"] if token["trained"]).startswith("it is 0.<|im_end|>")


def test_every_contract_holds_them(copied: Path) -> None:
    said = told(copied, "-m", "pytest", "-p", "no:cacheprovider", "tests/test_contracts.py", "-k", "toy_parrot or toy_vowels", "-rA")  # fmt: skip
    passed = [line for line in said.splitlines() if line.startswith("PASSED")]
    assert any("test_a_method_builds_from_a_job_alone[toy_parrot]" in line for line in passed)
    assert any("test_a_setting_says_what_it_does" in line and "toy_parrot" in line for line in passed)
    assert any("test_a_reward_gives_every_answer_one_score_or_none[toy_vowels]" in line for line in passed)
