"""Which codes sanic_chat gives to programs, read from its source.

`Source.find("BadMessage", 0)` follows a code from the call that makes a BadMessage to where it is
written: through parameters of functions that pass it on, to texts, constants and members of enums.
A code that is made in any other way raises Unreadable, so that none is left out in silence.
"""

from __future__ import annotations

import ast
from collections.abc import Iterator
from itertools import product
from pathlib import Path
from typing import NamedTuple

Value = str | int


class Unreadable(Exception):
    """A code is made in a way that cannot be followed; the text says where."""


class Parameter(NamedTuple):
    """What a function is given there; `default` if it is not."""

    position: int
    name: str
    default: ast.expr | None


Wanted = tuple[Parameter | Value, ...]
Function = ast.FunctionDef | ast.AsyncFunctionDef


class Source:
    """All modules of a package. `passed_on` are attributes that hold a code found elsewhere."""

    def __init__(self, package: Path, *, passed_on: str = "code") -> None:
        self._passed_on = passed_on
        self._names: dict[ast.AST, str] = {}
        self._parents: dict[ast.AST, ast.AST] = {}
        self._constants: dict[str, set[Value]] = {}
        for path in sorted(package.rglob("*.py")):
            tree = ast.parse(path.read_text())
            for parent in ast.walk(tree):
                self._names[parent] = str(path.relative_to(package.parent))
                for child in ast.iter_child_nodes(parent):
                    self._parents[child] = parent
                if isinstance(parent, ast.Module | ast.ClassDef):
                    self._note_constants(parent)

    def _note_constants(self, scope: ast.Module | ast.ClassDef) -> None:
        prefix = f"{scope.name}." if isinstance(scope, ast.ClassDef) else ""
        for statement in scope.body:
            if isinstance(statement, ast.Assign) and isinstance(statement.value, ast.Constant):
                for target in statement.targets:
                    if isinstance(target, ast.Name):
                        name, value = prefix + target.id, statement.value.value
                        self._constants.setdefault(name, set()).add(value)

    def find(self, callee: str, *positions: int, outside: str = "") -> set[tuple[Value, ...]]:
        """The arguments at these positions, in every call of `callee` that is not in `outside`.

        A call that names its arguments is not understood: give codes by position.
        """
        wanted = tuple(Parameter(position, "", None) for position in positions)
        return self._find(callee, wanted, outside, frozenset())

    def _find(
        self, callee: str, wanted: Wanted, outside: str, followed: frozenset[tuple[str, Wanted]]
    ) -> set[tuple[Value, ...]]:
        if (callee, wanted) in followed:
            return set()
        followed |= {(callee, wanted)}
        found: set[tuple[Value, ...]] = set()
        for call, arguments in self._calls(callee):
            if outside and outside in {scope.name for scope in self._scopes(call)}:
                continue
            meant = [
                self._argument(call, arguments, slot) if isinstance(slot, Parameter) else [slot]
                for slot in wanted
            ]
            for choice in product(*meant):
                if any(isinstance(slot, Parameter) for slot in choice):
                    found |= self._find(self._function(call)[1], choice, outside, followed)
                else:
                    found.add(tuple(slot for slot in choice if not isinstance(slot, Parameter)))
        return found

    def _calls(self, callee: str) -> Iterator[tuple[ast.Call, list[ast.expr]]]:
        """Calls of that name, and calls that are given it with its arguments behind it."""
        for node in list(self._parents):
            if not isinstance(node, ast.Call):
                continue
            if self._called(node) == callee:
                yield node, node.args
            for index, argument in enumerate(node.args):
                is_method = isinstance(argument, ast.Attribute) and argument.attr == callee
                if is_method and len(node.args) > index + 1:
                    yield node, node.args[index + 1 :]

    def _called(self, call: ast.Call) -> str | None:
        """The name that is called; that of the class above for its `__init__`."""
        match call.func:
            case ast.Name(id=name):
                return name
            case ast.Attribute(value=ast.Call(func=ast.Name(id="super")), attr="__init__"):
                scope = next(one for one in self._scopes(call) if isinstance(one, ast.ClassDef))
                return scope.bases[0].id if isinstance(scope.bases[0], ast.Name) else None
            case ast.Attribute(value=ast.Call(func=ast.Name(id="super"))):
                return None
            case ast.Attribute(attr=name):
                return name
        return None

    def _argument(
        self, call: ast.Call, arguments: list[ast.expr], slot: Parameter
    ) -> list[Value | Parameter]:
        named = [keyword.value for keyword in call.keywords if keyword.arg == slot.name != ""]
        if slot.position < len(arguments):
            return self.values(arguments[slot.position])
        if named:
            return self.values(named[0])
        if slot.default is None:
            raise Unreadable(f"{self._where(call)}: no argument {slot.position} of {slot.name!r}")
        return self.values(slot.default)

    def values(self, expression: ast.expr) -> list[Value | Parameter]:
        """What an expression may be; nothing if it is a code that is passed on."""
        match expression:
            case ast.Constant(value=str() | int() as value):
                return [value]
            case ast.IfExp(body=one, orelse=other):
                return self.values(one) + self.values(other)
            case ast.Attribute(attr=self._passed_on):
                return []
            case ast.Attribute(value=ast.Name(id=scope), attr=name):
                if constant := self._constants.get(f"{scope}.{name}") or self._constants.get(name):
                    return sorted(constant, key=str)
            case ast.Name(id=name):
                if parameter := self._parameter(expression, name):
                    return [parameter]
                if constant := self._constants.get(name):
                    return sorted(constant, key=str)
        raise Unreadable(f"{self._where(expression)}: {ast.unparse(expression)}")

    def follow(self, expression: ast.expr) -> set[Value]:
        """What an expression may be, followed to where it is written."""
        found: set[Value] = set()
        for value in self.values(expression):
            if isinstance(value, Parameter):
                callee = self._function(expression)[1]
                found |= {one for (one,) in self._find(callee, (value,), "", frozenset())}
            else:
                found.add(value)
        return found

    def keys_of(self, name: str) -> set[Value]:
        """The keys that something of that name (an underscore before it left out) may have.

        These are the keys that are counted in it, and those of literals that are bound to it.
        """
        found: set[Value] = set()
        for node in list(self._parents):
            match node:
                case ast.AugAssign(target=ast.Subscript(value=counter, slice=key)):
                    if _is_named(counter, name):
                        found |= self.follow(key)
                case ast.Assign(targets=[ast.Name() as target], value=ast.Dict(keys=keys)):
                    if _is_named(target, name):
                        found |= {
                            one for key in keys if key is not None for one in self.follow(key)
                        }
        return found

    def literals(self, key: str) -> list[dict[str, ast.expr]]:
        """The dictionaries that are written with such a key: their keys, and expressions.

        What `**it.property` adds to one is included, if the property returns a dictionary.
        """
        return [
            self._literal(node)
            for node in list(self._parents)
            if isinstance(node, ast.Dict)
            and any(isinstance(one, ast.Constant) and one.value == key for one in node.keys)
        ]

    def _literal(self, node: ast.Dict) -> dict[str, ast.expr]:
        found: dict[str, ast.expr] = {}
        for key, value in zip(node.keys, node.values, strict=True):
            match key, value:
                case ast.Constant(value=str() as name), _:
                    found[name] = value
                case None, ast.Attribute(attr=name):
                    [added] = self._returned_by(name)
                    found |= self._literal(added)
                case _:
                    raise Unreadable(f"{self._where(value)}: a key that is not written there")
        return found

    def _returned_by(self, function: str) -> list[ast.Dict]:
        """The dictionaries that functions of that name return, as they are written."""
        return [
            node
            for node in self._parents
            if isinstance(node, ast.Dict)
            and isinstance(self._parents[node], ast.Return)
            and self._function(node)[0].name == function
        ]

    def _scopes(self, node: ast.AST) -> Iterator[ast.ClassDef | Function]:
        """The classes and functions around a node, from the inside to the outside."""
        while (parent := self._parents.get(node)) is not None:
            if isinstance(parent, ast.ClassDef | Function):
                yield parent
            node = parent

    def _function(self, node: ast.AST) -> tuple[Function, str, bool]:
        """The function around a node, what calls of it are called, and whether it is a method."""
        function = next(one for one in self._scopes(node) if isinstance(one, Function))
        parent = self._parents[function]
        is_method = isinstance(parent, ast.ClassDef)
        name = parent.name if function.name == "__init__" and is_method else function.name
        return function, name, is_method

    def _parameter(self, node: ast.AST, name: str) -> Parameter | None:
        if not any(isinstance(scope, Function) for scope in self._scopes(node)):
            return None
        function, _, is_method = self._function(node)
        arguments = function.args.posonlyargs + function.args.args
        defaults = [None] * (len(arguments) - len(function.args.defaults)) + function.args.defaults
        for index, (argument, default) in enumerate(zip(arguments, defaults, strict=True)):
            if argument.arg == name:
                return Parameter(index - is_method, name, default)
        return None

    def _where(self, node: ast.expr) -> str:
        return f"{self._names[node]}:{node.lineno}"


def _is_named(node: ast.expr, name: str) -> bool:
    match node:
        case ast.Name(id=id) | ast.Attribute(attr=id):
            return id.removeprefix("_") == name
    return False
