"""Contracts: what every file in a room keeps, what imports what, and what the page's process never loads."""

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
from app.data import files, rows
from app.engine import questions
from app.engine.contracts import Method, RewardFunction, load_method, load_reward
from app.engine.reward_runtime import reward_factory
from app.engine.reward_runtime.reward import FailedScore
from app.planning import links, presets
from app.planning.resolve import resolve
from app.setup.knob import describe_knobs
from app.setup.spec import PRESET_FIELDS, Model, Reward, parse_spec

if TYPE_CHECKING:
    from app.data.layouts import alpaca
    from app.data.readers import json_lines
    from backends import local

    LOCAL: contracts.Backend = local
    ALPACA: contracts.Layout = alpaca
    JSON_LINES: contracts.Reader = json_lines

METHODS, REWARDS, BACKENDS, PRESETS = (registry.names(room) for room in ("methods", "rewards", "backends", "presets"))
HEAVY = {"torch", "trl", "transformers", "datasets", "peft", "accelerate", "vllm"}
CODE = sorted(path for folder in ("app", "backends", "components") for path in (ROOT / folder).rglob("*.py"))
SHIPPED = CODE + sorted((ROOT / "presets").glob("*.py")) + [path for path in [ROOT / "app.py"] if path.exists()]
# The engine's process alone imports these, after its turn has come.
ENGINE_ONLY = {"app/engine/callback.py", "app/engine/trainers/ppo/trainer.py"}


def one_sentence(text: str | None) -> bool:
    return bool(text) and len(re.findall(r"[.!?](?=\s|$)", text.strip())) == 1 and text.strip().endswith(".")


def parameters(function: Any) -> list[str]:
    return list(inspect.signature(function).parameters)


# -- methods ------------------------------------------------------------------------------------------------------


@pytest.fixture(params=METHODS)
def method(request: pytest.FixtureRequest) -> Method:
    return load_method(request.param)


def test_a_method_says_what_it_is(method: Method) -> None:
    assert method.title
    assert method.term, "the word that people who know the field search for"
    assert not method.title.endswith(".")
    assert one_sentence(method.sentence)
    assert method.row_types
    assert set(method.row_types) <= set(rows.REQUIRED_COLUMNS)
    assert all(name in rows.REQUIRED_COLUMNS_TEXT for name in method.row_types), (
        "a refusal must be able to name what it needs"
    )


def test_a_method_builds_from_a_job_alone(method: Method) -> None:
    assert parameters(method.build) == ["job"]
    assert parameters(method.defaults) == ["adapter", "parameters"]


@pytest.mark.parametrize("adapter", ["lora", "dora", "rslora", "none"])
@pytest.mark.parametrize("weights", [None, 1, 49_999_999, 50_000_000, 10**12])
def test_a_methods_defaults_are_settings_it_has(method: Method, adapter: str, weights: int | None) -> None:
    chosen = method.knobs.model_validate(method.defaults(adapter, weights))
    open_ones = [name for name, value in chosen if value is None]
    said = [knob["name"] for knob in describe_knobs(method.knobs) if knob["empty"]]
    assert open_ones == said, (
        "a default of None is filled in by the method, but where leaving it open has a meaning of its own"
    )


# -- settings of methods and rewards -------------------------------------------------------------------------------


SHAPES = [load_method(name).knobs for name in METHODS] + [load_reward(name).params for name in REWARDS]
SETTINGS = [(shape, knob) for shape in SHAPES for knob in describe_knobs(shape)]


@pytest.mark.parametrize(
    ("shape", "knob"), SETTINGS, ids=lambda value: value["name"] if isinstance(value, dict) else value.__module__
)
def test_a_setting_says_what_it_does_and_where_it_is_safe(shape: type[BaseModel], knob: dict[str, Any]) -> None:
    assert shape.model_config["frozen"]
    assert shape.model_config["extra"] == "forbid"
    assert knob["sentence"].endswith(".")
    assert knob["title"]
    if knob["type"] in ("int", "float"):
        assert knob["low"] < knob["high"]
        assert knob["default"] is None or knob["low"] <= knob["default"] <= knob["high"]
        assert not knob["log"] or knob["low"] > 0, "powers of ten never reach zero"
    if knob["type"] == "choice":
        allowed = shape.model_json_schema()["properties"][knob["name"]]["enum"]
        assert list(knob["choices"]) == allowed
        assert all(sentence.endswith(".") for sentence in knob["choices"].values())
        assert knob["default"] in allowed


