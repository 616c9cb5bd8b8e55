"""Autobahn|Testsuite, the WebSocket world's conformance test, against our upgrade and sessions.

`kosoku` runs the suite's own case files, against `tests/support/echo_server.py`.
"""

from __future__ import annotations

import sys
from collections import Counter

import pytest

from ..support.clients import running_server
from ..support.harness import RedisProcess

kosoku = pytest.importorskip("kosoku", reason="kosoku has no wheel for this platform")

ECHO_SERVER = (sys.executable, "-m", "sanic", "tests.support.echo_server:app")
LARGE = "9.*"
COMPRESSION = ("12.*", "13.*")
"""No extension is offered, so these cases have nothing to try."""


async def verdicts(server_settings: dict[str, str], **cases: list[str]) -> Counter[str]:
    """Run cases, and count them by their verdict; one that failed fails the test by name."""
    with running_server(workers=2, command=ECHO_SERVER, **server_settings) as server:
        try:
            results = await kosoku.run_fuzzingclient(server.url("/echo"), concurrency=4, **cases)
        except kosoku.FailureError as error:
            results = error.results
    complaints = [
        f"{case.case_id}: {case.behavior.value}, {case.result}; "
        f"close {case.behavior_close.value}, {case.result_close}"
        for case in results
        if not case.passed
    ]
    assert complaints == []
    return Counter(case.behavior.value for case in results)


async def test_every_case(shared_redis: RedisProcess) -> None:
    """All 247 cases but the large ones, with the limits that a chat has: none failed."""
    counts = await verdicts({"REDIS_URL": shared_redis.url}, exclude_cases=[LARGE, *COMPRESSION])
    assert counts.total() == 247
    assert counts["NON-STRICT"] <= 2


@pytest.mark.timeout(120)
async def test_large_messages(shared_redis: RedisProcess) -> None:
    """The 54 cases of up to 16 MiB in one message, and of up to 65 536 frames: none failed."""
    counts = await verdicts(
        {
            "REDIS_URL": shared_redis.url,
            "CHAT_MAX_MESSAGE_BYTES": str(16 * 2**20),
            "CHAT_SEND_QUEUE_BYTES": str(2**25),
            "CHAT_PUBLISH_QUEUE_BYTES": str(2**25),
            "CHAT_MAX_MESSAGE_FRAGMENTS": str(2**16),
        },
        cases=[LARGE],
    )
    assert counts == {"OK": 54}
