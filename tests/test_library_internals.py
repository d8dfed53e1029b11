"""Every library internal that our code uses is listed, and exists as listed in the installed versions.

Run this test first after an update of a library: each message names the library, its version, the name and our file.
"""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator
from importlib.metadata import version
from itertools import zip_longest
from pathlib import Path

import pytest

from app.engine.trainers.library_internals import LIBRARY_INTERNALS, LibraryInternal
from tests.library_uses import find_owner, has_name, imported_names, library_uses, signature_text

APP_FOLDER = Path(__file__).parent.parent / "app"
ENGINE_SOURCES = sorted(
    path for path in (APP_FOLDER / "engine").rglob("*.py") if path.parent.name != "library_internals"
)
_HELP = "list it in app/engine/trainers/library_internals"


def entry_description(entry: LibraryInternal, owner: str) -> str:
    """The beginning of each message: library, version, name and our files."""
    package = entry.library
    return f"{package} {version(package)}: {owner}.{entry.name} ({entry.kind} in {', '.join(entry.files)})"


def entry_id(entry: LibraryInternal) -> str:
    return f"{entry.owners[0].rpartition('.')[2]}.{entry.name}"


ENTRY_OWNER_PAIRS = [(entry, owner) for entry in LIBRARY_INTERNALS for owner in entry.owners]


@pytest.mark.parametrize(
    ("entry", "owner"),
    ENTRY_OWNER_PAIRS,
    ids=[f"{owner.rpartition('.')[2]}.{entry.name}" for entry, owner in ENTRY_OWNER_PAIRS],
)
def test_each_listed_internal_exists_in_the_installed_library(entry: LibraryInternal, owner: str) -> None:
    """Names that our classes add must be absent from the library, or they would hide the library's."""
    library_object = find_owner(owner)
    if entry.kind == "added":
        assert not has_name(library_object, entry.name), (
            f"{entry_description(entry, owner)} exists now, and our name hides it"
        )
        return
    assert has_name(library_object, entry.name), (
        f"{entry_description(entry, owner)} does not exist any more; it is used because: {entry.reason}"
    )
    if entry.signature:
        signature = signature_text(getattr(library_object, entry.name))
        message = f"{entry_description(entry, owner)} takes {signature}, but {entry.signature} is listed; it is used because: {entry.reason}"
        assert signature == entry.signature, message


def function_signatures(path: Path, name: str) -> Iterator[inspect.Signature]:
    """The signatures of all functions with this name in a source file, without annotations."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and node.name == name:
            for argument in ast.walk(node.args):
                if isinstance(argument, ast.arg):
                    argument.annotation = None
            namespace: dict[str, object] = {}
            exec(f"def function({ast.unparse(node.args)}): pass", namespace)
            yield inspect.signature(namespace["function"])  # type: ignore[arg-type]


def is_call_compatible(own_signature: inspect.Signature, library_signature: inspect.Signature) -> bool:
    """Whether our function can be called like the library's: same parameter names (unless positional-only) and defaults."""
    if (
        any(parameter.kind is parameter.VAR_KEYWORD for parameter in own_signature.parameters.values())
        and len(own_signature.parameters) == 2
    ):
        return True
    return all(
        own_parameter is not None
        and library_parameter is not None
        and (
            own_parameter.name == library_parameter.name
            or own_parameter.kind in (own_parameter.POSITIONAL_ONLY, own_parameter.VAR_KEYWORD)
        )
        and (own_parameter.default is own_parameter.empty) == (library_parameter.default is library_parameter.empty)
        for own_parameter, library_parameter in zip_longest(
            own_signature.parameters.values(), library_signature.parameters.values()
        )
    )


OVERRIDDEN_ENTRIES = [entry for entry in LIBRARY_INTERNALS if entry.kind == "overridden"]


