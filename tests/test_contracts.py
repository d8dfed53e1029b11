"""Contracts: every registry file satisfies its protocol; modules import only what they may; the server loads no heavy library."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import json
import math
import re
import subprocess
import sys
import tomllib
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, get_args

import pytest
import tomlkit
from pydantic import BaseModel

from app import contracts
from app.core import registry
from app.core.paths import ROOT
from app.core.problems import Problem
from app.data import rows
from app.data.reading import files
from app.engine import questions
from app.engine.contracts import Method, RewardFunction, load_method, load_reward
from app.engine.reward_runtime import reward_factory
from app.engine.reward_runtime.reward import FailedScore
from app.planning import links, presets
from app.planning.resolve import resolve
from app.setup.knob import describe_knobs
from app.setup.spec import PRESET_FIELDS, Model, Reward, Spec, parse_spec

if TYPE_CHECKING:
    from app.data.layouts import alpaca
    from app.data.readers import json_lines
    from backends import local

    LOCAL: contracts.Backend = local
    ALPACA: contracts.Layout = alpaca
    JSON_LINES: contracts.Reader = json_lines

METHODS, REWARDS, BACKENDS, PRESETS = (registry.names(kind) for kind in ("methods", "rewards", "backends", "presets"))
HEAVY_LIBRARIES = {"torch", "trl", "transformers", "datasets", "peft", "accelerate", "vllm"}
SOURCE_FILES = sorted(path for folder in ("app", "backends", "components") for path in (ROOT / folder).rglob("*.py"))
SHIPPED_FILES = (
    SOURCE_FILES + sorted((ROOT / "presets").glob("*.py")) + [path for path in [ROOT / "app.py"] if path.exists()]
)
# Only the engine process imports these, once its heavy libraries may be loaded.
ENGINE_ONLY_FILES = {
    "app/engine/callback.py",
    "app/engine/model/compiled_layers.py",
    "app/engine/model/float8.py",
    "app/engine/model/frozen_halves.py",
    "app/engine/model/frozen_head.py",
    "app/engine/model/fused_lora.py",
    "app/engine/profiler.py",
    "app/engine/trainers/muon.py",
    "app/engine/trainers/ppo/trainer.py",
}


def is_one_sentence(text: str | None) -> bool:
    return bool(text) and len(re.findall(r"[.!?](?=\s|$)", text.strip())) == 1 and text.strip().endswith(".")


def parameter_names(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


# -- methods ------------------------------------------------------------------------------------------------------


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> Method:
    return load_method(request.param)


def test_a_method_declares_its_title_term_and_row_types(method: Method) -> None:
    assert method.title
    assert method.term, "the standard term of the field"
    assert not method.title.endswith(".")
    assert is_one_sentence(method.sentence)
    assert method.row_types
    assert set(method.row_types) <= set(rows.REQUIRED_COLUMNS)
    assert all(name in rows.REQUIRED_COLUMNS_TEXT for name in method.row_types), (
        "messages about missing columns need a text for each row type"
    )


def test_build_and_defaults_of_a_method_take_the_contract_parameters(method: Method) -> None:
    assert parameter_names(method.build) == ["job"]
    assert parameter_names(method.defaults) == ["adapter", "parameters"]


@pytest.mark.parametrize("adapter", ["lora", "dora", "rslora", "none"])
@pytest.mark.parametrize("parameter_count", [None, 1, 49_999_999, 50_000_000, 10**12])
def test_a_methods_defaults_are_valid_and_fill_every_setting_that_needs_one(
    method: Method, adapter: str, parameter_count: int | None
) -> None:
    knobs = method.knobs.model_validate(method.defaults(adapter, parameter_count))
    settings_that_may_stay_unset = [knob["name"] for knob in describe_knobs(method.knobs) if knob["empty"]]
    unset_settings = [
        name for name, value in knobs if value is None or (value == "" and name in settings_that_may_stay_unset)
    ]
    assert unset_settings == settings_that_may_stay_unset, (
        "the method fills in every default of None, unless None has a meaning of its own"
    )


# -- settings of methods and rewards ------------------------------------------------------------------------------


SETTINGS_CLASSES = [load_method(name).knobs for name in METHODS] + [load_reward(name).params for name in REWARDS]
SETTINGS = [(settings_class, knob) for settings_class in SETTINGS_CLASSES for knob in describe_knobs(settings_class)]


@pytest.mark.parametrize(
    ("settings_class", "knob"),
    SETTINGS,
    ids=lambda value: value["name"] if isinstance(value, dict) else value.__module__,
)
def test_a_setting_declares_its_description_and_valid_range(
    settings_class: type[BaseModel], knob: dict[str, Any]
) -> None:
    assert settings_class.model_config["frozen"]
    assert settings_class.model_config["extra"] == "forbid"
    assert knob["sentence"].endswith(".")
    assert knob["title"]
    if knob["type"] in ("int", "float"):
        assert knob["low"] < knob["high"]
        assert knob["default"] is None or knob["low"] <= knob["default"] <= knob["high"]
        assert not knob["log"] or knob["low"] > 0, "powers of ten never reach zero"
    if knob["type"] == "choice":
        allowed_choices = settings_class.model_json_schema()["properties"][knob["name"]]["enum"]
        assert list(knob["choices"]) == allowed_choices
        assert all(sentence.endswith(".") for sentence in knob["choices"].values())
        assert knob["default"] in allowed_choices


@pytest.mark.parametrize("method_name", METHODS)
def test_a_method_has_at_most_six_everyday_settings(method_name: str) -> None:
    everyday = [knob["name"] for knob in describe_knobs(load_method(method_name).knobs) if knob["everyday"]]
    assert 1 <= len(everyday) <= 6


# -- rewards ------------------------------------------------------------------------------------------------------

COMPLETIONS = ["", "yes", "42", '{"a": 1}', "\0", "🜁 déjà vu", "9" * 5_000, "[" * 50_000, "word " * 20_000]


@pytest.fixture(params=REWARDS)
def reward_name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def build_reward_function(reward_name: str) -> RewardFunction:
    """Built as in the engine: slow rewards and those that run code work in child processes."""
    return reward_factory.build_reward(Reward(name=reward_name, label="it"))


def reward_columns(reward: RewardFunction, count: int) -> dict[str, list[Any]]:
    """The keyword arguments that TRL passes: its own ones and the columns of the rows."""
    trl_columns = {"prompts": ["?"] * count, "completion_ids": [[1]] * count, "trainer_state": None}
    return trl_columns | {column: ["42"] * count for column in reward.columns}


def test_a_reward_declares_its_title_and_parameters(reward_name: str) -> None:
    definition = load_reward(reward_name)
    assert definition.title
    assert not definition.title.endswith(".")
    assert is_one_sentence(definition.sentence)
    assert issubclass(definition.params, BaseModel)
    assert parameter_names(definition.make) == ["params"]


def test_a_reward_returns_one_score_or_none_for_each_completion(reward_name: str) -> None:
    reward = build_reward_function(reward_name)
    scores = reward(completions=COMPLETIONS, **reward_columns(reward, len(COMPLETIONS)))
    assert len(scores) == len(COMPLETIONS)
    assert all(
        score is None or isinstance(score, FailedScore) or (math.isfinite(score) and -1 <= score <= 1)
        for score in scores
    )
    definition = load_reward(reward_name)
    missing_requirement = definition.lacking and definition.lacking(definition.params())
    if not definition.calls_out and not missing_requirement:
        assert any(isinstance(score, float) for score in scores)
    assert reward(completions=[], **reward_columns(reward, 0)) == []


def test_a_reward_scores_a_conversation_by_its_last_message(reward_name: str) -> None:
    reward, replies = build_reward_function(reward_name), ["yes", "42", '{"a": 1}']
    conversations = [
        [{"role": "assistant", "content": "well"}, {"role": "assistant", "content": reply}] for reply in replies
    ]
    row_columns = reward_columns(reward, len(replies))
    assert reward(completions=conversations, **row_columns) == reward(completions=replies, **row_columns)


def test_a_reward_accepts_completions_without_content(reward_name: str) -> None:
    """A message that only calls a tool has no content, and a model may generate no message at all."""
    reward = build_reward_function(reward_name)
    completions_without_content = [
        [{"role": "assistant", "content": None}],
        [{"role": "assistant", "tool_calls": []}],
        [],
    ]
    row_columns = reward_columns(reward, 4)
    assert reward(completions=[*completions_without_content, ""], **row_columns) == reward(
        completions=[""] * 4, **row_columns
    )


def test_a_reward_refuses_rows_without_its_column(reward_name: str) -> None:
    reward = build_reward_function(reward_name)
    for column in reward.columns:
        with pytest.raises(Problem, match=f"needs the column “{column}”") as excinfo:
            reward(
                completions=["42"], **{column_name: ["42"] for column_name in reward.columns if column_name != column}
            )
        assert excinfo.value.reason == "wrong_column"


@pytest.mark.parametrize("reward_name", REWARDS)
def test_a_reward_function_is_named_after_its_label(reward_name: str) -> None:
    reward = reward_factory.build_reward(Reward(name=reward_name, label="my_curve"))
    assert reward.__name__ == "my_curve"


# -- backends -----------------------------------------------------------------------------------------------------


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> ModuleType:
    return registry.load_module("backends", request.param)


def test_a_backend_has_a_title_and_a_one_sentence_docstring(backend: ModuleType) -> None:
    assert backend.TITLE
    assert is_one_sentence(backend.__doc__)


BACKEND_FUNCTIONS = {name: function for name, function in vars(contracts.Backend).items()
                     if inspect.isfunction(function) and not name.startswith("_")}  # fmt: skip


def test_the_backend_protocol_has_exactly_these_functions() -> None:
    assert {*BACKEND_FUNCTIONS} == {"machines", "start", "alive", "follow", "control", "stop", "fetch"}


@pytest.mark.parametrize("function_name", BACKEND_FUNCTIONS)
def test_a_backend_satisfies_its_protocol(backend: ModuleType, function_name: str) -> None:
    """The types are checked by the type checker for the modules that are assigned below this file's imports."""
    _, *expected = inspect.signature(BACKEND_FUNCTIONS[function_name]).parameters.values()
    actual = [*inspect.signature(getattr(backend, function_name)).parameters.values()]
    assert [(parameter.name, parameter.default) for parameter in actual[: len(expected)]] == [
        (parameter.name, parameter.default) for parameter in expected
    ]
    assert all(parameter.default is not parameter.empty for parameter in actual[len(expected) :]), (
        "additional parameters of a backend need defaults"
    )


