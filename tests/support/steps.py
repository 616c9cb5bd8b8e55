"""Steps: how many instructions of Python an action takes in the package, whatever the machine does.

A loop in Python over what is there already shows in them, and so does a step that grows with it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType
from typing import Any

import sanic_chat

PACKAGE = str(Path(sanic_chat.__file__).parent)


class Steps:
    """The number of steps."""

    count = 0


@contextmanager
def uncounted() -> Iterator[None]:
    """What is done meanwhile does not count: it looks whether others are done, again and again."""
    before = sys.gettrace()
    sys.settrace(None)
    try:
        yield
    finally:
        sys.settrace(before)


@contextmanager
def steps() -> Iterator[Steps]:
    """Count the steps of this thread in the package meanwhile."""
    result = Steps()

    def step(frame: FrameType, event: str, arg: Any) -> Any:
        if event == "call":
            if not frame.f_code.co_filename.startswith(PACKAGE):
                return None
            frame.f_trace_opcodes = True
            frame.f_trace_lines = False
        elif event == "opcode":
            result.count += 1
        return step

    before = sys.gettrace()
    sys.settrace(step)
    try:
        yield result
    finally:
        sys.settrace(before)
