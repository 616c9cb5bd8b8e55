"""`.ci/tests` fails for tests that fail twice, and names those that fail once."""

from __future__ import annotations

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from .support.harness import ROOT

FINE = "def test_fine(): pass\n"
ONCE = """
from pathlib import Path
def test_once():
    tried = Path(__file__).with_name("tried")
    if not tried.exists():
        tried.touch()
        raise AssertionError("on a busy machine")
"""
ALWAYS = "def test_always(): raise AssertionError"
ONE, OTHER = "test_x.py::test_once", "test_x.py::test_always"
CRASH = "import os\ndef test_crash(): os.abort()"
INTERRUPTED = "def test_interrupted(): raise KeyboardInterrupt"


@pytest.mark.parametrize(
    ("tests", "arguments", "code", "flaky", "twice", "runs"),
    [
        pytest.param(FINE + ONCE, ["-n", "2"], 0, [ONE], [], 2, id="once"),
        pytest.param(ONCE + ALWAYS, ["-n", "2"], 1, [ONE], [OTHER], 2, id="always"),
        pytest.param(INTERRUPTED, [], 2, [], [], 1, id="interrupted"),
        pytest.param(CRASH, [], 134, [], [], 1, id="crash"),
    ],
)
def test_what_failed_runs_once_more(
    tmp_path: Path,
    tests: str,
    arguments: list[str],
    code: int,
    flaky: list[str],
    twice: list[str],
    runs: int,
) -> None:
    (tmp_path / "test_x.py").write_text(tests)
    (tmp_path / "pytest.ini").write_text("[pytest]\naddopts = -ra -p xdist")
    run = subprocess.run(
        [ROOT / ".ci/tests", sys.executable, "-m", "pytest", *arguments],
        cwd=tmp_path,
        env={"PATH": os.environ["PATH"], "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1"},
        capture_output=True,
        text=True,
        timeout=100,
    )
    assert run.returncode % 256 == code, run.stdout + run.stderr
    assert re.findall("^FAILED TWICE (.*)", run.stdout, re.MULTILINE) == twice
    assert re.findall("^FLAKY (.*)", run.stdout, re.MULTILINE) == flaky
    assert run.stdout.count("test session starts") == runs
