"""Settings under the names of TRL, PEFT and transformers: each declared once, and read as the setting of ours."""

from __future__ import annotations

import ast
import inspect
import json
from pathlib import Path
from types import ModuleType

import pytest

from app.cli.pipeline_commands import with_changed_settings
from app.cli.terminal import read_setup
from app.core import registry
from app.core.problems import Problem
from app.core.validation import library_names
from app.engine.contracts import load_method
from app.engine.generation import sampling
from app.engine.trainers import preference, training_args
from app.engine.trainers.group_rl import recipes
from app.pipelines.pipeline import load_pipeline
from app.planning.resolve import resolve
from app.setup.knob import Knobs, describe_knobs, knob
from app.setup.spec import Adapter, parse_spec, read_spec_file

METHODS = registry.names("methods")
DATA = [{"source": "sample:tickets"}]


def knobs_of(method: str) -> type[Knobs]:
    return load_method(method).knobs


def passed_on(module: ModuleType) -> dict[str, set[str]]:
    """{our name of a setting: the arguments of a library's config that the module's code sets to it, or to `… or None`}."""
    names: dict[str, set[str]] = {}
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        pairs: list[tuple[ast.expr | str | None, ast.expr]] = []
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "job.arguments":
            pairs = [(keyword.arg, keyword.value) for keyword in node.keywords]
        elif isinstance(node, ast.Dict):
            pairs = [(key and ast.literal_eval(key), value) for key, value in zip(node.keys, node.values, strict=True)
                     if key is None or isinstance(key, ast.Constant)]  # fmt: skip
        for library_name, value in pairs:
            name = setting_of(value)
            if library_name and name:
                names.setdefault(name, set()).add(library_name)
    return names


def setting_of(value: ast.expr) -> str | None:
    """The setting that an expression hands on: `knobs.NAME`, `settings["NAME"]`, `… or None`, a list of one."""
    if isinstance(value, ast.BoolOp):
        return setting_of(value.values[0])
    if isinstance(value, ast.List) and len(value.elts) == 1:
        return setting_of(value.elts[0])
    if isinstance(value, ast.Attribute) and ast.unparse(value.value) in ("knobs", "job.knobs"):
        return value.attr
    if isinstance(value, ast.Subscript) and ast.unparse(value.value) == "settings":
        return str(ast.literal_eval(value.slice))
    return None


SHARED = {training_args: "TrainingKnobs", sampling: "SamplingKnobs", preference: "ReferenceKnobs"}


def test_settings_that_are_passed_on_are_found() -> None:
    """The next test could not fail if it saw none."""
    assert passed_on(training_args)["accumulation"] == {"gradient_accumulation_steps"}
    assert passed_on(training_args)["steps"] == {"max_steps"}
    assert passed_on(registry.load_module("methods", "sft"))["neftune"] == {"neftune_noise_alpha"}
    assert passed_on(registry.load_module("methods", "online_dpo"))["beta"] == {"beta"}


def undeclared(shape: type[Knobs], module: ModuleType) -> list[str]:
    """Settings of this class that the module passes on under a name that is neither ours nor declared."""
    declared = {setting["name"]: setting["library_name"] for setting in describe_knobs(shape)}
    return [f"{name} is passed on as {sorted(keywords)}, and declares {declared[name]!r}" for name, keywords in passed_on(module).items()
            if name in declared and declared[name] is not None and not keywords & {name, declared[name]}]  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_a_setting_that_is_passed_on_under_another_name_declares_it(method: str) -> None:
    assert undeclared(knobs_of(method), registry.load_module("methods", method)) == []


def test_shared_settings_declare_their_names_too() -> None:
    for module, name in SHARED.items():
        assert undeclared(getattr(module, name), module) == []
    assert undeclared(knobs_of("grpo"), recipes) == []


@pytest.mark.parametrize("method", METHODS)
def test_a_librarys_name_means_one_setting(method: str) -> None:
    fields = knobs_of(method).model_fields
    declared = [setting["library_name"] for setting in describe_knobs(knobs_of(method)) if setting["library_name"]]
    assert len(declared) == len(set(declared))
    assert not set(declared) & set(fields), "it would be read as another setting of ours"