# -- layouts and readers of data files ----------------------------------------------------------------------------


@pytest.mark.parametrize("layout_name", registry.names("layouts"))
def test_a_layout_satisfies_its_protocol(layout_name: str) -> None:
    layout = registry.load_module("layouts", layout_name)
    assert layout.TITLE
    assert not layout.TITLE.endswith(".")
    assert layout.KIND in rows.REQUIRED_COLUMNS
    assert layout.NEEDS
    assert all(isinstance(column, str) for column in (*layout.NEEDS, *getattr(layout, "MAY", ())))
    for function_name in ("fits", "row"):
        assert not hasattr(layout, function_name) or len(parameter_names(getattr(layout, function_name))) == 1
    assert hasattr(layout, "fits") == hasattr(layout, "TELLING"), (
        "a layout with `fits` declares in TELLING what it looks at"
    )


@pytest.mark.parametrize("reader_name", registry.names("readers"))
def test_a_reader_satisfies_its_protocol(reader_name: str) -> None:
    reader = registry.load_module("readers", reader_name)
    assert is_one_sentence(reader.__doc__)
    assert {*reader.SUFFIXES} <= {*files.SUFFIXES}
    assert ["self", *parameter_names(reader.read)] == parameter_names(contracts.Reader.read)


# -- questions to the worker --------------------------------------------------------------------------------------

