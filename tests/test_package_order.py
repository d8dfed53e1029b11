"""Package order: our packages import only packages of lower layers, also inside functions and for types alone."""

from __future__ import annotations

import ast
from pathlib import Path

import pytest

from app.core.paths import ROOT

# Lowest layer first. A package may import itself and packages of earlier layers, but no other package of its own or a later layer.
LAYERS = [
    ["app.core"],
    ["app.setup"],
    ["app.contracts", "app.engine.contracts"],
    ["app.data", "app.runs"],
    ["app.planning", "app.history"],
    ["app.remote"],
    ["backends"],
    ["app.pipelines", "app.hub"],
    ["app.engine"],
    ["app.worker"],
    ["components"],
    ["app.server", "app.cli"],
    ["app.__main__"],
]
LEVELS = {package: level for level, packages in enumerate(LAYERS) for package in packages}
MODULES = {
    ".".join(path.relative_to(ROOT).with_suffix("").parts).removesuffix(".__init__"): path
    for folder in ("app", "backends", "components")
    for path in sorted((ROOT / folder).rglob("*.py"))
}
# These import from higher layers, for types alone: the types of the arguments that their implementations receive.
CONTRACTS = {
    "app.contracts",  # a backend starts a run: app.runs
    "app.engine.contracts",  # a method builds its trainer from a job of the engine, a reward scores rows: app.data
}


def package_of(module: str) -> str:
    """The longest package in LEVELS that contains the module; "" for `app` itself, which is in no layer."""
    return max((package for package in LEVELS if f"{module}.".startswith(f"{package}.")), key=len, default="")


def imports_of(path: Path) -> tuple[set[str], set[str]]:
    """(our modules that a file imports at run time, our modules that it imports for types alone)."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    type_checking_blocks = [
        node for node in ast.walk(tree) if isinstance(node, ast.If) and "TYPE_CHECKING" in ast.unparse(node.test)
    ]
    for_types = {id(node) for block in type_checking_blocks for node in ast.walk(block)}
    at_run_time: set[str] = set()
    type_only: set[str] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            names = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom):
            submodules = [f"{node.module}.{alias.name}" for alias in node.names]
            names = [name if name in MODULES else str(node.module) for name in submodules]
        else:
            continue
        (type_only if id(node) in for_types else at_run_time).update(name for name in names if name in MODULES)
    return at_run_time, type_only


def is_upward(importer: str, imported: str) -> bool:
    importer_package, imported_package = package_of(importer), package_of(imported)
    return importer_package != imported_package and LEVELS[importer_package] <= LEVELS[imported_package]


def test_every_module_belongs_to_a_layer() -> None:
    assert {module for module in MODULES if not package_of(module)} == {"app"}


def test_an_upward_import_is_detected(tmp_path: Path) -> None:
    source_file = tmp_path / "module.py"
    source_file.write_text("def f():\n    from app.server import page\nif TYPE_CHECKING:\n    import app.hub.api\n")
    assert imports_of(source_file) == ({"app.server.page"}, {"app.hub.api"})
    assert is_upward("app.data.rows", "app.hub.api")
    assert is_upward("app.data.rows", "app.runs.store"), "packages of the same layer must not import each other"
    assert not is_upward("app.hub.api", "app.data.rows")


@pytest.mark.parametrize("module", [module for module in MODULES if module != "app"])
def test_a_module_imports_only_lower_layers(module: str) -> None:
    at_run_time, type_only = imports_of(MODULES[module])
    assert {imported for imported in at_run_time if is_upward(module, imported)} == set()
    assert module in CONTRACTS or {imported for imported in type_only if is_upward(module, imported)} == set()
