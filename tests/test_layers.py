"""The import rules: a module imports no layer above its own, and the two sides stay apart."""

from __future__ import annotations

import ast
from functools import cache
from pathlib import Path

import pytest

PACKAGE = Path(__file__).resolve().parents[1] / "python" / "pyplugin"
LAYERS = [
    {"errors", "_compat", "_rust", "_generated", "constants"},
    {"handshake", "cookie", "environment", "mtls", "logging_bridge"},
    {"net"},
    {"plugin", "reattach", "broker", "ways"},
    {"host", "serving", "controller"},
    {"client", "server"},
    {"testing", "supervisor"},
    {"__init__"},
    {"cli", "__main__", "pytest_plugin"},
]
HOST_SIDE, PLUGIN_SIDE = {"host", "client"}, {"serving", "server"}
MODULES = {
    ".".join(path.relative_to(PACKAGE).with_suffix("").parts): path
    for path in PACKAGE.rglob("*.py")
    if "_generated" not in path.parts
}


@cache
def tree(module: str) -> ast.Module:
    return ast.parse(MODULES[module].read_text())


def layer(module: str) -> int:
    top = module.partition(".")[0]
    return next((n for n, names in enumerate(LAYERS) if top in names), -1)


def imports(module: str) -> set[str]:
    """The absolute names of what a module imports, those inside of functions included."""
    found = set()
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            package = ["pyplugin", *module.split(".")][: -node.level] if node.level else []
            start = ".".join([*package, *([node.module] if node.module else [])])
            found |= {f"{start}.{alias.name}" for alias in node.names}
    return found


def own_imports(module: str) -> set[str]:
    ours = [name for name in imports(module) if name.partition(".")[0] == "pyplugin"]
    found = {name.removeprefix("pyplugin.") for name in ours}
    return {name if layer(name) >= 0 else "__init__" for name in found}


@pytest.mark.parametrize("module", MODULES)
def test_a_module_has_a_layer_and_imports_none_above_it(module: str) -> None:
    assert layer(module) >= 0, "add it to LAYERS"
    assert [name for name in own_imports(module) if layer(name) > layer(module)] == []


@pytest.mark.parametrize(("ours", "theirs"), [(HOST_SIDE, PLUGIN_SIDE), (PLUGIN_SIDE, HOST_SIDE)])
def test_the_two_sides_do_not_import_each_other(ours: set[str], theirs: set[str]) -> None:
    for module in MODULES:
        if module.partition(".")[0] in ours:
            assert not {name.partition(".")[0] for name in own_imports(module)} & theirs, module


def test_errors_imports_nothing_of_ours() -> None:
    assert own_imports("errors") == set()


def test_only_the_task_scope_makes_tasks() -> None:
    makers = set()
    for module in MODULES:
        for node in ast.walk(tree(module)):
            name = node.attr if isinstance(node, ast.Attribute) else getattr(node, "id", "")
            if name in {"create_task", "ensure_future", "TaskGroup"}:
                makers.add(module)
    assert makers == {"net.tasks"}


def test_only_one_package_knows_the_inside_of_grpclib() -> None:
    assert {m for m in MODULES if any("grpclib.protocol" in n for n in imports(m))} == {
        f"net.grpc.{name}" for name in ("answer", "call", "channel", "connection")
    }


@pytest.mark.parametrize("module", MODULES)
def test_every_public_function_is_typed(module: str) -> None:
    untyped = []
    for node in ast.walk(tree(module)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and node.name[0] != "_":
            arguments = [*node.args.posonlyargs, *node.args.args, *node.args.kwonlyargs]
            names = [a.arg for a in arguments if a.annotation is None]
            if set(names) - {"self", "cls"} or node.returns is None:
                untyped.append(node.name)
    assert untyped == []
    assert (PACKAGE / "py.typed").exists()
