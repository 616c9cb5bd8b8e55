"""What unit tests of sessions stand on: an owner that records, and both event loops."""

from __future__ import annotations

import asyncio
import functools
import inspect
from collections import Counter
from collections.abc import Callable, Coroutine
from typing import Any

import pytest
import uvloop

from sanic_chat.owner import SessionLimits
from sanic_chat.send_queue import Missed, SendQueues
from sanic_chat.session import Session
from sanic_chat.websocket import text_frame


def gap_frames(missed: Missed) -> bytes:
    """A text like `gap lobby slow 3` for each room; `*` for global messages."""
    return b"".join(
        text_frame(b"gap %b %b %d" % ((room or "*").encode(), reason.encode(), messages))
        for (room, reason), messages in missed.items()
    )


class RecordingOwner:
    """The owner of sessions, which notes what they tell it."""

    def __init__(
        self,
        *,
        max_message_bytes: int = 65536,
        max_message_fragments: int = 128,
        send_queue_messages: int = 256,
        send_queue_bytes: int = 2**20,
        send_queue_total_bytes: int = 2**26,
        drop_oldest: bool = False,
    ) -> None:
        self.limits = SessionLimits(max_message_bytes, max_message_fragments)
        self.soon: list[Callable[[], None]] = []
        """What is to be called soon; a test calls it with `call_soon`."""
        self.send_queues = SendQueues(
            max_messages=send_queue_messages,
            max_bytes=send_queue_bytes,
            max_total_bytes=send_queue_total_bytes,
            drop_oldest=drop_oldest,
            call_soon=self.soon.append,
        )
        self.received: list[bytes] = []
        self.ends: list[tuple[str, Session]] = []
        self.dropped: Counter[str] = Counter()

    def message_received(self, session: Session, payload: bytes) -> None:
        self.received.append(payload)

    def session_closing(self, session: Session) -> None:
        self.ends.append(("closing", session))

    def session_closed(self, session: Session) -> None:
        self.ends.append(("closed", session))

    def messages_dropped(self, session: Session, messages: int, reason: str) -> None:
        self.dropped[reason] += messages

    def gap_frames(self, session: Session, missed: Missed) -> bytes:
        return gap_frames(missed)


def on_both_loops(test: Callable[..., Coroutine[Any, Any, None]]) -> Callable[..., None]:
    """Run an async test on asyncio's loop and on uvloop; an error in a callback fails it."""

    @functools.wraps(test)
    def run(
        *instance: Any, new_loop: Callable[[], asyncio.AbstractEventLoop], **arguments: Any
    ) -> None:
        problems: list[dict[str, Any]] = []
        with asyncio.Runner(loop_factory=new_loop) as runner:
            runner.get_loop().set_exception_handler(lambda _, problem: problems.append(problem))
            runner.run(test(*instance, **arguments))
        assert problems == []

    signature = inspect.signature(test)
    new_loop = inspect.Parameter("new_loop", inspect.Parameter.KEYWORD_ONLY)
    run.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[*signature.parameters.values(), new_loop]
    )
    loops = (asyncio.new_event_loop, uvloop.new_event_loop)
    return pytest.mark.parametrize("new_loop", loops, ids=("asyncio", "uvloop"))(run)
