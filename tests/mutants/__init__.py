"""Mutants made by hand: for each promise a small change that breaks it, and the test that notices.

    python -m tests.mutants             all of them
    python -m tests.mutants descriptor  those that have one of these words in their promise or files

Each is put into a copy of the checkout, and its tests are run there. A mutant survives if they
pass: then the promise is not tested. Exits with 1 if one survives, or cannot be put in.

Lists are in the modules of this package; a new one is one more `Mutant` in one of them.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Mutant:
    """In `file`, `text` becomes `replacement`; of `tests` (pytest's node IDs) one must fail."""

    promise: str
    """What is no longer true of it."""
    file: str
    text: str
    """Occurs once in the file."""
    replacement: str
    tests: tuple[str, ...]

    def mutated(self, source: str) -> str:
        """The file's source with the mutant in it. Raises ValueError, or SyntaxError."""
        found = source.count(self.text)
        if found != 1:
            raise ValueError(f"{self.file} has this {found} times, and not once:\n{self.text}")
        result = source.replace(self.text, self.replacement)
        compile(result, self.file, "exec")
        return result
