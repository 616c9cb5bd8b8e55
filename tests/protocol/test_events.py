"""Events: the JSON that clients get, key by key."""

from __future__ import annotations

import pytest

from sanic_chat.protocol import events
from sanic_chat.protocol.events import Refusal, RoomResult


@pytest.mark.parametrize(
    ("event", "text"),
    [
        (
            events.Error("bad_json", 'no "JSON"', None),
            r'{"event":"error","code":"bad_json","message":"no \"JSON\"","id":null}',
        ),
        (events.Pong(None), '{"event":"pong","id":null}'),
        (events.Pong("7"), '{"event":"pong","id":"7"}'),
        (events.Joined("küche", id=None), '{"event":"joined","room":"küche","id":null}'),
        (
            events.Joined(rooms=[RoomResult("a"), RoomResult("b", Refusal("no", "so"))], id="7"),
            '{"event":"joined","rooms":[{"room":"a"},{"room":"b","error":{"code":"no",'
            '"message":"so"}}],"id":"7"}',
        ),
        (events.Rooms(["a", "b"], None), '{"event":"rooms","rooms":["a","b"],"id":null}'),
        (events.Ack("7", 2, 1), '{"event":"ack","id":"7","local":2,"subscribers":1}'),
        (events.Ack("7"), '{"event":"ack","id":"7"}'),
        (
            events.Nack("7", "unavailable", "no"),
            '{"event":"nack","id":"7","code":"unavailable","message":"no"}',
        ),
        (events.Left("küche", id="7"), '{"event":"left","room":"küche","id":"7"}'),
        (events.Joined(), '{"event":"joined"}'),
        (events.Left(), '{"event":"left"}'),
        (
            events.Welcome("1-2", "anna", "pod-1", 1, ["ack"], 60.0, 65536),
            '{"event":"welcome","client_id":"1-2","user":"anna","pod_id":"pod-1","protocol":1,'
            '"features":["ack"],"heartbeat_seconds":60.0,"max_message_bytes":65536}',
        ),
        (events.Degraded(), '{"event":"degraded","reason":"redis"}'),
        (events.Recovered(1500), '{"event":"recovered","outage_ms":1500}'),
        (events.Gap(None), '{"event":"gap","room":null,"reason":"redis"}'),
        (
            events.Gap("lobby", "slow", 3),
            '{"event":"gap","room":"lobby","reason":"slow","messages":3}',
        ),
        (events.TokenExpiring(75), '{"event":"token_expiring","seconds":75}'),
        (
            events.Authenticated(3600, "7"),
            '{"event":"authenticated","expires_in":3600,"id":"7"}',
        ),
        (
            events.Kicked("lobby", "forbidden_room", "no"),
            '{"event":"kicked","room":"lobby","code":"forbidden_room","message":"no"}',
        ),
        (events.Drain(250), '{"event":"drain","reconnect_in_ms":250}'),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_clients_get(event: events.Event, text: str) -> None:
    """`event` comes first, and a field that an event does not have is left out."""
    assert events.encode(event).decode() == text


def test_a_forbidden_room() -> None:
    """It is an error like the others, and names the room."""
    error = events.forbidden_room("cellar", "7")
    assert (error.code, error.id, error.room) == ("forbidden_room", "7", "cellar")
    assert "'cellar'" in error.message
    error = events.forbidden_presence("cellar", None)
    assert (error.code, error.id, error.room) == ("forbidden_presence", None, "cellar")
    assert "'cellar'" in error.message