@pytest.mark.parametrize("entry", OVERRIDDEN_ENTRIES, ids=entry_id)
def test_an_override_takes_the_librarys_parameters(entry: LibraryInternal) -> None:
    for owner in entry.owners:
        library_signature = inspect.signature(getattr(find_owner(owner), entry.name))
        for file in entry.files:
            own_signatures = [*function_signatures(APP_FOLDER / file, entry.name)]
            is_accepted = not own_signatures or any(
                is_call_compatible(signature, library_signature) for signature in own_signatures
            )
            assert is_accepted, (
                f"{entry_description(entry, owner)} is called as {library_signature}, but {file} takes {own_signatures}"
            )


def test_an_override_with_another_parameter_is_rejected() -> None:
    def override(self: object, rows: object) -> None: ...

    def library_method(self: object, inputs: object) -> None: ...

    def override_with_default(self: object, rows: object, step: object = None) -> None: ...

    assert not is_call_compatible(inspect.signature(override), inspect.signature(library_method))
    assert not is_call_compatible(inspect.signature(override), inspect.signature(override_with_default))
    assert is_call_compatible(inspect.signature(override_with_default), inspect.signature(override_with_default))


def listed_names(path: Path) -> set[str]:
    return {entry.name for entry in LIBRARY_INTERNALS if path.relative_to(APP_FOLDER).as_posix() in entry.files}


@pytest.mark.parametrize("path", ENGINE_SOURCES, ids=lambda path: path.relative_to(APP_FOLDER).as_posix())
def test_every_library_internal_used_in_an_engine_source_is_listed(path: Path) -> None:
    missing = library_uses(path.read_text(encoding="utf-8")) - listed_names(path)
    assert not missing, f"{path.relative_to(APP_FOLDER)} uses {sorted(missing)} of a library: {_HELP}"


def test_private_imports_outside_the_engine_are_listed() -> None:
    for path in sorted({*APP_FOLDER.rglob("*.py")} - {*(APP_FOLDER / "engine").rglob("*.py")}):
        missing = imported_names(path.read_text(encoding="utf-8")) - listed_names(path)
        assert not missing, f"{path.relative_to(APP_FOLDER)} imports {sorted(missing)} of a library: {_HELP}"


@pytest.mark.parametrize("entry", LIBRARY_INTERNALS, ids=entry_id)
def test_every_listed_internal_is_still_used(entry: LibraryInternal) -> None:
    for file in entry.files:
        assert entry.name.rstrip("s") in (APP_FOLDER / file).read_text(encoding="utf-8"), (
            f"{file} does not use {entry.name}"
        )


@pytest.mark.parametrize(
    ("source", "name"),
    [
        ("from trl.trainer.utils import _hidden", "_hidden"),
        ("from transformers.utils import _http", "_http"),
        ("class Ours(trainer):\n    def _save_checkpoint(self, model, trial): ...", "_save_checkpoint"),
        ("class OursMixin:\n    def log(self): return self._metrics", "_metrics"),
        ("class OursMixin:\n    _tag_names = ()", "_tag_names"),
        ("def look(table): return table._indices", "_indices"),
        ("def look(trainer): return getattr(trainer, '_step', 0)", "_step"),
        ("import datasets\ndatasets.arrow_dataset.hf_tqdm = None", "hf_tqdm"),
        ("def change(trainer): trainer.compute_loss = None", "compute_loss"),
    ],
)
def test_library_uses_returns_the_private_name(source: str, name: str) -> None:
    assert library_uses(source) == {name}


@pytest.mark.parametrize(
    "source",
    [
        "class Reader:\n    def _step(self): return self._metrics",  # does not extend a trainer
        "class OursMixin:\n    def _rows_of_ours(self): return self._rows_of_ours()",  # no library trainer has this method
        "def is_ids(name): return name.endswith('_ids')",
        "import os\nos._exit(0)",
    ],
)
def test_library_uses_ignores_our_own_private_names(source: str) -> None:
    assert library_uses(source) == set()
