"""Library names of settings: each name of TRL, PEFT and transformers is declared once and read as our setting."""

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
from app.setup.adapter import Adapter
from app.setup.knob import Knobs, describe_knobs, knob
from app.setup.spec import parse_spec, read_spec_file

METHODS = registry.names("methods")
DATA = [{"source": "sample:tickets"}]


def knobs_class_of(method: str) -> type[Knobs]:
    return load_method(method).knobs


def library_arguments_by_setting(module: ModuleType) -> dict[str, set[str]]:
    """{our name of a setting: the arguments of a library config that the code of the module sets to it, or to `… or None`}."""
    arguments: dict[str, set[str]] = {}
    for node in ast.walk(ast.parse(inspect.getsource(module))):
        candidates: list[tuple[ast.expr | str | None, ast.expr]] = []
        if isinstance(node, ast.Call) and ast.unparse(node.func) == "job.arguments":
            candidates = [(keyword.arg, keyword.value) for keyword in node.keywords]
        elif isinstance(node, ast.Dict):
            candidates = [(key and ast.literal_eval(key), expression) for key, expression in zip(node.keys, node.values, strict=True)
                     if key is None or isinstance(key, ast.Constant)]  # fmt: skip
        for argument, expression in candidates:
            setting = setting_name_in(expression)
            if argument and setting:
                arguments.setdefault(setting, set()).add(argument)
    return arguments


def setting_name_in(expression: ast.expr) -> str | None:
    """The name of the setting that an expression reads: `knobs.NAME`, `settings["NAME"]`, either with `… or None` or in a list of one."""
    if isinstance(expression, ast.BoolOp):
        return setting_name_in(expression.values[0])
    if isinstance(expression, ast.List) and len(expression.elts) == 1:
        return setting_name_in(expression.elts[0])
    if isinstance(expression, ast.Attribute) and ast.unparse(expression.value) in ("knobs", "job.knobs"):
        return expression.attr
    if isinstance(expression, ast.Subscript) and ast.unparse(expression.value) == "settings":
        return str(ast.literal_eval(expression.slice))
    return None


SHARED_KNOBS_BY_MODULE = {training_args: "TrainingKnobs", sampling: "SamplingKnobs", preference: "ReferenceKnobs"}


def test_settings_passed_to_a_library_are_found_in_the_code() -> None:
    """If none were found, the next tests could not fail."""
    assert library_arguments_by_setting(training_args)["accumulation"] == {"gradient_accumulation_steps"}
    assert library_arguments_by_setting(training_args)["steps"] == {"max_steps"}
    assert library_arguments_by_setting(registry.load_module("methods", "sft"))["neftune"] == {"neftune_noise_alpha"}
    assert library_arguments_by_setting(registry.load_module("methods", "online_dpo"))["beta"] == {"beta"}


def find_undeclared_library_names(knobs_class: type[Knobs], module: ModuleType) -> list[str]:
    """Errors: settings of the class that the module passes to a library under a name that is neither ours nor declared."""
    declared = {setting["name"]: setting["library_name"] for setting in describe_knobs(knobs_class)}
    return [f"{name} is passed on as {sorted(arguments)}, and declares {declared[name]!r}" for name, arguments in library_arguments_by_setting(module).items()
            if name in declared and declared[name] is not None and not arguments & {name, declared[name]}]  # fmt: skip


@pytest.mark.parametrize("method", METHODS)
def test_every_setting_passed_under_another_name_declares_that_name(method: str) -> None:
    assert find_undeclared_library_names(knobs_class_of(method), registry.load_module("methods", method)) == []


def test_shared_settings_declare_their_library_names() -> None:
    for module, class_name in SHARED_KNOBS_BY_MODULE.items():
        assert find_undeclared_library_names(getattr(module, class_name), module) == []
    assert find_undeclared_library_names(knobs_class_of("grpo"), recipes) == []


@pytest.mark.parametrize("method", METHODS)
def test_each_library_name_is_declared_by_one_setting(method: str) -> None:
    fields = knobs_class_of(method).model_fields
    declared = [
        setting["library_name"] for setting in describe_knobs(knobs_class_of(method)) if setting["library_name"]
    ]
    assert len(declared) == len(set(declared))
    assert not set(declared) & set(fields), "a library name must not be the name of another setting"


@pytest.mark.parametrize("method", METHODS)
def test_both_names_resolve_to_the_same_spec(method: str) -> None:
    defaults = {setting["name"]: setting["default"] for setting in describe_knobs(knobs_class_of(method))}
    names = library_names(knobs_class_of(method))
    assert names, "every method has at least the settings of the training loop"
    for library_name, name in names.items():
        if defaults[name] is not None:
            specs = [{"method": method, "data": DATA, "knobs": {key: defaults[name]}} for key in (library_name, name)]
            assert resolve(parse_spec(specs[0])) == resolve(parse_spec(specs[1]))


