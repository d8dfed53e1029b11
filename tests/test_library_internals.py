"""What our code uses of the libraries' private parts is listed, and fits the installed versions.

After an update of a library this is the first test to run: each message names library, version, name and our file.
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

APP = Path(__file__).parent.parent / "app"
SOURCES = sorted(path for path in (APP / "engine").rglob("*.py") if path.parent.name != "library_internals")
_HELP = "list it in app/engine/trainers/library_internals"


def subject(entry: LibraryInternal, owner: str) -> str:
    """Library, version, name and our files: the beginning of each message."""
    package = entry.library
    return f"{package} {version(package)}: {owner}.{entry.name} ({entry.kind} in {', '.join(entry.files)})"


def label(entry: LibraryInternal) -> str:
    return f"{entry.owners[0].rpartition('.')[2]}.{entry.name}"


PAIRS = [(entry, owner) for entry in LIBRARY_INTERNALS for owner in entry.owners]


@pytest.mark.parametrize(
    ("entry", "owner"), PAIRS, ids=[f"{owner.rpartition('.')[2]}.{entry.name}" for entry, owner in PAIRS]
)
def test_the_installed_library_has_it_as_listed(entry: LibraryInternal, owner: str) -> None:
    """Names that ours add must be absent, as they would hide the library's."""
    library_object = find_owner(owner)
    if entry.kind == "added":
        assert not has_name(library_object, entry.name), f"{subject(entry, owner)} exists now, and ours hides it"
        return
    assert has_name(library_object, entry.name), f"{subject(entry, owner)} does not exist any more: {entry.reason}"
    if entry.signature:
        signature = signature_text(getattr(library_object, entry.name))
        message = f"{subject(entry, owner)} takes {signature}, and {entry.signature} is listed: {entry.reason}"
        assert signature == entry.signature, message


def definitions(path: Path, name: str) -> Iterator[inspect.Signature]:
    """The signatures of all functions of a name in a source, without types."""
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.FunctionDef) and node.name == name:
            for argument in ast.walk(node.args):
                if isinstance(argument, ast.arg):
                    argument.annotation = None
            namespace: dict[str, object] = {}
            exec(f"def function({ast.unparse(node.args)}): pass", namespace)
            yield inspect.signature(namespace["function"])  # type: ignore[arg-type]


def accepts(ours: inspect.Signature, theirs: inspect.Signature) -> bool:
    """Whether a function can be called as another is: with the same names, where it does not say `/`."""
    if (
        any(parameter.kind is parameter.VAR_KEYWORD for parameter in ours.parameters.values())
        and len(ours.parameters) == 2
    ):
        return True
    return all(
        our is not None
        and their is not None
        and (our.name == their.name or our.kind in (our.POSITIONAL_ONLY, our.VAR_KEYWORD))
        and (our.default is our.empty) == (their.default is their.empty)
        for our, their in zip_longest(ours.parameters.values(), theirs.parameters.values())
    )


OVERRIDDEN = [entry for entry in LIBRARY_INTERNALS if entry.kind == "overridden"]


@pytest.mark.parametrize("entry", OVERRIDDEN, ids=label)
def test_an_override_takes_the_librarys_parameters(entry: LibraryInternal) -> None:
    for owner in entry.owners:
        theirs = inspect.signature(getattr(find_owner(owner), entry.name))
        for file in entry.files:
            ours = [*definitions(APP / file, entry.name)]
            accepted = not ours or any(accepts(signature, theirs) for signature in ours)
            assert accepted, f"{subject(entry, owner)} is called as {theirs}, and {file} takes {ours}"


def test_an_override_with_another_parameter_is_noticed() -> None:
    def ours(self: object, rows: object) -> None: ...

    def theirs(self: object, inputs: object) -> None: ...

    def longer(self: object, rows: object, step: object = None) -> None: ...

    assert not accepts(inspect.signature(ours), inspect.signature(theirs))
    assert not accepts(inspect.signature(ours), inspect.signature(longer))
    assert accepts(inspect.signature(longer), inspect.signature(longer))


def listed_names(path: Path) -> set[str]:
    return {entry.name for entry in LIBRARY_INTERNALS if path.relative_to(APP).as_posix() in entry.files}


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(APP).as_posix())
def test_every_use_in_a_source_is_listed(path: Path) -> None:
    missing = library_uses(path.read_text(encoding="utf-8")) - listed_names(path)
    assert not missing, f"{path.relative_to(APP)} uses {sorted(missing)} of a library: {_HELP}"


def test_private_imports_elsewhere_are_listed() -> None:
    for path in sorted({*APP.rglob("*.py")} - {*(APP / "engine").rglob("*.py")}):
        missing = imported_names(path.read_text(encoding="utf-8")) - listed_names(path)
        assert not missing, f"{path.relative_to(APP)} imports {sorted(missing)} of a library: {_HELP}"


@pytest.mark.parametrize("entry", LIBRARY_INTERNALS, ids=label)
def test_what_is_listed_is_still_used(entry: LibraryInternal) -> None:
    for file in entry.files:
        assert entry.name.rstrip("s") in (APP / file).read_text(encoding="utf-8"), f"{file} does not use {entry.name}"


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
def test_a_use_is_found(source: str, name: str) -> None:
    assert library_uses(source) == {name}


@pytest.mark.parametrize(
    "source",
    [
        "class Reader:\n    def _step(self): return self._metrics",  # extends no trainer
        "class OursMixin:\n    def _rows_of_ours(self): return self._rows_of_ours()",  # no trainer has it
        "def is_ids(name): return name.endswith('_ids')",
        "import os\nos._exit(0)",
    ],
)
def test_our_own_private_names_are_not_meant(source: str) -> None:
    assert library_uses(source) == set()
