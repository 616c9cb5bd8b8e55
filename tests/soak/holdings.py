"""What the workers hold, looked at from inside with `/inspect`, and compared."""

from __future__ import annotations

import asyncio
import os
import signal
import time
from collections import Counter
from contextlib import ExitStack
from functools import partial
from pathlib import Path
from typing import Any

import httpx

from ..support.harness import DEADLINE, NO_TLS, ServerProcess, eventually

MEMORY_GROWTH = 1.02
"""Memory in use at the end, as a multiple of what it was after the warm-up."""
RESIDENT_GROWTH = 1.25
"""The same for what the process has, with what allocators keep for later, whole megabytes."""
BLOCKS_GROWTH = 1.005
"""The same for what Python has allocated, object by object, which hardly varies at all."""
SPARE_OBJECTS = 8
"""How many more objects of a type there may be: what a timer or a reader holds at the moment."""

PRESENCE_RESTS_WITHOUT = ("held_users", "asked", "told_to_reconnect", "doubts", "unsaid")

Holding = dict[str, Any]
"""What one worker holds, as `/inspect` says it."""


async def holdings(server: ServerProcess) -> dict[int, Holding]:
    """What each worker holds, by its PID."""
    answers: dict[int, Holding] = {}
    with ExitStack() as stopped:
        for _ in server.worker_pids:
            async with httpx.AsyncClient(timeout=DEADLINE, verify=NO_TLS) as client:
                answer = await client.get(f"http://127.0.0.1:{server.port}/inspect")
            pid = answer.json()["pid"]
            answers[pid] = answer.json()
            os.kill(pid, signal.SIGSTOP)  # for a moment, so that another one answers next
            stopped.callback(os.kill, pid, signal.SIGCONT)
            await eventually(partial(_is_stopped, pid), f"worker {pid} stands still")
    return dict(sorted(answers.items()))


def _is_stopped(pid: int) -> bool:
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "T"


def unrest(holding: Holding, pods: int) -> dict[str, Any]:
    """What shows that somebody is still on the way in or out, or that something was left behind."""
    channels = set(holding["wanted"]) - set(holding["control"])
    presence = holding["presence"]
    looks = {
        "not confirmed": set(holding["wanted"]) ^ set(holding["confirmed"]),
        "subscribed, and no room": channels - set(holding["rooms"]),
        "a room, and not subscribed": set(holding["rooms"]) - channels,
        "closing": holding["connected"] - holding["members"],
        "HTTP connections of others": holding["http_connections"] - 1,
        "bytes under way": holding["held_bytes"],
        "waiting for Redis": holding["waiting_to_publish"],
        "waiting for an answer": holding["waiting_answers"],
        "waiting for a receipt": holding["waiting_receipts"],
        "questions under way": holding["questions"],
        "removals that are remembered": holding["removals"],
        **{f"presence: {what}": presence[what] for what in PRESENCE_RESTS_WITHOUT},
        "pods that have not been heard": pods - 1 - presence["peers"],
        "rooms that nobody watches": presence["watched_rooms"] - presence["audiences"],
    }
    return {what: seen for what, seen in looks.items() if seen}


async def settled(server: ServerProcess) -> dict[int, Holding]:
    """The same, once nobody is on the way in or out and empty rooms have been given up."""
    deadline = time.monotonic() + DEADLINE
    while True:
        now = await holdings(server)
        left = {pid: unrest(holding, len(now)) for pid, holding in now.items()}
        if not any(left.values()):
            return now
        assert time.monotonic() < deadline, f"the workers do not come to rest: {left}"
        await asyncio.sleep(0.1)


def assert_nothing_left(
    before: dict[int, Holding], after: dict[int, Holding], who: str, *, objects_of: str = ""
) -> None:
    """What can be counted is as many as before; objects are those of types of a module."""
    assert list(before) == list(after), "the same workers"
    for pid, old in before.items():
        new = after[pid]
        for what in ("tasks", "files", "connected", "rooms", "held", "presence"):
            assert new[what] == old[what], f"{what} of worker {pid}, with {who}"
        more = Counter(new["objects"])
        more.subtract(old["objects"])
        left = {
            name: count
            for name, count in more.items()
            if count > SPARE_OBJECTS and name.startswith(objects_of)
        }
        assert not left, f"objects of worker {pid}, with {who}: {left}"


def assert_same_level(warm: dict[int, Holding], end: dict[int, Holding]) -> None:
    """Memory is about what it was in the worker that had met most by then."""
    limits = {
        "memory": MEMORY_GROWTH,
        "resident_memory": RESIDENT_GROWTH,
        "blocks": BLOCKS_GROWTH,
    }
    for what, limit in limits.items():
        before = max(holding[what] for holding in warm.values())
        for pid, holding in end.items():
            growth = holding[what] / before
            assert growth < limit, f"{what} of worker {pid}: {before}, then {holding[what]}"


def level_text(seconds: float, level: dict[int, Holding]) -> str:
    """A line for people."""
    workers = (
        f"{holding['memory'] / 2**20:6.2f} MiB used, {holding['resident_memory'] / 2**20:6.2f} had "
        f"({holding['untrimmed_memory'] / 2**20:6.2f}) "
        f"{holding['blocks']:7} blocks {holding['files']:3} files"
        for holding in level.values()
    )
    return f"{seconds:5.0f} s | " + " | ".join(workers)
