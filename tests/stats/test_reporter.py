"""The reporter on its own: it ends whenever it is told to."""

from __future__ import annotations

import asyncio

import redis

from sanic_chat.stats.reporter import Reporter

from ..support.reports import pod_report, stats_store


async def test_reporter_closes_at_any_moment(own_redis):
    """Whatever the reporter is about to do when it is closed, it ends, and takes its report off."""
    for turns in range(1, 60):
        store = stats_store(own_redis.url)
        reporter = Reporter(store, report=lambda: pod_report("closing"), interval=60, rooms=1)
        starting = asyncio.create_task(reporter.start())
        for _ in range(turns):
            await asyncio.sleep(0)
        starting.cancel()
        await asyncio.wait_for(reporter.close(1), 5)
    with redis.Redis(port=own_redis.port) as admin:
        assert not admin.exists("realtime:pod:closing")


async def test_the_first_answer_is_complete(own_redis):
    """A reporter that has started knows whether Redis is there."""
    reporter = Reporter(
        stats_store(own_redis.url), report=lambda: pod_report("first"), interval=60, rooms=1
    )
    await reporter.start()
    try:
        answer = await reporter.answer()
        assert (answer["complete"], answer["totals"]["pods"]) == (True, 1)
    finally:
        await reporter.close(1)
