"""The command line as its users have it: its output and its exit code, and a process of its own."""

from __future__ import annotations

import io
import os
import subprocess
import sys
from contextlib import redirect_stderr, redirect_stdout
from unittest.mock import patch

from sanic_chat.cli.main import sanic_chat

from .harness import DEADLINE, ROOT, without_settings

COMMAND = (sys.executable, "-m", "sanic_chat")


def start(
    *arguments: str, stdout: int = subprocess.PIPE, **environment: str
) -> subprocess.Popen[str]:
    """Start `sanic-chat`, with no setting but those given here; `stdout` is a descriptor."""
    return subprocess.Popen(
        [*COMMAND, *arguments],
        cwd=ROOT,
        env={
            **without_settings(os.environ),
            "PYTHONIOENCODING": "utf-8",
            "COLUMNS": "100",
            **environment,
        },
        stdin=subprocess.PIPE,
        stdout=stdout,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
    )


def run(*arguments: str, text: str = "", **environment: str) -> tuple[int, str, str]:
    """Run `sanic-chat` to its end: exit code, standard output, standard error."""
    with start(*arguments, **environment) as process:
        output, errors = process.communicate(text, timeout=DEADLINE)
    return process.returncode, output, errors


def run_here(*arguments: str, text: str = "", **environment: str) -> tuple[int, str, str]:
    """Do the same in this process, in a tenth of the time: for the many cases of one command.

    Not for what becomes a server, or runs an event loop.
    """
    output, errors = io.StringIO(), io.StringIO()
    settings = {**without_settings(os.environ), "COLUMNS": "100", **environment}
    with (
        patch.dict(os.environ, settings, clear=True),
        patch.object(os, "execv", side_effect=AssertionError("it becomes a server")),
        patch.object(sys, "stdin", io.StringIO(text)),
        redirect_stdout(output),
        redirect_stderr(errors),
    ):
        try:
            code = sanic_chat(arguments, prog_name="sanic-chat")
        except SystemExit as end:
            code = end.code
    return int(code or 0), output.getvalue(), errors.getvalue()