def test_files_and_the_command_line_accept_both_names_and_store_ours(tmp_path: Path) -> None:
    file = tmp_path / "setup.toml"
    file.write_text('method = "grpo"\ndata = [{ source = "sample:tickets" }]\nadapter = { lora_alpha = 8, target_modules = "q_proj" }\n'
                    "knobs = { num_generations = 4, beta = 0.04 }\n")  # fmt: skip
    assert (read_spec_file(file).adapter.alpha, read_spec_file(file).adapter.targets) == (8, "q_proj")
    assert read_setup(str(file), []).knobs == {"attempts": 4, "kl": 0.04}
    changed = read_setup(str(file), ["knobs.attempts=2", "knobs.gradient_accumulation_steps=3", "adapter.lora_alpha=4"])
    assert changed.knobs == {"attempts": 2, "kl": 0.04, "accumulation": 3}, (
        "a change must replace the setting under either name"
    )
    assert changed.adapter == Adapter(alpha=4, targets="q_proj")


def test_a_warmup_is_read_as_steps_or_as_a_share_under_the_names_of_transformers() -> None:
    for names, expected in [
        ({"warmup_steps": 5}, {"warmup": 0.0, "warmup_steps": 5}),
        ({"warmup_steps": 0.2}, {"warmup": 0.2}),
        ({"warmup_ratio": 0.2}, {"warmup": 0.2}),
    ]:
        knobs = resolve(parse_spec({"method": "sft", "data": DATA, "knobs": names})).knobs
        assert {name: knobs[name] for name in ("warmup", "warmup_steps") if name in knobs} == expected


def test_a_library_name_is_read_for_the_method_in_the_same_changes(tmp_path: Path) -> None:
    file = tmp_path / "setup.json"
    file.write_text(json.dumps({"method": "dpo", "data": DATA}))
    assert read_setup(str(file), ["knobs.beta=0.2"]).knobs == {"beta": 0.2}
    assert read_setup(str(file), ["knobs.beta=0.2", "method=grpo"]).knobs == {"kl": 0.2}


def test_pipeline_stages_accept_library_names() -> None:
    polite_pairs = load_pipeline("polite_pairs")
    stage = polite_pairs.stages[0]
    changed = with_changed_settings(polite_pairs, [f"{stage.name}.knobs.num_train_epochs=9", f"{stage.name}.seed=3"])
    assert changed.stages[0].configuration["knobs"] == stage.configuration["knobs"] | {"epochs": 9}
    assert changed.stages[1:] == polite_pairs.stages[1:]


PARSE_BOTH_NAMES_BY_CASE = {
    "in a setup": lambda: resolve(parse_spec({"method": "sft", "data": DATA, "knobs": {"epochs": 1, "num_train_epochs": 1}})),
    "in an adapter": lambda: parse_spec({"method": "sft", "data": DATA, "adapter": {"alpha": 1, "lora_alpha": 1}}),
    "in changes": lambda: read_setup("first_tune", ["knobs.epochs=1", "knobs.num_train_epochs=1"]),
    "in a changed group": lambda: read_setup("first_tune", ['knobs={"epochs": 1, "num_train_epochs": 1}']),
}  # fmt: skip


@pytest.mark.parametrize("case", PARSE_BOTH_NAMES_BY_CASE)
def test_both_names_of_one_setting_are_refused(case: str) -> None:
    with pytest.raises(Problem, match="two names of one setting") as refusal:
        PARSE_BOTH_NAMES_BY_CASE[case]()
    assert refusal.value.advice == "Leave one of them out."


def test_a_misspelt_library_name_is_refused_with_a_suggestion() -> None:
    with pytest.raises(Problem, match="“num_generation”") as refusal:
        resolve(parse_spec({"method": "grpo", "data": DATA, "knobs": {"num_generation": 4}}))
    assert "“num_generations”" in refusal.value.advice
    with pytest.raises(Problem, match="lora_alph") as refusal:
        parse_spec({"method": "sft", "data": DATA, "adapter": {"lora_alph": 4}})
    assert "alpha”" in refusal.value.advice


class ParentKnobs(Knobs):
    heat: int = knob(1, "Heat.", library_name="temperature")
    trays: int = knob(1, "Trays.", library_name="num_trays")


class ChildKnobs(ParentKnobs):
    heat: int = knob(2, "More heat.")
    trays: int = knob(2, "Other trays.", library_name=None)


def test_an_overriding_setting_inherits_the_library_name_unless_it_removes_it() -> None:
    assert library_names(ChildKnobs) == {"temperature": "heat"}
    assert ChildKnobs.model_json_schema()["properties"]["heat"]["library_name"] == "temperature"
    assert library_names(ParentKnobs) == {"temperature": "heat", "num_trays": "trays"}
