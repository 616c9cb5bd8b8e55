"""Docstrings state what is promised, and every public module, class and function has one."""

from __future__ import annotations

import ast
import asyncio
import re
from collections.abc import Iterator
from functools import cache
from importlib import import_module
from pathlib import Path
from typing import Any

import sanic_chat

PACKAGE = Path(sanic_chat.__file__).parent
MODULES = sorted(PACKAGE.rglob("*.py"))

QUESTION = re.compile(r"(What|Who|How|When|Where|Which)(ever)?\b|Whose\b|Whom\b")
"""The first words of a docstring that describes, and does not state."""

Definition = ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef


def public_definitions(body: list[ast.stmt], inside: str = "") -> Iterator[tuple[str, Definition]]:
    """All public classes, functions and methods below a module or class, by their dotted names."""
    for node in body:
        if isinstance(node, Definition) and not node.name.startswith("_"):
            name = f"{inside}{node.name}"
            yield name, node
            if isinstance(node, ast.ClassDef):
                yield from public_definitions(node.body, f"{name}.")


@cache
def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text())


def strings_of(node: ast.AST) -> Iterator[ast.Constant]:
    """All strings that stand as statements: docstrings, and those below an attribute."""
    for child in ast.walk(node):
        if (
            isinstance(child, ast.Expr)
            and isinstance(child.value, ast.Constant)
            and isinstance(child.value.value, str)
        ):
            yield child.value


def is_protocol(node: ast.ClassDef) -> bool:
    return any(ast.unparse(base) == "Protocol" for base in node.bases)


@cache
def promised() -> set[str]:
    """The methods of our own `Protocol` classes, whose docstrings hold for who has them."""
    return {
        method.name
        for path in MODULES
        for node in ast.walk(tree_of(path))
        if isinstance(node, ast.ClassDef) and is_protocol(node)
        for method in node.body
        if isinstance(method, ast.FunctionDef) and ast.get_docstring(method)
    }


def is_promised_elsewhere(module: Any, name: str) -> bool:
    """Whether a method is one of a `Protocol`, or overrides that of a base class."""
    *outer, method = name.split(".")
    if not outer:
        return False
    owner: Any = module
    for part in outer:
        owner = getattr(owner, part)
    return (
        method in promised()
        or hasattr(asyncio.Protocol, method)
        or any(method in vars(base) for base in owner.__mro__[1:])
    )


def test_docstrings_state() -> None:
    """No docstring begins with a question word: its first sentence is a statement."""
    questions = [
        f"{path.name}:{string.lineno}: {str(string.value).splitlines()[0]}"
        for path in MODULES
        for string in strings_of(tree_of(path))
        if QUESTION.match(str(string.value))
    ]
    assert not questions


def undescribed(path: Path) -> list[str]:
    """The public names of a module that nothing describes; its own is empty."""
    tree = tree_of(path)
    missing = [name for name, node in public_definitions(tree.body) if not ast.get_docstring(node)]
    if missing:
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        module = import_module(".".join(part for part in parts if part != "__init__"))
        missing = [name for name in missing if not is_promised_elsewhere(module, name)]
    return missing if ast.get_docstring(tree) else ["", *missing]


def test_everything_public_has_a_docstring() -> None:
    """What others may call is described where it is defined, or in what it overrides."""
    missing = {path.name: names for path in MODULES if (names := undescribed(path))}
    assert not missing


def test_the_check_finds_what_it_looks_for() -> None:
    """A question, below a class and below an attribute, is found; so is a missing docstring."""
    tree = ast.parse(
        'class A:\n    """What it is."""\n    x = 1\n    """How many."""\n    def f(): 0'
    )
    assert all(QUESTION.match(str(string.value)) for string in strings_of(tree))
    assert len(list(strings_of(tree))) == 2
    assert [n for n, node in public_definitions(tree.body) if not ast.get_docstring(node)] == [
        "A.f"
    ]
