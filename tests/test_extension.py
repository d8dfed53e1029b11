"""Extension: a new method and a new reward, one new file each in a copy of this repository, work everywhere without other edits."""

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
from tests.support import conversation_rows, write_rows

METHOD_SOURCE = '''"""The model imitates the last answers it is shown."""

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
    step_memory=sft.step_memory,
    defaults=sft.defaults,
)
'''
REWARD_SOURCE = '''"""The share of letters that are vowels."""

from app.engine.contracts import RewardDefinition
from app.engine.reward_runtime.reward import PerRowReward
from app.setup.knob import Knobs, knob


class Params(Knobs):
    vowels: str = knob("aeiou", "Which letters count.")


def make(params: Params) -> PerRowReward:
    return PerRowReward(lambda said: sum(letter in params.vowels for letter in said) / max(1, len(said)))


REWARD = RewardDefinition(title="Full of vowels", sentence=__doc__, params=Params, make=make)
'''
ROOT_FILES = ("app.py", "README.md", "requirements.txt", "pyproject.toml")
PACKAGES = ("app", "backends", "components", "spaces", "tests")

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def repository_copy(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("copied")
    for name in PACKAGES:
        shutil.copytree(ROOT / name, root / name, ignore=shutil.ignore_patterns("__pycache__", "results", "browser"))
    for name in ROOT_FILES:
        shutil.copy2(ROOT / name, root / name)
    (root / "presets").symlink_to(ROOT / "presets")
    (root / "app" / "engine" / "methods" / "toy_parrot.py").write_text(METHOD_SOURCE)
    (root / "app" / "engine" / "rewards" / "toy_vowels.py").write_text(REWARD_SOURCE)
    return root


def run_python(root: Path, *arguments: str) -> str:
    """Standard output of Python in that folder. Fails with the end of its output when the exit code is not 0."""
    completed = subprocess.run([sys.executable, *arguments], cwd=root, capture_output=True, text=True, timeout=240,
                          env=os.environ | {"PYTHONPATH": str(root)})  # fmt: skip
    assert completed.returncode == 0, f"{completed.stdout[-3000:]}\n{completed.stderr[-2000:]}"
    return completed.stdout


def test_the_command_line_lists_the_new_method_and_reward(repository_copy: Path) -> None:
    methods = {
        method["name"]: method for method in json.loads(run_python(repository_copy, "-m", "app", "methods", "--json"))
    }
    assert methods["toy_parrot"]["title"] == "Imitate like a parrot"
    assert "feathers" in {knob["name"] for knob in methods["toy_parrot"]["knobs"]}
    schema = json.loads(run_python(repository_copy, "-m", "app", "schema"))
    assert schema["knobs"]["toy_parrot"]["properties"]["feathers"]["maximum"] == 9
    assert schema["rewards"]["toy_vowels"]["properties"]["vowels"]["default"] == "aeiou"


def test_the_page_lists_the_new_method_and_reward(repository_copy: Path) -> None:
    script = (
        "import json; from components.settings import settings_menu; print(json.dumps(settings_menu(), default=str))"
    )
    menu: dict[str, Any] = json.loads(run_python(repository_copy, "-c", script))
    assert menu["methods"]["toy_parrot"]["sentence"] == "The model imitates the last answers it is shown."
    assert any(field["name"] == "feathers" for field in menu["methods"]["toy_parrot"]["fields"])
    assert menu["rewards"]["toy_vowels"]["title"] == "Full of vowels"


def test_a_preview_shows_the_trained_tokens_of_the_new_method(repository_copy: Path, tmp_path: Path) -> None:
    setup = {"method": "toy_parrot", "data": [{"source": write_rows(tmp_path / "rows.jsonl", conversation_rows(12))}],
             "rewards": [{"name": "toy_vowels"}], "knobs": {"feathers": 4}}  # fmt: skip
    (tmp_path / "setup.json").write_text(json.dumps(setup))
    [row] = json.loads(run_python(repository_copy, "-m", "app", "preview", str(tmp_path / "setup.json"), "--rows", "1", "--json"))["rows"]  # fmt: skip
    assert "".join(token["text"] for token in row["tokens"] if token["trained"]).startswith("it is 0.<|im_end|>")


def test_the_contract_tests_pass_for_the_new_method_and_reward(repository_copy: Path) -> None:
    pytest_output = run_python(repository_copy, "-m", "pytest", "-p", "no:cacheprovider", "tests/test_contracts.py", "-k", "toy_parrot or toy_vowels", "-rA")  # fmt: skip
    passed_lines = [line for line in pytest_output.splitlines() if line.startswith("PASSED")]
    assert any(
        "test_build_and_defaults_of_a_method_take_the_contract_parameters[toy_parrot]" in line for line in passed_lines
    )
    assert any(
        "test_a_setting_declares_its_description_and_valid_range" in line and "toy_parrot" in line
        for line in passed_lines
    )
    assert any(
        "test_a_reward_returns_one_score_or_none_for_each_completion[toy_vowels]" in line for line in passed_lines
    )