QUESTIONS = registry.names("questions")
# A value for each argument without a default.
QUESTION_ARGUMENTS = {"spec": presets.preset_spec("first_reward"), "model": Model(template="trl:gemma"), "name": "a/b", "run": "r",
                      "request": {"source": {"source": "hub:a/b"}, "method": None}, "prompt": "Hello", "prompts": ("Hello", "Ümlaut")}  # fmt: skip


@pytest.fixture(params=QUESTIONS)
def question(request: pytest.FixtureRequest) -> questions.AnyQuestion:
    question_class = registry.load_module("questions", request.param).Question
    required_fields = [
        field.name for field in dataclasses.fields(question_class) if field.default is dataclasses.MISSING
    ]
    return question_class(**{field_name: QUESTION_ARGUMENTS[field_name] for field_name in required_fields})


def test_a_question_declares_its_title_timeout_and_schedule(question: questions.AnyQuestion) -> None:
    assert question.title
    assert 0 < question.timeout < 3600
    assert question.schedule in get_args(contracts.Schedule)
    assert type(question).__doc__
    with pytest.raises(dataclasses.FrozenInstanceError):
        question.spec = None


def test_a_question_survives_serialization_to_the_worker(question: questions.AnyQuestion) -> None:
    line = json.dumps(questions.question_arguments(question))
    assert questions.read_question(questions.question_name(question), json.loads(line)) == question


