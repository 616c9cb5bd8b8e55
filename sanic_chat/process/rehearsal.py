"""The rehearsal: would a worker begin, with that environment, and the program as it is now?

    Rehearsal ─→ a process of its own, which loads the program ─→ a sentence, or no objection

What fails there harms nobody, and says in a sentence what a worker would say in a traceback.

May live here: what is tried, and what is said of it. Must not know what a program holds. Of Sanic
it knows that a loader `load`s an application; of Python's inside
`multiprocessing.spawn.get_preparation_data` and `prepare`, with which workers begin too.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import threading
import traceback
from collections.abc import Mapping
from multiprocessing import spawn
from typing import Any, NoReturn

NAME = "Sanic-Rehearsal"
"""The name of the worker that is tried."""
REFUSED = 3
"""The exit code with which the last line of the output says why."""

_PROGRAM = (
    "import sys; sys.path[:] = {path!r}; from sanic_chat.process.rehearsal import main; main()"
)


class Rehearsal:
    """Tries in a process what a worker does first. Raises OSError if that cannot be made.

    `loader` is Sanic's `AppLoader`; in `timeout` seconds it must have loaded the program.
    """

    def __init__(self, environment: Mapping[str, str], *, loader: Any, timeout: float) -> None:
        self.problem: str | None = None
        """A sentence, once it `is_over`; None: a worker would start."""
        preparation = spawn.get_preparation_data("rehearsal")
        del preparation["authkey"]  # is not to leave the process
        self._input = pickle.dumps(preparation) + pickle.dumps(loader)
        self._timeout = timeout
        self._process = subprocess.Popen(
            [sys.executable, "-c", _PROGRAM.format(path=sys.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            # As what is tried: a worker. What only a main process does is done already.
            env={**environment, "SANIC_WORKER_NAME": NAME},
        )
        self._thread = threading.Thread(target=self._wait, name="rehearsal", daemon=True)
        self._thread.start()

    @property
    def is_over(self) -> bool:
        """Whether the outcome is known."""
        return not self._thread.is_alive()

    def close(self) -> None:
        """End it, if it is not over."""
        self._process.kill()
        self._thread.join()

    def _wait(self) -> None:
        try:
            output, _ = self._process.communicate(self._input, self._timeout)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.communicate()
            self.problem = f"the program is not loaded within {self._timeout:g} s"
            return
        if code := self._process.returncode:
            _, _, line = output.decode(errors="replace").strip().rpartition("\n")
            why = line if code == REFUSED else f"it ended with exit code {code}, and said {line!r}"
            self.problem = f"the program cannot be loaded: {why}"


def main() -> NoReturn:
    """Be the process, with its input on standard input."""
    try:
        spawn.prepare(pickle.load(sys.stdin.buffer))
        pickle.load(sys.stdin.buffer).load()
        code = 0
    except BaseException as error:
        print(f"\n{' '.join(_reason(error).split())}")  # noqa: T201
        code = REFUSED
    sys.stdout.flush()
    os._exit(code)  # whatever the program has begun is not waited for


def _reason(error: BaseException) -> str:
    """An error in a line, and where it happened."""
    if isinstance(error, SystemExit):
        return str(error.code).removeprefix("sanic_chat does not start: ")
    text = f"{type(error).__name__}: {error}"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen ") and frame.filename != __file__
    ]
    if isinstance(error, SyntaxError) or not frames:  # it says where itself
        return text
    return f"{text} ({frames[-1].filename}, line {frames[-1].lineno})"