@pytest.mark.parametrize("method", METHODS)
def test_both_names_give_equal_setups(method: str) -> None:
    defaults = {setting["name"]: setting["default"] for setting in describe_knobs(knobs_of(method))}
    names = library_names(knobs_of(method))
    assert names, "every method has at least the settings of the training loop"
    for library_name, name in names.items():
        if defaults[name] is not None:
            setups = [{"method": method, "data": DATA, "knobs": {key: defaults[name]}} for key in (library_name, name)]
            assert resolve(parse_spec(setups[0])) == resolve(parse_spec(setups[1]))


def test_a_file_and_the_command_line_take_both_names_and_keep_ours(tmp_path: Path) -> None:
    file = tmp_path / "setup.toml"
    file.write_text('method = "grpo"\ndata = [{ source = "sample:tickets" }]\nadapter = { lora_alpha = 8, target_modules = "q_proj" }\n'
                    "knobs = { num_generations = 4, beta = 0.04 }\n")  # fmt: skip
    assert (read_spec_file(file).adapter.alpha, read_spec_file(file).adapter.targets) == (8, "q_proj")
    assert read_setup(str(file), []).knobs == {"attempts": 4, "kl": 0.04}
    changed = read_setup(str(file), ["knobs.attempts=2", "knobs.gradient_accumulation_steps=3", "adapter.lora_alpha=4"])
    assert changed.knobs == {"attempts": 2, "kl": 0.04, "accumulation": 3}, (
        "a change replaces the setting under either name"
    )
    assert changed.adapter == Adapter(alpha=4, targets="q_proj")


def test_a_change_follows_the_method_that_is_chosen_beside_it(tmp_path: Path) -> None:
    file = tmp_path / "setup.json"
    file.write_text(json.dumps({"method": "dpo", "data": DATA}))
    assert read_setup(str(file), ["knobs.beta=0.2"]).knobs == {"beta": 0.2}
    assert read_setup(str(file), ["knobs.beta=0.2", "method=grpo"]).knobs == {"kl": 0.2}


def test_a_pipelines_stage_takes_both_names() -> None:
    polite_pairs = load_pipeline("polite_pairs")
    stage = polite_pairs.stages[0]
    changed = with_changed_settings(polite_pairs, [f"{stage.name}.knobs.num_train_epochs=9", f"{stage.name}.seed=3"])
    assert changed.stages[0].configuration["knobs"] == stage.configuration["knobs"] | {"epochs": 9}
    assert changed.stages[1:] == polite_pairs.stages[1:]


BOTH = {
    "in a setup": lambda: resolve(parse_spec({"method": "sft", "data": DATA, "knobs": {"epochs": 1, "num_train_epochs": 1}})),
    "in an adapter": lambda: parse_spec({"method": "sft", "data": DATA, "adapter": {"alpha": 1, "lora_alpha": 1}}),
    "in changes": lambda: read_setup("first_tune", ["knobs.epochs=1", "knobs.num_train_epochs=1"]),
    "in a changed group": lambda: read_setup("first_tune", ['knobs={"epochs": 1, "num_train_epochs": 1}']),
}  # fmt: skip


@pytest.mark.parametrize("way", BOTH)
def test_both_names_at_once_are_refused(way: str) -> None:
    with pytest.raises(Problem, match="two names of one setting") as refusal:
        BOTH[way]()
    assert refusal.value.advice == "Leave one of them out."


def test_a_misspelt_librarys_name_is_refused_with_the_nearest() -> None:
    with pytest.raises(Problem, match="“num_generation”") as refusal:
        resolve(parse_spec({"method": "grpo", "data": DATA, "knobs": {"num_generation": 4}}))
    assert "“num_generations”" in refusal.value.advice
    with pytest.raises(Problem, match="lora_alph") as refusal:
        parse_spec({"method": "sft", "data": DATA, "adapter": {"lora_alph": 4}})
    assert "alpha”" in refusal.value.advice


class Parent(Knobs):
    heat: int = knob(1, "Heat.", library_name="temperature")
    trays: int = knob(1, "Trays.", library_name="num_trays")


class Child(Parent):
    heat: int = knob(2, "More heat.")
    trays: int = knob(2, "Other trays.", library_name=None)


def test_a_setting_declared_again_keeps_the_librarys_name_unless_it_gives_it_up() -> None:
    assert library_names(Child) == {"temperature": "heat"}
    assert Child.model_json_schema()["properties"]["heat"]["library_name"] == "temperature"
    assert library_names(Parent) == {"temperature": "heat", "num_trays": "trays"}
