"""The commands by name: what there is, and what is loaded for it."""

from __future__ import annotations

import resource
import subprocess
import sys

import pytest

from sanic_chat import __version__
from sanic_chat.cli.main import COMMANDS

from ..support.command import run, run_here
from ..support.harness import ROOT, SLOW

HEAVY = {"sanic", "redis", "hiredis", "msgspec", "asyncio", "websockets", "rich", "jwt", "uvloop"}
HEAVY |= {"cryptography"}


def test_help_lists_all_commands() -> None:
    code, output, errors = run("--help")
    assert (code, errors) == (0, "")
    for name, home in COMMANDS.items():
        assert name in output
        assert home.help in output


def test_a_misspelt_command() -> None:
    """It ends with 2, and names the nearest one, if there is one near."""
    for word, hint in (("serv", " Did you mean 'serve'?"), ("zzz", "")):
        code, _, errors = run_here(word)
        assert code == 2
        assert errors.endswith(f"Error: No such command {word!r}.{hint}\n")


def test_help_of_each_command() -> None:
    """Every command that is listed can be loaded, and tells what it does."""
    for name in COMMANDS:
        code, output, errors = run_here(name, "--help")
        assert (code, errors) == (0, "")
        assert output.startswith(f"Usage: sanic-chat {name}")


@pytest.mark.parametrize("command", ["", *COMMANDS, "token make"])
def test_help_loads_nothing_heavy(command: str) -> None:
    """But for the commands that show all settings: the messages' bounds are among these."""
    words = [*command.split(), "--help"]
    program = (
        "import sys; from sanic_chat.cli.main import sanic_chat\n"
        f"try: sanic_chat({words!r})\n"
        "except SystemExit: print(*sys.modules)"
    )
    told = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, check=True, capture_output=True, text=True
    )
    loaded = {name.partition(".")[0] for name in told.stdout.split("\n")[-2].split()}
    assert "click" in loaded
    shows_settings = command in ("serve", "config") or command.startswith("token")
    assert loaded & HEAVY <= ({"msgspec"} if shows_settings else set())


def test_help_comes_at_once() -> None:
    """In 150 ms, of a processor's time: how long that takes is the machine's business."""

    def used() -> float:
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        return usage.ru_utime + usage.ru_stime

    times = []
    for _ in range(3):
        before = used()
        assert run("--help")[0] == 0
        times.append(used() - before)
    assert min(times) < 0.15 * SLOW


def test_version() -> None:
    assert run("--version") == (0, f"{__version__}\n", "")


def test_an_unknown_command() -> None:
    code, output, errors = run("publish")
    assert (code, output) == (2, "")
    assert "No such command 'publish'" in errors
