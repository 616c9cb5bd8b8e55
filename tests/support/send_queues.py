"""Send queues for tests of them alone, filled and emptied by hand."""

from __future__ import annotations

from collections.abc import Callable

from sanic_chat.hub.channel import Channel
from sanic_chat.session.send_queue import SendQueue, SendQueuePool
from sanic_chat.websocket.frames import text_frame

from .frames import server_frames
from .sessions import gap_frames

A, B = (Channel(name.encode(), name, b'"%b"' % name.encode()) for name in "ab")
EVERYONE = Channel(b"global", None, b"null")


def pool(
    *,
    messages: int = 4,
    bytes: int = 10**6,
    total: int = 10**9,
    drop_oldest: bool = True,
    turn: list[Callable[[], None]] | None = None,
) -> SendQueuePool:
    """Send queues that drop the oldest; what they want to be called soon goes into `turn`."""
    return SendQueuePool(
        max_messages=messages,
        max_bytes=bytes,
        max_total_bytes=total,
        drop_oldest=drop_oldest,
        call_soon=[].append if turn is None else turn.append,
    )


def ignore() -> None:
    """A client that sheds nothing."""


def opened(queues: SendQueuePool) -> SendQueue:
    """A queue of a client that asked for events."""
    return queues.open(shed=ignore, gap_frames=gap_frames)


def push(queue: SendQueue, *texts: bytes, room: Channel | None = A, unsent: int = 0) -> int | None:
    """Push messages that came together."""
    return queue.push(b"".join(map(text_frame, texts)), len(texts), room, unsent=unsent)


def taken(queue: SendQueue) -> list[bytes]:
    """All that is in a queue, in order."""
    texts: list[bytes] = []
    while not queue.is_empty:
        texts += [payload for _, payload in server_frames(queue.take())]
    return texts