@pytest.mark.parametrize("name", METHODS)
def test_a_method_has_at_most_six_everyday_settings(name: str) -> None:
    everyday = [knob["name"] for knob in describe_knobs(load_method(name).knobs) if knob["everyday"]]
    assert 1 <= len(everyday) <= 6


# -- rewards ------------------------------------------------------------------------------------------------------

ANSWERS = ["", "yes", "42", '{"a": 1}', "\0", "🜁 déjà vu", "9" * 5_000, "[" * 50_000, "word " * 20_000]


@pytest.fixture(params=REWARDS)
def name(request: pytest.FixtureRequest) -> str:
    return str(request.param)


def scorer(name: str) -> RewardFunction:
    """As an engine makes it: what is slow or runs code works in processes of its own."""
    return reward_factory.build_reward(Reward(name=name, label="it"))


def columns(score: RewardFunction, count: int) -> dict[str, list[Any]]:
    """What TRL passes along: the row's columns, and things of its own."""
    own = {"prompts": ["?"] * count, "completion_ids": [[1]] * count, "trainer_state": None}
    return own | {name: ["42"] * count for name in score.columns}


def test_a_reward_says_what_it_is(name: str) -> None:
    definition = load_reward(name)
    assert definition.title
    assert not definition.title.endswith(".")
    assert one_sentence(definition.sentence)
    assert issubclass(definition.params, BaseModel)
    assert parameters(definition.make) == ["params"]


def test_a_reward_gives_every_answer_one_score_or_none(name: str) -> None:
    score = scorer(name)
    scores = score(completions=ANSWERS, **columns(score, len(ANSWERS)))
    assert len(scores) == len(ANSWERS)
    assert all(one is None or isinstance(one, FailedScore) or (math.isfinite(one) and -1 <= one <= 1) for one in scores)
    definition = load_reward(name)
    lacks = definition.lacking and definition.lacking(definition.params())
    if not definition.calls_out and not lacks:
        assert any(isinstance(one, float) for one in scores)
    assert score(completions=[], **columns(score, 0)) == []


def test_a_reward_scores_a_conversation_by_its_last_turn(name: str) -> None:
    score, texts = scorer(name), ["yes", "42", '{"a": 1}']
    turns = [[{"role": "assistant", "content": "well"}, {"role": "assistant", "content": text}] for text in texts]
    given = columns(score, len(texts))
    assert score(completions=turns, **given) == score(completions=texts, **given)


def test_a_reward_survives_an_answer_without_words(name: str) -> None:
    """A turn that only calls a tool has no content, and a model may say nothing at all."""
    score = scorer(name)
    silent = [[{"role": "assistant", "content": None}], [{"role": "assistant", "tool_calls": []}], []]
    given = columns(score, 4)
    assert score(completions=[*silent, ""], **given) == score(completions=[""] * 4, **given)


def test_a_reward_refuses_rows_without_its_column(name: str) -> None:
    score = scorer(name)
    for column in score.columns:
        with pytest.raises(Problem, match=f"needs the column “{column}”") as refusal:
            score(completions=["42"], **{other: ["42"] for other in score.columns if other != column})
        assert refusal.value.reason == "wrong_column"


@pytest.mark.parametrize("name", REWARDS)
def test_a_reward_is_named_as_its_curve(name: str) -> None:
    made = reward_factory.build_reward(Reward(name=name, label="my_curve"))
    assert made.__name__ == "my_curve"


# -- backends -----------------------------------------------------------------------------------------------------


@pytest.fixture(params=BACKENDS)
def backend(request: pytest.FixtureRequest) -> ModuleType:
    return registry.load_module("backends", request.param)


def test_a_backend_says_what_it_is_and_can(backend: ModuleType) -> None:
    assert backend.TITLE
    assert one_sentence(backend.__doc__)


BACKEND_FUNCTIONS = {name: function for name, function in vars(contracts.Backend).items()
                     if inspect.isfunction(function) and not name.startswith("_")}  # fmt: skip


def test_the_contract_of_backends_names_what_they_do() -> None:
    assert {*BACKEND_FUNCTIONS} == {"machines", "start", "alive", "follow", "control", "stop", "fetch"}