def test_an_unknown_question_is_refused() -> None:
    with pytest.raises(Problem, match="There is no question called “planet”"):
        questions.read_question("planet", {})


def test_a_machine_name_starts_with_its_backend(backend: ModuleType) -> None:
    for machine in backend.machines():
        assert machine["name"].partition(":")[0] == backend.__name__.rpartition(".")[2]
        assert machine["title"]


def test_a_run_that_was_never_started_is_not_alive(backend: ModuleType) -> None:
    assert not backend.alive({})
    assert backend.stop({}) == "not running"


# -- presets ------------------------------------------------------------------------------------------------------


@pytest.fixture(params=PRESETS)
def preset(request: pytest.FixtureRequest) -> str:
    return request.param


def test_a_preset_declares_its_title_its_sentence_and_its_minutes_or_its_card(preset: str) -> None:
    description = presets.describe_preset(preset)
    assert description["title"]
    assert is_one_sentence(description["sentence"])
    assert (description["minutes"] is None) == bool(description["goal"])
    assert 0 < (description["minutes"] or description["gigabytes"] or 0) < 24 * 60
    assert isinstance(description["needs"], str)
    assert description["needs"]


def test_a_preset_file_starts_with_a_comment(preset: str) -> None:
    assert (ROOT / "presets" / f"{preset}.toml").read_text(encoding="utf-8").startswith("# ")


def test_resolving_a_preset_twice_changes_nothing(preset: str) -> None:
    resolved = presets.preset_spec(preset)
    assert resolve(resolved) == resolved
    assert resolved.knobs["learning_rate"] > 0


def test_a_preset_survives_toml_json_and_a_link(preset: str) -> None:
    spec = presets.preset_spec(preset)
    assert parse_spec(tomllib.loads(tomlkit.dumps(spec.to_dict()))) == spec
    assert parse_spec(json.loads(spec.to_json())) == spec
    assert links.decode_setup(links.link_to_setup(spec)) == spec


def test_a_preset_uses_only_shipped_samples_and_hub_datasets(preset: str) -> None:
    """Each source is a sample of the repository, which can be read, or a Hub dataset."""
    spec = presets.preset_spec(preset)
    for source in spec.data:
        assert source.source.startswith(("sample:", "hub:"))
        path = files.source_path(source)
        assert path is None or next(files.read_file_rows(path))


def test_a_preset_file_has_every_required_field(preset: str) -> None:
    fields = tomllib.loads((ROOT / "presets" / f"{preset}.toml").read_text(encoding="utf-8"))
    required = {"goal", "gigabytes"} if "goal" in fields else {"minutes", "needs"}
    assert {"title", "method", "sentence", *required} <= set(fields)
    assert set(fields) <= {*Spec.model_fields, *PRESET_FIELDS}


# -- imports ------------------------------------------------------------------------------------------------------


def imported_modules(path: Path, lazy: bool = True) -> Iterator[str]:
    """Modules that a file imports, with `from app.data import rows` as app.data.rows; TYPE_CHECKING blocks do not count.

    lazy: also imports inside functions and classes.
    """
    tree = ast.parse(path.read_text(encoding="utf-8"))
    type_checking_blocks = [
        node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    ]
    skipped_ids = {id(child) for node in type_checking_blocks for child in ast.walk(node)}
    for node in ast.walk(tree) if lazy else tree.body:
        if id(node) in skipped_ids:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative imports are not allowed"
            full_names = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if is_module(name) else node.module or "" for name in full_names)


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").exists()


def files_below(folder: str) -> list[Path]:
    return [path for path in SOURCE_FILES if path.is_relative_to(ROOT / folder)]


