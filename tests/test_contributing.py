"""CONTRIBUTING.md says what is so: its examples are the code's, its commands do something."""

from __future__ import annotations

import configparser
import re
from textwrap import indent

import pytest

from .support.harness import ROOT

PAGE = (ROOT / "CONTRIBUTING.md").read_text()
README = (ROOT / "README.md").read_text()
EXAMPLES = re.findall(r"`(\S+\.py)`:\n\n```python\n(.*?)```", PAGE, re.DOTALL)


def test_every_example_names_its_file() -> None:
    assert len(EXAMPLES) == PAGE.count("```python") > 0


@pytest.mark.parametrize(("file", "example"), EXAMPLES, ids=[file for file, _ in EXAMPLES])
def test_an_example(file: str, example: str) -> None:
    """It stands in the file as it is quoted, however deep."""
    source = (ROOT / file).read_text()
    assert any(indent(example, "    " * depth) in source for depth in range(5))


def test_the_command_for_tests() -> None:
    """It is the last part of README's, which also sets up."""
    [command] = re.findall(r"<!-- test-command.*?```sh\n.*&& (.*?)\n```", README, re.DOTALL)
    assert f"| test | `{command}`" in PAGE


def test_environments_of_tox() -> None:
    tox = configparser.ConfigParser()
    tox.read(ROOT / "tox.ini")
    named = re.findall(r"tox (?:exec )?-e ([\w,-]+)", PAGE)
    assert {f"testenv:{name}" for names in named for name in names.split(",")} <= {*tox}
    assert named


def test_variables() -> None:
    """Those that make a run longer are read by the tests, and let through by tox."""
    named = set(re.findall(r"\b([A-Z]+_SECONDS)=", PAGE))
    read = "".join(path.read_text() for path in (ROOT / "tests").rglob("*.py"))
    assert all(f'os.environ.get("{name}"' in read for name in named)
    assert all(name in (ROOT / "tox.ini").read_text() for name in named)
    assert len(named) == 2