@pytest.mark.parametrize("name", BACKEND_FUNCTIONS)
def test_a_backend_satisfies_its_contract(backend: ModuleType, name: str) -> None:
    """The types are checked by the type checker, where it knows the module: see the end of this file's imports."""
    _, *expected = inspect.signature(BACKEND_FUNCTIONS[name]).parameters.values()
    given = [*inspect.signature(getattr(backend, name)).parameters.values()]
    assert [(one.name, one.default) for one in given[: len(expected)]] == [(one.name, one.default) for one in expected]
    assert all(one.default is not one.empty for one in given[len(expected) :]), "what a backend adds can be left out"


# -- layouts and readers of a person's data -----------------------------------------------------------------------


@pytest.mark.parametrize("name", registry.names("layouts"))
def test_a_layout_satisfies_its_contract(name: str) -> None:
    layout = registry.load_module("layouts", name)
    assert layout.TITLE
    assert not layout.TITLE.endswith(".")
    assert layout.KIND in rows.REQUIRED_COLUMNS
    assert layout.NEEDS
    assert all(isinstance(column, str) for column in (*layout.NEEDS, *getattr(layout, "MAY", ())))
    for function in ("fits", "row"):
        assert not hasattr(layout, function) or len(parameters(getattr(layout, function))) == 1
    assert hasattr(layout, "fits") == hasattr(layout, "TELLING"), "what is looked at is said"


@pytest.mark.parametrize("name", registry.names("readers"))
def test_a_reader_satisfies_its_contract(name: str) -> None:
    reader = registry.load_module("readers", name)
    assert one_sentence(reader.__doc__)
    assert {*reader.SUFFIXES} <= {*files.SUFFIXES}
    assert ["self", *parameters(reader.read)] == parameters(contracts.Reader.read)


# -- questions to the worker --------------------------------------------------------------------------------------

QUESTIONS = registry.names("questions")
# A value for each argument without a default.
ARGUMENTS = {"spec": presets.preset_spec("first_reward"), "model": Model(template="trl:gemma"), "name": "a/b", "run": "r",
             "about": {"source": {"source": "hub:a/b"}, "method": None}, "prompt": "Hello", "prompts": ("Hello", "Ümlaut")}  # fmt: skip


@pytest.fixture(params=QUESTIONS)
def question(request: pytest.FixtureRequest) -> questions.AnyQuestion:
    question_class = registry.load_module("questions", request.param).Question
    needed = [one.name for one in dataclasses.fields(question_class) if one.default is dataclasses.MISSING]
    return question_class(**{name: ARGUMENTS[name] for name in needed})


def test_a_question_says_how_it_is_answered(question: questions.AnyQuestion) -> None:
    assert question.title
    assert 0 < question.timeout < 3600
    assert question.schedule in get_args(contracts.Schedule)
    assert type(question).__doc__
    with pytest.raises(dataclasses.FrozenInstanceError):
        question.spec = None


def test_a_question_arrives_in_the_worker_as_it_was_asked(question: questions.AnyQuestion) -> None:
    line = json.dumps(questions.question_arguments(question))
    assert questions.read_question(questions.question_name(question), json.loads(line)) == question


def test_a_question_that_no_file_answers_is_refused() -> None:
    with pytest.raises(Problem, match="There is no question called “planet”"):
        questions.read_question("planet", {})


def test_a_machine_is_named_by_its_backend(backend: ModuleType) -> None:
    for machine in backend.machines():
        assert machine["name"].partition(":")[0] == backend.__name__.rpartition(".")[2]
        assert machine["title"]


def test_what_was_never_started_is_not_alive(backend: ModuleType) -> None:
    assert not backend.alive({})
    assert backend.stop({}) == "not running"


# -- presets ------------------------------------------------------------------------------------------------------


@pytest.fixture(params=PRESETS)
def preset(request: pytest.FixtureRequest) -> str:
    return request.param


def test_a_preset_says_what_it_teaches(preset: str) -> None:
    about = presets.describe_preset(preset)
    assert about["title"]
    assert one_sentence(about["sentence"])
    assert 0 < about["minutes"] < 24 * 60
    assert isinstance(about["needs"], str)
    assert about["needs"]


def test_a_preset_is_commented(preset: str) -> None:
    assert (ROOT / "presets" / f"{preset}.toml").read_text(encoding="utf-8").startswith("# ")


def test_resolving_a_preset_twice_changes_nothing(preset: str) -> None:
    once = presets.preset_spec(preset)
    assert resolve(once) == once
    assert once.knobs["learning_rate"] > 0


