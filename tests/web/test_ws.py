"""The endpoint of the upgrade as who does not upgrade sees it."""

from __future__ import annotations

import pytest

from ..support.apps import PREFIX, assert_error


@pytest.mark.parametrize(
    "path",
    ["/ws", "/ws/", "/ws/lobby", "/ws?room=lobby", "/ws/%D7%A9%D7%9C%D7%95%D7%9D", "/ws/%73tats"],
)
@pytest.mark.parametrize("prefix", [PREFIX, ""], ids=["prefix", "no prefix"])
def test_plain_get(client, prefix, path):
    """A plain GET on the endpoint is told to upgrade, with and without the prefix."""
    _, response = client.get(prefix + path)
    assert_error(response, 426, "upgrade_required")
    assert response.headers["upgrade"] == "websocket"
    options = [option.strip() for option in response.headers["connection"].split(",")]
    assert options[0] == "Upgrade"
    assert options[1] in ("keep-alive", "close")


@pytest.mark.parametrize(
    "path",
    [
        pytest.param("/ws/a%2Ab", id="star"),
        pytest.param("/ws/a%2F..%2Fb", id="parent directory"),
        pytest.param("/ws/%2e%2e%2f%2e%2e%2fetc", id="parent directories"),
        pytest.param("/ws/a%0D%0Ab", id="line break"),
        pytest.param("/ws/%00", id="null"),
        pytest.param("/ws/*", id="glob"),
        pytest.param("/ws/%FF%FE", id="not UTF-8"),
        pytest.param("/ws/%F0%9F%98%80", id="emoji"),
        pytest.param("/ws/a%E2%80%AEb", id="right-to-left override"),
        pytest.param("/ws/" + "a" * 129, id="129 characters"),
        pytest.param("/ws/" + "%61" * 2000, id="2000 escaped characters"),
        pytest.param("/ws/%3F", id="question mark"),
        pytest.param("/ws/%5Ba-z%5D", id="pattern"),
        pytest.param("/ws/%C0%AE%C0%AE", id="overlong dots"),
        pytest.param("/ws/%C0%AF", id="overlong slash"),
        pytest.param("/ws/%zz", id="no escape"),
        pytest.param("/ws/%ED%A0%80", id="surrogate"),
        pytest.param("/ws/%3Cscript%3E", id="HTML"),
        pytest.param("/ws?room=a%2Ab", id="star in the query"),
        pytest.param("/ws/good?room=b%2Bd", id="bad beside good"),
    ],
)
def test_bad_room(client, path):
    """A bad room name is refused with 400 and the rule."""
    _, response = client.get(PREFIX + path)
    assert_error(response, 400, "bad_room")
    assert "1 to 128 characters" in response.json["message"]


@pytest.mark.parametrize("path", ["/ws/a?room=b", "/ws?room=a&room=b", "/ws/a?room=A"])
def test_room_conflict(client, path):
    """Two different rooms in one URL are refused with 400."""
    _, response = client.get(PREFIX + path)
    assert_error(response, 400, "room_conflict")


@pytest.mark.parametrize("path", ["/ws/a?room=a", "/ws/%C3%A9?room=e%CC%81", "/ws?room=a&room=a"])
def test_same_room_twice(client, path):
    """The same room in path and query is one room, in whichever Unicode form."""
    _, response = client.get(PREFIX + path)
    assert_error(response, 426, "upgrade_required")


@pytest.mark.parametrize(
    ("query", "code"),
    [
        ("events=nonsense", "bad_events"),
        ("events=system,nonsense", "bad_events"),
        ("events=System", "bad_events"),
        ("echo=2", "bad_echo"),
        ("echo=no", "bad_echo"),
    ],
)
def test_bad_option(client, query, code):
    """Unknown values of events and echo are refused with 400."""
    _, response = client.get(f"{PREFIX}/ws?{query}")
    assert_error(response, 400, code)


def test_authentication_comes_first(run_app):
    """Without a token even a bad handshake learns nothing but 401."""
    client = run_app(auth_enabled=True, auth_secret="s" * 32)
    _, response = client.get(f"{PREFIX}/ws/a%2Ab")
    assert_error(response, 401, "unauthorized")
    assert response.headers["www-authenticate"] == "Bearer"
