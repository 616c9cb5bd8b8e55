"""The server with one more route, `/inspect`: what a worker holds, as nobody outside can see it.

Run as `sanic tests.soak.server:app`. Everything else is the real application.
"""

from __future__ import annotations

import asyncio
import ctypes
import functools
import gc
import os
import re
import sys
import tempfile
from collections import Counter
from pathlib import Path
from typing import Any

from sanic import HTTPResponse, Request, json

from sanic_chat import create_app
from sanic_chat.cluster import recent_removals
from sanic_chat.cluster.removals import Removals
from sanic_chat.pod.pod import Pod

COUNTED_MODULES = ("sanic_chat", "sanic", "asyncio", "_asyncio", "uvloop", "redis")


async def inspect(request: Request) -> HTTPResponse:
    """What must not pile up, counted; first everything is let go that nobody needs."""
    pod: Pod = request.app.ctx.worker.pod
    request.app.router.get.cache_clear()  # Sanic keeps the last 1024 paths it was asked for
    _clear_caches()
    gc.collect()
    untrimmed = resident_memory()
    _trim()
    return json(
        {
            "pid": os.getpid(),
            "memory": used_memory(),
            "resident_memory": resident_memory(),
            "untrimmed_memory": untrimmed,
            "blocks": sys.getallocatedblocks(),
            "objects": _objects(),
            "tasks": Counter(task.get_coro().__qualname__ for task in asyncio.all_tasks()),
            "files": len(os.listdir("/proc/self/fd")),
            "http_connections": len(request.app.ctx.worker.http_connections),
            "connected": pod.connected,
            "members": len(pod.hub.everyone.members),
            "rooms": sorted(
                channel.decode() for channel in set(pod.hub.channels) - _audiences(pod)
            ),
            "control": [channel.decode() for channel in pod.control.channels],
            "wanted": sorted(channel.decode() for channel in pod.broker.subscriber.wanted),
            "confirmed": sorted(channel.decode() for channel in pod.broker.subscriber.confirmed),
            "held": len(pod.backpressure.held),
            "held_bytes": pod.hub.held_bytes,
            "waiting_to_publish": pod.broker.publisher.queued,
            "waiting_answers": len(pod.answers.waiting),
            "waiting_receipts": len(pod.receipts.waiting),
            "questions": len(pod.cluster.asking._pending),
            "removals": _removals(pod.cluster.removals),
            "presence": _presence(pod),
        }
    )


def _audiences(pod: Pod) -> set[bytes]:
    """The channels of who is told who is in a room, which Redis does not know."""
    names = pod.names
    prefixes = names.presence_channel(""), names.newcomers_channel("")
    return {channel for channel in pod.hub.channels if channel.startswith(prefixes)}


def _removals(removals: Removals) -> int:
    """The number of removals that are remembered, for whatever reason."""
    recent = removals._recent
    return sum(map(len, (removals._kicks, recent._known, recent._untold)))


def _presence(pod: Pod) -> dict[str, int]:
    """The sizes of what presence keeps, and of what it has still to say or to ask."""
    presence, listener = pod.presence, pod.presence.listener
    return {
        **presence.stats()._asdict(),
        "parts": len(presence.speaker.parts),
        "audiences": len(_audiences(pod)),
        "asked": len(presence._asked_at),
        "told_to_reconnect": len(presence._reconnect_at),
        "doubts": sum(len(peer.doubts) for _, peer in listener.peers.living()),
        "unsaid": int(presence.speaker.has_news),
    }


class _Mallinfo(ctypes.Structure):
    """See mallinfo2(3)."""

    _names = "arena ordblks smblks hblks hblkhd usmblks fsmblks uordblks fordblks keepcost"
    _fields_ = [(name, ctypes.c_size_t) for name in _names.split()]


def used_memory() -> int:
    """Bytes that were allocated and not freed: by Python for small objects, else by the C library.

    What both keep for later is not among them. Python gives a megabyte back only if no object is
    left in all of it, so what a process has says little about what it needs.
    """
    mallinfo = ctypes.CDLL(None).mallinfo2
    mallinfo.restype = _Mallinfo
    match = re.search(r"bytes in allocated blocks\s+=\s+([\d,]+)", _malloc_stats())
    assert match
    heap = mallinfo()
    return int(match[1].replace(",", "")) + int(heap.uordblks) + int(heap.hblkhd)


def _malloc_stats() -> str:
    """What Python knows of its small objects, which it only prints."""
    with tempfile.TemporaryFile() as file:
        stderr = os.dup(2)
        os.dup2(file.fileno(), 2)
        try:
            sys._debugmallocstats()
        finally:
            os.dup2(stderr, 2)
            os.close(stderr)
        file.seek(0)
        return file.read().decode()


def resident_memory() -> int:
    """Bytes of this process that are no file's: heap, stacks, buffers."""
    match = re.search(r"Anonymous:\s+(\d+) kB", Path("/proc/self/smaps_rollup").read_text())
    assert match
    return int(match[1]) * 1024


def _clear_caches() -> None:
    """Forget what this package remembers of the last 1024 rooms, say: it takes minutes to fill."""
    for name, module in list(sys.modules.items()):
        if name.startswith("sanic_chat."):
            for thing in vars(module).values():
                if isinstance(thing, functools._lru_cache_wrapper):
                    thing.cache_clear()


def _trim() -> None:
    """Have the allocator give back what it keeps for later, which says nothing about leaks."""
    trim = getattr(ctypes.CDLL(None), "malloc_trim", None)  # glibc's
    if trim is not None:
        trim(0)


def _objects() -> Counter[str]:
    """The objects that the garbage collector knows, by their type."""
    names = (
        f"{type(thing).__module__}.{type(thing).__qualname__}"
        for thing in gc.get_objects()
        # asyncio keeps cancelled timers until their time comes.
        if not (isinstance(thing, asyncio.TimerHandle) and thing.cancelled())
    )
    return Counter(name for name in names if name.startswith(COUNTED_MODULES))


def __getattr__(name: str) -> Any:
    # As in server.py: made when it is asked for.
    if name != "app":
        raise AttributeError(name)
    global app
    recent_removals.KEPT_SECONDS = 5.0  # ten minutes would be longer than a rest
    app = create_app()
    app.add_route(inspect, "/inspect")
    return app