def relative_path(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def forbidden_imports(paths: list[Path], forbidden: tuple[str, ...], lazy: bool = True) -> list[str]:
    """“file imports module” for each import of a forbidden module or of one of its submodules."""
    return [f"{relative_path(path)} imports {module_name}" for path in paths for module_name in imported_modules(path, lazy)
            if any(module_name == forbidden_name or module_name.startswith(f"{forbidden_name}.") for forbidden_name in forbidden)]  # fmt: skip


UI_MODULES = ("gradio", "components", "app.server", "app.__main__")
SERVER_FILES = [ROOT / "app.py", ROOT / "app/__main__.py", *files_below("app/server")]
CORE_FILES = [
    path for path in files_below("app") if path not in SERVER_FILES and not path.is_relative_to(ROOT / "app/engine")
]


def test_imported_modules_finds_imports_in_functions_too() -> None:
    """The other tests here could not fail if it found none."""
    assert {"app.data.rows", "app.core.problems", "random", "datasets"} <= {
        *imported_modules(ROOT / "app/engine/datasets/load.py")
    }
    assert "datasets" not in {*imported_modules(ROOT / "app/engine/datasets/load.py", lazy=False)}
    assert (
        forbidden_imports([ROOT / "app/engine/datasets/load.py"], ("app.data.rows",))
        == ["app/engine/datasets/load.py imports app.data.rows"] * 2
    )


def test_base_modules_import_only_base_modules() -> None:
    base_files = [
        ROOT / f"app/{name}.py"
        for name in ("setup/adapter", "setup/spec", "core/validation", "runs/events", "core/registry", "core/problems")
    ]
    project_imports = {
        name
        for path in base_files
        for name in imported_modules(path, lazy=False)
        if name.startswith(("app", "backends", "components"))
    }
    assert project_imports <= {
        "app.setup.adapter",
        "app.setup.sources",
        "app.setup.spec",
        "app.core.json_types",
        "app.core.validation",
        "app.runs.events",
        "app.core.paths",
        "app.core.registry",
        "app.core.problems",
    }


def test_the_engine_imports_neither_ui_nor_backends() -> None:
    assert (
        forbidden_imports(
            files_below("app/engine"),
            (*UI_MODULES, "backends", "app.planning.presets", "app.planning.links", "app.worker.client", "app.hub.api"),
        )
        == []
    )


def test_backends_import_neither_ui_nor_engine() -> None:
    assert forbidden_imports(files_below("backends"), (*UI_MODULES, "app.engine")) == []


def test_core_modules_do_not_import_the_ui() -> None:
    assert forbidden_imports(CORE_FILES, UI_MODULES) == []


def test_modules_outside_the_engine_import_only_its_contracts_and_questions() -> None:
    engine_imports = {
        name
        for path in CORE_FILES + SERVER_FILES + files_below("components")
        if path.exists()
        for name in imported_modules(path)
        if name.startswith("app.engine")
    }
    engine_imports = {name for name in engine_imports if not name.startswith("app.engine.questions")}
    assert engine_imports <= {"app.engine.contracts"}, "methods and rewards are used only through app.engine.contracts"


def test_components_import_neither_server_nor_backends() -> None:
    assert forbidden_imports(files_below("components"), ("app.server", "app.__main__", "backends")) == []


def test_gradio_is_imported_only_by_the_server_and_components() -> None:
    files_without_gradio = [
        path for path in SOURCE_FILES if path not in SERVER_FILES and not path.is_relative_to(ROOT / "components")
    ]
    assert forbidden_imports(files_without_gradio, ("gradio",)) == []


def test_heavy_libraries_are_imported_only_inside_functions() -> None:
    files_outside_the_engine = [path for path in SHIPPED_FILES if relative_path(path) not in ENGINE_ONLY_FILES]
    assert forbidden_imports(files_outside_the_engine, tuple(HEAVY_LIBRARIES), lazy=False) == []


def test_no_other_file_imports_an_engine_only_file_at_module_level() -> None:
    """Such an import would load heavy libraries indirectly."""
    engine_only_modules = tuple(name.removesuffix(".py").replace("/", ".") for name in ENGINE_ONLY_FILES)
    assert (
        forbidden_imports(
            [path for path in SHIPPED_FILES if relative_path(path) not in ENGINE_ONLY_FILES],
            engine_only_modules,
            lazy=False,
        )
        == []
    )


def test_importing_server_declarations_and_backends_loads_no_heavy_library() -> None:
    modules = ["app.__main__", *(name.removesuffix(".py").replace("/", ".") for name in map(relative_path, CORE_FILES) if "__init__" not in name),
               *(f"app.engine.methods.{name}" for name in METHODS), *(f"app.engine.rewards.{name}" for name in REWARDS),
               *(f"app.engine.questions.{name}" for name in QUESTIONS), *(f"backends.{name}" for name in BACKENDS)]  # fmt: skip
    forbidden_modules = sorted(HEAVY_LIBRARIES | {"gradio", "plotly", "pandas", "numpy"})
    script = f"import sys, {', '.join(modules)}\nprint([name for name in {forbidden_modules} if name in sys.modules])"
    process = subprocess.run([sys.executable, "-c", script], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (process.returncode, process.stdout.strip()) == (0, "[]"), process.stderr


# -- files --------------------------------------------------------------------------------------------------------


def test_the_spaces_folder_is_no_package() -> None:
    assert not (ROOT / "spaces" / "__init__.py").exists(), "a package would hide the `spaces` library"


def test_app_is_an_empty_package() -> None:
    assert (ROOT / "app" / "__init__.py").read_bytes() == b"", "without __init__.py, app.py would hide the package"


@pytest.mark.parametrize("path", [path for path in SHIPPED_FILES if path.stat().st_size], ids=relative_path)
def test_a_module_docstring_starts_with_one_sentence_on_one_line(path: Path) -> None:
    docstring = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    first_line = docstring.partition("\n")[0]
    assert first_line.endswith((".", ":")), "the first line is a sentence"
    assert docstring.partition("\n\n")[0].count("\n") == 0, "the sentence fits on one line"


def functions_without_types(path: Path) -> list[str]:
    """Public functions and methods of public classes that lack a type annotation."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bodies = [tree.body] + [
        node.body for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    missing = []
    for node in (node for body in bodies for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
        node_parameters = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        has_parameter_types = all(
            parameter.annotation for parameter in node_parameters if parameter.arg not in ("self", "cls")
        )
        has_return_type = node.returns is not None or node.name == "__init__"
        if not node.name.startswith("_") or node.name == "__init__":
            missing += [] if has_parameter_types and has_return_type else [f"{node.lineno}: {node.name}"]
    return missing


@pytest.mark.parametrize("path", [path for path in SHIPPED_FILES if path.stat().st_size], ids=relative_path)
def test_public_functions_are_typed(path: Path) -> None:
    assert functions_without_types(path) == []


PINNED_PACKAGE_OF_MODULE = {"PIL": "pillow", "pyarrow": "datasets", "numpy": "torch", "starlette": "gradio", "fastapi": "gradio",
                            "uvicorn": "gradio", "safetensors": "transformers", "tokenizers": "transformers", "click": "typer",
                            "pydantic_core": "pydantic", "jinja2": "gradio", "yaml": "pyyaml", "joserfc": "authlib", "math_verify": "math-verify",
                            "referencing": "jsonschema", "jsonschema_specifications": "jsonschema"}  # fmt: skip


OPTIONAL_PACKAGES = {"torchao"}  # a setting that needs one is refused, by its name, where it is missing


def test_optional_packages_are_imported_only_where_they_are_needed() -> None:
    assert not OPTIONAL_PACKAGES & {
        name.partition(".")[0] for path in SHIPPED_FILES for name in imported_modules(path, lazy=False)
    }


def test_every_imported_package_is_pinned_or_a_dependency_of_a_pinned_one() -> None:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pinned_packages = {line.partition("==")[0] for line in lines if "==" in line}
    own_packages = {"app", "backends", "components", "presets", "tests"} | sys.stdlib_module_names
    imported_packages = (
        {name.partition(".")[0] for path in SHIPPED_FILES for name in imported_modules(path)}
        - own_packages
        - OPTIONAL_PACKAGES
    )
    assert {
        name for name in imported_packages if PINNED_PACKAGE_OF_MODULE.get(name, name) not in pinned_packages
    } == set()
