"""What messages get from the clock: IDs that sort, and the text of the current time."""

from __future__ import annotations

import re
import secrets
import time
import uuid
from datetime import UTC, datetime, timedelta

import pytest

from sanic_chat.protocol.stamp import Stamper

MIDNIGHT = 1770249600.0


def at(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """From now on it is that time."""
    monkeypatch.setattr(time, "time", lambda: seconds)


def milliseconds(id: bytes) -> int:
    """The time that an ID tells."""
    return uuid.UUID(id.decode()).int >> 80


class TestIds:
    def test_it_is_a_uuid_of_version_7(self):
        """An ID is a UUIDv7 in its usual form, and carries the time."""
        stamper = Stamper()
        for _ in range(1000):
            before = time.time_ns() // 1_000_000
            text = stamper.stamp()[0].decode()
            after = time.time_ns() // 1_000_000
            parsed = uuid.UUID(text)
            assert text == str(parsed)
            assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
            assert before - 1 <= parsed.int >> 80 <= after

    def test_a_million_of_two_pods(self):
        """Of a million IDs none is twice, and each pod's are in the order of their making."""
        stampers = [Stamper(), Stamper()]
        made = [
            [stamper.stamp()[0] for _ in range(10_000)] for _ in range(50) for stamper in stampers
        ]
        for number in range(2):
            of_one = [id for ids in made[number::2] for id in ids]
            assert of_one == sorted(of_one)
        assert len({id for ids in made for id in ids}) == 1_000_000

    def test_all_in_one_millisecond(self, monkeypatch: pytest.MonkeyPatch):
        """However many are made in a millisecond, they tell that one, and are in order."""
        at(monkeypatch, MIDNIGHT)
        stamper = Stamper()
        ids = [stamper.stamp()[0] for _ in range(2000)]
        assert ids == sorted(set(ids))
        assert {milliseconds(id) for id in ids} == {int(MIDNIGHT * 1000)}

    def test_two_pods_in_one_millisecond(self, monkeypatch: pytest.MonkeyPatch):
        """What sets the IDs of different pods apart is not the time."""
        at(monkeypatch, MIDNIGHT)
        ids = {
            stamper.stamp()[0] for stamper in [Stamper() for _ in range(1000)] for _ in range(300)
        }
        assert len(ids) == 300_000

    def test_no_millisecond_tells_the_next(self, monkeypatch: pytest.MonkeyPatch):
        """In each millisecond the count begins somewhere else."""
        stamper = Stamper()
        ends = set()
        for number in range(1000):
            at(monkeypatch, MIDNIGHT + number / 1000)
            ends.add(stamper.stamp()[0][15:])
        assert len(ends) == 1000

    def test_a_clock_that_is_put_back(self, monkeypatch: pytest.MonkeyPatch):
        """IDs go on in order, at the latest time that was told, until the clock is past it."""
        stamper = Stamper()
        ids = []
        for step in (0.5, 0.5, -3600, -3600, -1800.001, 0.5, 0.501):
            at(monkeypatch, MIDNIGHT + step)
            ids += [stamper.stamp()[0] for _ in range(300)]
        assert ids == sorted(set(ids))
        latest = int(MIDNIGHT * 1000) + 500
        assert {milliseconds(id) for id in ids[:-300]} == {latest}
        assert {milliseconds(id) for id in ids[-300:]} == {latest + 1}

    @pytest.mark.parametrize("random", [0, 2**40 - 1, 2**54 - 1, 2**65 - 1])
    def test_counting_over_the_fields(self, monkeypatch: pytest.MonkeyPatch, random: int):
        """A count that goes over from field to field leaves version and variant as they are."""
        at(monkeypatch, MIDNIGHT)
        monkeypatch.setattr(secrets, "randbits", lambda bits: random)
        stamper = Stamper()
        ids = [stamper.stamp()[0] for _ in range(1000)]
        assert ids == sorted(set(ids))
        for id in ids:
            parsed = uuid.UUID(id.decode())
            assert (parsed.version, parsed.variant) == (7, uuid.RFC_4122)
            assert milliseconds(id) == int(MIDNIGHT * 1000)


class TestTimestamps:
    def test_it_is_the_current_time(self):
        """The text is the current time in UTC, in the form of the contract."""
        before = datetime.now(UTC)
        text = Stamper().stamp()[1].decode()
        after = datetime.now(UTC)
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", text)
        assert before - timedelta(milliseconds=1) <= datetime.fromisoformat(text) <= after

    @pytest.mark.parametrize(
        ("seconds", "text"),
        [
            pytest.param(1770249600.0, "2026-02-05T00:00:00.000Z", id="whole second"),
            pytest.param(1770249600.0625, "2026-02-05T00:00:00.062Z", id="rounded down"),
            pytest.param(1770249599.9999, "2026-02-04T23:59:59.999Z", id="end of a day"),
            pytest.param(1709164800.5, "2024-02-29T00:00:00.500Z", id="leap day"),
        ],
    )
    def test_times(self, monkeypatch: pytest.MonkeyPatch, seconds: float, text: str):
        """Milliseconds are cut off, never rounded up into the future."""
        at(monkeypatch, seconds)
        assert Stamper().stamp()[1] == text.encode()

    def test_the_time_goes_on(self, monkeypatch: pytest.MonkeyPatch):
        """One clock tells every new time: the next millisecond, the next second, a step back."""
        steps = [
            (1770249600.001, b"2026-02-05T00:00:00.001Z"),
            (1770249600.0019, b"2026-02-05T00:00:00.001Z"),
            (1770249600.0025, b"2026-02-05T00:00:00.002Z"),
            (1770249601.0025, b"2026-02-05T00:00:01.002Z"),
            (1770249600.0025, b"2026-02-05T00:00:00.002Z"),
        ]
        stamper = Stamper()
        for seconds, text in steps:
            at(monkeypatch, seconds)
            assert stamper.stamp()[1] == text

    def test_the_time_zone_does_not_matter(self, monkeypatch: pytest.MonkeyPatch):
        """The text is UTC wherever the server stands."""
        monkeypatch.setenv("TZ", "Asia/Kolkata")
        time.tzset()
        try:
            at(monkeypatch, MIDNIGHT)
            assert Stamper().stamp()[1] == b"2026-02-05T00:00:00.000Z"
        finally:
            monkeypatch.undo()
            time.tzset()
