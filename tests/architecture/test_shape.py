"""The shape that reviewers would otherwise have to keep by eye: sizes, names, docstrings, purity."""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
MODULES = sorted(
    path
    for package in ("serving", "router", "demo", "loadtests")
    for path in (ROOT / package).rglob("*.py")
    if "pb" not in path.relative_to(ROOT).parts
)
MAX_MODULE_LINES = 300
MAX_BODY_LINES = 50
JUNK_DRAWERS = {"utils", "util", "helpers", "common", "misc", "base", "core", "manager", "constants"}
CONTRACTS = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
IMPURE = {module for contract in CONTRACTS if contract["id"] == "pure" for module in contract["forbidden_modules"]}


def _name(path: Path) -> str:
    return ".".join(path.relative_to(ROOT).with_suffix("").parts)


def _tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(), filename=str(path))


def _is_pure(path: Path) -> bool:
    first_paragraph = (ast.get_docstring(_tree(path)) or "").partition("\n\n")[0]
    return first_paragraph.rstrip().endswith("Pure.")


def _body_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    body = function.body[1:] if ast.get_docstring(function) is not None else function.body
    return (function.end_lineno or 0) - body[0].lineno + 1 if body else 0


def _imports(tree: ast.Module) -> Iterator[str]:
    """Yield the module of every import, those inside functions and type-checking blocks too."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
            yield node.module
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


PURE = [path for path in MODULES if _is_pure(path)]
each_module = pytest.mark.parametrize("path", MODULES, ids=_name)


@each_module
def test_a_module_has_one_idea_and_fits_in_300_lines(path: Path) -> None:
    """A module over the limit holds two ideas: split it."""
    assert len(path.read_text().splitlines()) <= MAX_MODULE_LINES


@each_module
def test_a_function_fits_on_a_screen(path: Path) -> None:
    """50 lines of body; the docstring and a signature with one parameter a line do not count."""
    too_long = [
        f"{node.name} (line {node.lineno}): {length} lines"
        for node in ast.walk(_tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef) and (length := _body_lines(node)) > MAX_BODY_LINES
    ]

    assert too_long == []


@each_module
def test_no_module_is_a_junk_drawer(path: Path) -> None:
    """A module is named after its one idea."""
    assert path.stem not in JUNK_DRAWERS
    assert path.parent.name not in JUNK_DRAWERS


@each_module
def test_a_module_says_what_it_is_in_its_first_line(path: Path) -> None:
    """One sentence, on one line, that ends with a full stop."""
    docstring = ast.get_docstring(_tree(path))

    assert docstring, "no docstring"
    assert docstring.splitlines()[0].rstrip().endswith(".")


@pytest.mark.parametrize("path", PURE, ids=_name)
def test_a_pure_module_imports_no_clock_no_chance_and_no_io(path: Path) -> None:
    """`Pure.` at the end of the first paragraph is a promise."""
    assert IMPURE & {module.partition(".")[0] for module in _imports(_tree(path))} == set()
    assert "np.random" not in path.read_text()


@pytest.mark.parametrize("path", PURE, ids=_name)
def test_what_a_pure_module_imports_of_ours_is_pure_too(path: Path) -> None:
    """The promise covers everything that is reached from it."""
    ours = {_name(module) for module in MODULES}
    pure = {_name(module) for module in PURE}

    assert {module for module in _imports(_tree(path)) if module in ours} - pure == set()