def test_a_preset_survives_toml_json_and_a_link(preset: str) -> None:
    spec = presets.preset_spec(preset)
    assert parse_spec(tomllib.loads(tomlkit.dumps(spec.to_dict()))) == spec
    assert parse_spec(json.loads(spec.to_json())) == spec
    assert links.decode_setup(links.link_to_setup(spec)) == spec


def test_a_preset_starts_on_this_machine(preset: str) -> None:
    """Nothing in it lies outside the repository, but for what a Hub name says."""
    spec = presets.preset_spec(preset)
    for source in spec.data:
        assert source.source.startswith(("sample:", "hub:"))
        path = files.source_path(source)
        assert path is None or next(files.read_file_rows(path))


def test_a_preset_says_only_what_it_must(preset: str) -> None:
    data = tomllib.loads((ROOT / "presets" / f"{preset}.toml").read_text(encoding="utf-8"))
    assert {"title", "method", *PRESET_FIELDS} <= set(data)


# -- imports ------------------------------------------------------------------------------------------------------


def imports(path: Path, lazy: bool = True) -> Iterator[str]:
    """Modules a file names, `from app import rows` as app.data.rows; those for type checkers alone do not count."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    for_checkers = [
        node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    ]
    skipped = {id(inner) for node in for_checkers for inner in ast.walk(node)}
    for node in ast.walk(tree) if lazy else tree.body:
        if id(node) in skipped:
            continue
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: imports say the whole name"
            inside = [f"{node.module}.{alias.name}" for alias in node.names]
            yield from (name if is_module(name) else node.module or "" for name in inside)


def is_module(name: str) -> bool:
    path = ROOT.joinpath(*name.split("."))
    return path.is_dir() or path.with_suffix(".py").exists()


def below(folder: str) -> list[Path]:
    return [path for path in CODE if path.is_relative_to(ROOT / folder)]


def named(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def crossings(paths: list[Path], forbidden: tuple[str, ...], lazy: bool = True) -> list[str]:
    """“file imports module” wherever a file names something forbidden, or something inside it."""
    return [f"{named(path)} imports {name}" for path in paths for name in imports(path, lazy)
            if any(name == one or name.startswith(f"{one}.") for one in forbidden)]  # fmt: skip


SURFACE = ("gradio", "components", "app.server", "app.__main__")
PAGE = [ROOT / "app.py", ROOT / "app/__main__.py", *below("app/server")]
PIPE = [path for path in below("app") if path not in PAGE and not path.is_relative_to(ROOT / "app/engine")]


def test_the_reader_of_imports_sees_them() -> None:
    """The other tests here could not fail if it were blind."""
    assert {"app.data.rows", "app.core.problems", "random", "datasets"} <= {
        *imports(ROOT / "app/engine/datasets/load.py")
    }
    assert "datasets" not in {*imports(ROOT / "app/engine/datasets/load.py", lazy=False)}
    assert (
        crossings([ROOT / "app/engine/datasets/load.py"], ("app.data.rows",))
        == ["app/engine/datasets/load.py imports app.data.rows"] * 2
    )


def test_the_base_knows_only_itself() -> None:
    base = [
        ROOT / f"app/{name}.py"
        for name in ("setup/spec", "core/validation", "runs/events", "core/registry", "core/problems")
    ]
    ours = {
        name
        for path in base
        for name in imports(path, lazy=False)
        if name.startswith(("app", "backends", "components"))
    }
    assert ours <= {
        "app.setup.spec",
        "app.core.json_types",
        "app.core.validation",
        "app.runs.events",
        "app.core.paths",
        "app.core.registry",
        "app.core.problems",
    }


def test_the_engine_knows_nothing_of_page_or_place() -> None:
    assert (
        crossings(
            below("app/engine"),
            (*SURFACE, "backends", "app.planning.presets", "app.planning.links", "app.worker.client", "app.hub.api"),
        )
        == []
    )


def test_backends_start_the_engine_by_name() -> None:
    assert crossings(below("backends"), (*SURFACE, "app.engine")) == []


def test_the_pipe_does_not_know_the_page() -> None:
    assert crossings(PIPE, SURFACE) == []


def test_the_pipe_reads_only_declarations_of_the_engine() -> None:
    found = {
        name
        for path in PIPE + PAGE + below("components")
        if path.exists()
        for name in imports(path)
        if name.startswith("app.engine")
    }
    found = {name for name in found if not name.startswith("app.engine.questions")}
    assert found <= {"app.engine.contracts"}, "methods and rewards are reached through their declarations"


def test_components_do_not_know_where_they_sit() -> None:
    assert crossings(below("components"), ("app.server", "app.__main__", "backends")) == []


def test_gradio_stays_at_the_surface() -> None:
    inside = [path for path in CODE if path not in PAGE and not path.is_relative_to(ROOT / "components")]
    assert crossings(inside, ("gradio",)) == []


def test_heavy_libraries_are_imported_where_they_work() -> None:
    light = [path for path in SHIPPED if named(path) not in ENGINE_ONLY]
    assert crossings(light, tuple(HEAVY), lazy=False) == []


def test_no_light_file_imports_an_engines_own() -> None:
    """At the top, that is: a heavy file behind a light one would load all the same."""
    own = tuple(name.removesuffix(".py").replace("/", ".") for name in ENGINE_ONLY)
    assert crossings([path for path in SHIPPED if named(path) not in ENGINE_ONLY], own, lazy=False) == []


def test_pages_declarations_and_backends_load_nothing_heavy() -> None:
    modules = ["app.__main__", *(name.removesuffix(".py").replace("/", ".") for name in map(named, PIPE) if "__init__" not in name),
               *(f"app.engine.methods.{name}" for name in METHODS), *(f"app.engine.rewards.{name}" for name in REWARDS),
               *(f"app.engine.questions.{name}" for name in QUESTIONS), *(f"backends.{name}" for name in BACKENDS)]  # fmt: skip
    heavy = sorted(HEAVY | {"gradio", "plotly", "pandas", "numpy"})
    code = f"import sys, {', '.join(modules)}\nprint([name for name in {heavy} if name in sys.modules])"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout.strip()) == (0, "[]"), done.stderr


# -- files --------------------------------------------------------------------------------------------------------


def test_the_folder_of_spaces_is_no_package() -> None:
    assert not (ROOT / "spaces" / "__init__.py").exists(), "it would hide the `spaces` library"


def test_app_is_an_empty_package() -> None:
    assert (ROOT / "app" / "__init__.py").read_bytes() == b"", "without it app.py would hide the package"


@pytest.mark.parametrize("path", [path for path in SHIPPED if path.stat().st_size], ids=named)
def test_a_file_says_its_room_in_one_line(path: Path) -> None:
    said = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    first = said.partition("\n")[0]
    assert first.endswith((".", ":")), "the first line is a sentence"
    assert said.partition("\n\n")[0].count("\n") == 0, "the sentence fits its line"


def untyped(path: Path) -> list[str]:
    """Public functions, at the top or in public classes, that leave a type out."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    bodies = [tree.body] + [
        node.body for node in tree.body if isinstance(node, ast.ClassDef) and not node.name.startswith("_")
    ]
    found = []
    for node in (node for body in bodies for node in body if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)):
        given = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
        typed = all(one.annotation for one in given if one.arg not in ("self", "cls"))
        returns = node.returns is not None or node.name == "__init__"
        if not node.name.startswith("_") or node.name == "__init__":
            found += [] if typed and returns else [f"{node.lineno}: {node.name}"]
    return found


@pytest.mark.parametrize("path", [path for path in SHIPPED if path.stat().st_size], ids=named)
def test_public_functions_are_typed(path: Path) -> None:
    assert untyped(path) == []


BROUGHT = {"PIL": "pillow", "pyarrow": "datasets", "numpy": "torch", "starlette": "gradio", "fastapi": "gradio",
           "uvicorn": "gradio", "safetensors": "transformers", "tokenizers": "transformers", "click": "typer",
           "pydantic_core": "pydantic", "jinja2": "gradio", "yaml": "pyyaml", "joserfc": "authlib", "math_verify": "math-verify",
           "referencing": "jsonschema", "jsonschema_specifications": "jsonschema"}  # fmt: skip


def test_what_we_import_is_pinned_or_brought_by_what_is() -> None:
    lines = (ROOT / "requirements.txt").read_text(encoding="utf-8").splitlines()
    pins = {line.partition("==")[0] for line in lines if "==" in line}
    own = {"app", "backends", "components", "presets", "tests"} | sys.stdlib_module_names
    names = {name.partition(".")[0] for path in SHIPPED for name in imports(path)} - own
    assert {name for name in names if BROUGHT.get(name, name) not in pins} == set()
