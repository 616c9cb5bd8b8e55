"""The whole examination: what is well, what is not there, and a check that fails itself."""

from __future__ import annotations

import gc
from dataclasses import replace

import pytest

from sanic_chat.doctor import redis_server
from sanic_chat.doctor.examination import ALL_CHECKS

from ..support.clients import running_server
from ..support.examined import CODES, examined, site
from ..support.harness import RedisProcess

OF_THE_MACHINE = {"descriptors", "backlog", "cores", "loop_lag"}
"""Checks that may rightly warn on the machine that the tests run on."""


def test_codes_and_sentences() -> None:
    """Each code is there once; each reason fits into a sentence."""
    assert len(set(CODES)) == len(CODES)
    for check in ALL_CHECKS:
        assert check.why[0].islower() or check.why.startswith("Redis ")
        assert not check.why.endswith(".")


async def test_a_deployment_that_is_well(redis: RedisProcess) -> None:
    """Nothing is found but what this machine may lack, and no connection is left."""
    with running_server(REDIS_URL=redis.url, CHAT_HEARTBEAT_TIMEOUT="1") as server:
        found = await examined(redis_url=redis.url, site=site(server, idle=0.8))
    assert list(found) == CODES
    unknown = {code for code, one in found.items() if one.status == "unknown"}
    assert unknown == {"certificate_files", "redis_certificate", "url_certificate"}
    ill = {code for code, one in found.items() if one.status not in ("well", "unknown")}
    assert ill <= OF_THE_MACHINE
    gc.collect()  # which warns of connections that nobody has closed


async def test_nothing_to_look_at() -> None:
    """Without Redis and without a server, this machine alone is looked at."""
    found = await examined()
    known = {code for code, one in found.items() if one.status != "unknown"}
    assert known == {"settings", "descriptors", "backlog", "event_loop", "loop_lag"}
    assert "REDIS_URL" in found["redis_role"].measured
    assert "--url" in found["url_upgrade"].measured


async def test_a_check_that_crashes(
    monkeypatch: pytest.MonkeyPatch, shared_redis: RedisProcess
) -> None:
    """Its finding says so, and those beside it are as they were."""

    async def crash(server: redis_server.Server) -> None:
        raise KeyError("a reply that nobody expected")

    checks = [
        replace(check, run=crash) if check.code == "redis_timeout" else check
        for check in redis_server.CHECKS
    ]
    monkeypatch.setattr(redis_server, "CHECKS", checks)
    found = await examined(redis_url=shared_redis.url)
    assert (found["redis_timeout"].status, found["redis_timeout"].measured) == (
        "crashed", "KeyError: 'a reply that nobody expected'",
    )  # fmt: skip
    assert found["redis_eviction"].status == "well"
    assert found["redis_acl"].status == "well"
