"""The rehearsal: what a worker would say of a program, in a sentence."""

from __future__ import annotations

import os
import re
from pathlib import Path

import pytest
from sanic.worker.loader import AppLoader

from sanic_chat.process.rehearsal import Rehearsal

from ..support.harness import DEADLINE, wait_until


def problem(program: str, directory: Path, *, timeout: float = DEADLINE) -> str | None:
    """What a rehearsal says of a program."""
    (directory / "rehearsed.py").write_text(program)
    environment = {**os.environ, "PYTHONPATH": str(directory), "SETTING": "new"}
    loader = AppLoader("rehearsed:app")
    loader.cwd = str(directory)
    rehearsal = Rehearsal(environment, loader=loader, timeout=timeout)
    wait_until(lambda: rehearsal.is_over, "it is over")
    rehearsal.close()
    return rehearsal.problem


@pytest.mark.parametrize(
    ("program", "why"),
    [
        (
            "import os, sys; app = os.environ['SETTING']; print('hello')\n"
            "assert app == 'new' and 'SANIC_WORKER_NAME' in os.environ",
            None,
        ),
        (
            "\nimport nothing.there",
            r"the program cannot be loaded: ModuleNotFoundError: No module named 'nothing' "
            r"\(\S+/rehearsed\.py, line 2\)",
        ),
        (
            "if True\n    pass",
            r"the program cannot be loaded: SyntaxError: .*\(rehearsed\.py, line 1\)",
        ),
        (
            "import sys; sys.exit('sanic_chat does not start: x')",
            r"the program cannot be loaded: x",
        ),
        ("raise ValueError('a\\n  b')", r"the program cannot be loaded: ValueError: a b \(.*\)"),
        (
            "import os; print('oh', flush=True); os._exit(7)",
            r"the program cannot be loaded: it ended with exit code 7, and said 'oh'",
        ),
    ],
    ids=["well", "import", "syntax", "exit", "lines", "crash"],
)
def test_a_program(tmp_path: Path, program: str, why: str | None) -> None:
    """One that can be loaded is no problem, and any other is one sentence, in one line."""
    said = problem(program, tmp_path)
    assert said is None if why is None else re.fullmatch(why, str(said)), said


def test_a_program_that_takes_for_ever(tmp_path: Path) -> None:
    """It is ended, with all that its process is."""
    said = problem("import time; time.sleep(1000)", tmp_path, timeout=1)
    assert said == "the program is not loaded within 1 s"


def test_it_can_be_ended(tmp_path: Path) -> None:
    """At any time; it is over then."""
    (tmp_path / "rehearsed.py").write_text("import time; time.sleep(1000)")
    environment = {**os.environ, "PYTHONPATH": str(tmp_path)}
    rehearsal = Rehearsal(environment, loader=AppLoader("rehearsed:app"), timeout=DEADLINE)
    assert not rehearsal.is_over
    rehearsal.close()
    assert rehearsal.is_over
