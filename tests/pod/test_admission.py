"""How many clients a worker takes: the count alone."""

from __future__ import annotations

import asyncio

import pytest

from sanic_chat.errors import UpgradeRefused
from sanic_chat.pod.admission import Admission


def test_handshakes_and_connections_count_together():
    """Who is in and who is coming in may be as many as the limit says, and no more."""
    connected = 2
    admission = Admission(
        limit=4, retry_after=9, connected=lambda: connected, has_descriptors=lambda _: True
    )
    with admission, admission:
        assert admission.handshakes == 2
        with pytest.raises(UpgradeRefused) as refused, admission:
            raise AssertionError("one too many")
        assert refused.value.status == 503
        assert refused.value.code == "too_many_connections"
        assert refused.value.headers == {"Retry-After": "9"}
        assert admission.handshakes == 2
        connected = 1
        with admission:
            assert admission.handshakes == 3
    assert admission.handshakes == 0


def test_a_handshake_that_fails_gives_its_place_back():
    """However a handshake ends, its place is free again."""
    admission = Admission(
        limit=1, retry_after=1, connected=lambda: 0, has_descriptors=lambda _: True
    )
    for end in (ValueError, UpgradeRefused(400, "bad", "bad"), asyncio.CancelledError):
        with pytest.raises(BaseException), admission:  # noqa: B017, PT011
            raise end
        assert admission.handshakes == 0


def test_no_limit():
    """Without a limit nobody is refused."""
    admission = Admission(
        limit=0, retry_after=1, connected=lambda: 10**6, has_descriptors=lambda _: True
    )
    with admission:
        assert admission.handshakes == 1


def test_no_descriptors():
    """Without a limit, what there are no file descriptors for is refused."""
    admission = Admission(
        limit=0, retry_after=9, connected=int, has_descriptors=lambda number: number < 7
    )
    admission.check(6)
    with pytest.raises(UpgradeRefused) as refused:
        admission.check(7)
    assert (refused.value.status, refused.value.code) == (503, "no_descriptors")
    assert refused.value.headers == {"Retry-After": "9"}


def test_a_pod_that_goes_away():
    """It refuses whoever asks from then on, however many places there are."""
    admission = Admission(
        limit=0, retry_after=9, connected=int, has_descriptors=lambda number: True
    )
    admission.refuse_while_draining()
    admission.draining = True
    with pytest.raises(UpgradeRefused) as refused:
        admission.refuse_while_draining()
    assert (refused.value.status, refused.value.code) == (503, "draining")
    assert refused.value.headers == {"Retry-After": "9"}
