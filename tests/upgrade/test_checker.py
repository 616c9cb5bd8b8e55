"""Upgrades that are refused, as an operator sees them."""

from __future__ import annotations

import json

import pytest

from sanic_chat.app import ChatServer

from ..support.clients import RawClient
from ..support.serving import client_of

pytestmark = pytest.mark.usefixtures("in_process")


async def test_a_refusal_is_counted_once(app: ChatServer, by_sanic: list[bytes]) -> None:
    """A refused handshake is looked at twice, and answered and counted once."""
    data = RawClient.handshake("/ws?echo=2")
    async with client_of(app) as client:
        client.send(data)
        status, _, body = await client.answer()
    assert (status, json.loads(body)["code"]) == (400, "bad_echo")
    assert app.ctx.worker.pod.refused == {"bad_echo": 1}
    assert by_sanic == [data]
