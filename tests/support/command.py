"""The command line as its users have it: a process, its output and its exit code."""

from __future__ import annotations

import os
import subprocess
import sys

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
