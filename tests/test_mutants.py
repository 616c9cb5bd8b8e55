"""The list of mutants is not stale: each can be put in, and its tests exist."""

from __future__ import annotations

import re

import pytest

from .mutants import Mutant
from .mutants.every import MUTANTS
from .support.harness import ROOT


@pytest.mark.parametrize("mutant", MUTANTS, ids=lambda mutant: mutant.promise)
def test_it_can_be_put_in(mutant: Mutant) -> None:
    """Its text stands once in its file; with the replacement that is Python, and another one."""
    assert mutant.mutated((ROOT / mutant.file).read_text())


def test_their_tests_exist() -> None:
    for test in {test for mutant in MUTANTS for test in mutant.tests}:
        file, *names = test.split("::")
        source = (ROOT / file).read_text()
        for name in names:
            assert re.search(rf"\b(class|def) {name.partition('[')[0]}\b", source), test
