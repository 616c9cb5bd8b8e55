"""Fixtures: a hub with a small send queue, and two channels."""

from __future__ import annotations

import pytest

from sanic_chat.hub.channel import Channel

from ..support.hub import HubHandler, channel_of


@pytest.fixture
def handler() -> HubHandler:
    return HubHandler(send_queue_messages=4)


@pytest.fixture
def a() -> Channel:
    return channel_of("a")


@pytest.fixture
def b() -> Channel:
    return channel_of("b")
