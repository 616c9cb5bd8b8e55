"""What the pods of a server say of all of them, asked until they agree."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from typing import Any

from sanic_chat.presence.presence import WINDOW_SECONDS

from .harness import DEADLINE, ServerProcess, wait_until

INTERVAL = 0.2
"""CHAT_STATS_INTERVAL of the servers that are asked."""
REST_SECONDS = 3 * max(INTERVAL, WINDOW_SECONDS)
"""After which nothing is announced any more, and every pod has reported."""
ASKING = 4
"""Requests at once."""


def answers_of_all_pods(server: ServerProcess, pods: int = 2) -> list[dict[str, Any]]:
    """One answer of each pod, without much time between them."""
    answers: dict[str, dict[str, Any]] = {}
    with ThreadPoolExecutor(ASKING) as ask:  # one at a time, the same pod might accept them all

        def all_answered() -> bool:
            for stats in ask.map(lambda _: server.stats(), range(ASKING)):
                answers[stats["answered_by"]] = stats
            return len(answers) == pods

        wait_until(all_answered, f"{pods} pods have answered")
    return list(answers.values())


def settled(server: ServerProcess, **expected: Any) -> dict[str, Any]:
    """The totals, once they say what is expected; every pod says the same then."""
    deadline = time.monotonic() + DEADLINE
    while True:
        first, *others = [answer["totals"] for answer in answers_of_all_pods(server)]
        if expected.items() <= first.items() and others == [first] * len(others):
            return first
        assert time.monotonic() < deadline, f"not {expected}, but {first} and {others}"
        time.sleep(INTERVAL / 4)


def at_rest(server: ServerProcess, **expected: Any) -> dict[str, Any]:
    """The totals, once they say what is expected and have not changed for a while."""
    totals = settled(server, **expected)
    same_since = time.monotonic()
    deadline = same_since + DEADLINE
    while time.monotonic() - same_since < REST_SECONDS:
        assert time.monotonic() < deadline, "the totals never rest"
        time.sleep(INTERVAL / 4)
        if (now := server.stats()["totals"]) != totals:
            totals, same_since = now, time.monotonic()
    return totals
