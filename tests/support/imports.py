"""What a file of Python imports, at its top or anywhere else in it."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Imported(NamedTuple):
    name: str
    """The full name of a module, or of what is in one: `tests.support.harness.ROOT`."""
    module: str
    """The name before `import`, or the whole of it: `tests.support.harness`."""
    is_for_types: bool
    """Whether it stands under `if TYPE_CHECKING`."""


def imports_of(source: str, package: Sequence[str]) -> Iterator[Imported]:
    """Everything that a source in `package` (`["tests", "hub"]`) imports, by its full name."""
    tree = ast.parse(source)
    for_types = {
        id(inner)
        for node in ast.walk(tree)
        if isinstance(node, ast.If) and ast.unparse(node.test) == "TYPE_CHECKING"
        for inner in ast.walk(node)
    }
    for node in ast.walk(tree):
        is_for_types = id(node) in for_types
        if isinstance(node, ast.Import):
            for alias in node.names:
                yield Imported(alias.name, alias.name, is_for_types)
        elif isinstance(node, ast.ImportFrom):
            base = package[: len(package) - node.level + 1] if node.level else ()
            module = ".".join((*base, *filter(None, [node.module])))
            for alias in node.names:
                yield Imported(f"{module}.{alias.name}", module, is_for_types)
