"""Finds uses of private library names (one leading underscore) and replaced library functions in our source."""

from __future__ import annotations

import ast
import inspect
import re
import textwrap
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from types import ModuleType

LIBRARIES = ("trl", "transformers", "peft", "accelerate", "datasets", "torch", "bitsandbytes", "huggingface_hub")
_OTHER_ROOTS = {"os"}  # modules of the standard library
_STRING_METHODS = {"endswith", "startswith", "removesuffix", "removeprefix", "partition", "rpartition", "replace"}
_PRIVATE_NAME = re.compile(r"_[A-Za-z]\w*")


def library_uses(source: str) -> set[str]:
    """The private library names that a module's source uses, and the public library functions that it replaces."""
    tree = ast.parse(source)
    for parent in ast.walk(tree):
        for child in ast.iter_child_nodes(parent):
            child.parent = parent  # type: ignore[attr-defined]
    return {
        *_imported_names(tree),
        *_method_names(tree),
        *_attribute_names(tree),
        *_names_in_strings(tree),
        *_replaced_names(tree),
    }


def imported_names(source: str) -> set[str]:
    """The private names that a module's source imports from a library."""
    return {*_imported_names(ast.parse(source))}


def _imported_names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.ImportFrom) and (node.module or "").partition(".")[0] in LIBRARIES:
            yield from filter(_is_private, [*(node.module or "").split("."), *(alias.name for alias in node.names)])


def _method_names(tree: ast.AST) -> Iterator[str]:
    """Private methods and class attributes of trainer extensions that have the name of one in the libraries' trainers."""
    for node in ast.walk(tree):
        if isinstance(node, ast.ClassDef) and _extends_trainer(node):
            names = [child.name for child in node.body if isinstance(child, ast.FunctionDef)]
            names += [
                ast.unparse(target) for child in node.body if isinstance(child, ast.Assign) for target in child.targets
            ]
            yield from (name for name in names if _is_private(name) and name in private_trainer_names())


def _attribute_names(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and _is_private(node.attr):
            owner = ast.unparse(node.value)
            if owner in ("self", "cls"):
                enclosing = [parent for parent in _parents(node) if isinstance(parent, ast.ClassDef)]
                is_library = node.attr in private_trainer_names() and (not enclosing or _extends_trainer(enclosing[0]))
            else:
                is_library = owner.partition(".")[0] not in _OTHER_ROOTS
            if is_library:
                yield node.attr


def _names_in_strings(tree: ast.AST) -> Iterator[str]:
    """Private names in string literals, as for getattr; not suffixes of column names."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and _is_private(node.value):
            call = node.parent  # type: ignore[attr-defined]
            while isinstance(call, ast.Tuple):
                call = call.parent  # type: ignore[attr-defined]
            function = call.func if isinstance(call, ast.Call) else None
            is_ending = isinstance(function, ast.Attribute) and function.attr in _STRING_METHODS
            if not is_ending and not isinstance(call, ast.JoinedStr) and ast.unparse(function or node) != "TypeVar":
                yield node.value


def _replaced_names(tree: ast.AST) -> Iterator[str]:
    """Assigned attributes of imported libraries, and assigned methods of models and trainers."""
    imported = {
        alias.asname or alias.name.partition(".")[0]
        for node in ast.walk(tree)
        if isinstance(node, ast.Import | ast.ImportFrom)
        for alias in node.names
        if (getattr(node, "module", None) or alias.name).partition(".")[0] in LIBRARIES
    }
    for node in ast.walk(tree):
        if isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            owner = ast.unparse(node.value)
            is_method = owner != "self" and not owner.endswith("data") and node.attr in _public_method_names()
            if owner.partition(".")[0] in imported or is_method:  # `data.train` holds rows and is not a method
                yield node.attr


def _is_private(name: str) -> bool:
    return bool(_PRIVATE_NAME.fullmatch(name))


def _parents(node: ast.AST) -> Iterator[ast.AST]:
    while node := getattr(node, "parent", None):  # type: ignore[assignment]
        yield node


def _extends_trainer(node: ast.ClassDef) -> bool:
    bases = " ".join(map(ast.unparse, node.bases)).lower()
    return "trainer" in bases.replace("trainercallback", "") or node.name.endswith("Mixin")


@cache
def private_trainer_names() -> frozenset[str]:
    """Every private method and attribute of transformers' Trainer and of all trainers of TRL, read from their source."""
    import transformers.trainer
    import trl

    folder = Path(inspect.getfile(trl)).parent
    paths = [
        Path(inspect.getfile(transformers.trainer)),
        *folder.glob("trainer/*.py"),
        *folder.glob("experimental/*/*.py"),
    ]
    names: set[str] = set()
    for path in paths:
        names |= assigned_names(ast.parse(path.read_text(encoding="utf-8")))
    return frozenset(filter(_is_private, names))


def assigned_names(tree: ast.AST) -> set[str]:
    """Names of the functions in a source, and of the variables and attributes that it assigns."""
    return {
        node.name if isinstance(node, ast.FunctionDef) else node.attr if isinstance(node, ast.Attribute) else node.id
        for node in ast.walk(tree)
        if isinstance(node, ast.FunctionDef)
        or (isinstance(node, ast.Attribute | ast.Name) and isinstance(node.ctx, ast.Store))
    }


@cache
def _public_method_names() -> frozenset[str]:
    import torch
    from transformers import PreTrainedModel, Trainer

    classes = (Trainer, PreTrainedModel, torch.nn.Module)
    return frozenset(
        name for owner in classes for name in dir(owner) if name[0] != "_" and callable(getattr(owner, name))
    )


def find_owner(dotted_name: str) -> type | ModuleType:
    """A class or a module by its dotted name."""
    try:
        return import_module(dotted_name)
    except ModuleNotFoundError:
        module_name, _, name = dotted_name.rpartition(".")
        return getattr(import_module(module_name), name)


def has_name(owner: type | ModuleType, name: str) -> bool:
    """Whether a class or module has the name, or the source of the class or of a base class assigns it."""
    if hasattr(owner, name):
        return True
    parents = owner.__mro__ if isinstance(owner, type) else ()
    return any(name in _assigned_by(parent) for parent in parents if parent.__module__.startswith(LIBRARIES))


@cache
def _assigned_by(owner: type) -> frozenset[str]:
    return frozenset(assigned_names(ast.parse(textwrap.dedent(inspect.getsource(owner)))))


def signature_text(function: object) -> str:
    """The parameters with their defaults, without types: `(self, inputs, batch_size=None)`."""
    signature = inspect.signature(function)  # type: ignore[arg-type]
    empty = inspect.Parameter.empty
    parameters = [parameter.replace(annotation=empty) for parameter in signature.parameters.values()]
    return str(signature.replace(parameters=parameters, return_annotation=inspect.Signature.empty))
