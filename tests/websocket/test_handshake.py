"""The opening handshake: which are good, what answers them, and what is said of a bad one."""

from __future__ import annotations

import pytest

from sanic_chat.errors import UpgradeRefused
from sanic_chat.websocket.handshake import (
    SUBPROTOCOL,
    Handshake,
    accept_key,
    accept_key_for,
    subprotocol_of,
    upgrade_required,
)


class TestAcceptKey:
    def test_the_example_of_the_rfc(self):
        """The accept key of RFC 6455 section 1.3."""
        assert accept_key("dGhlIHNhbXBsZSBub25jZQ==") == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

    @pytest.mark.parametrize(
        "key",
        [
            pytest.param("", id="empty"),
            pytest.param("dGhlIHNhbXBsZSBub25j", id="15 bytes"),
            pytest.param("dGhlIHNhbXBsZSBub25jZWE=", id="17 bytes"),
            pytest.param("dGhlIHNhbXBsZSBub25jZQ", id="no padding"),
            pytest.param("dGhlIHNhbXBsZSBub25jZ*==", id="no base64"),
            pytest.param("dGhlIHNhbXBsZSBub25jZQ==\n", id="newline"),
            pytest.param("dGhlIHNhbXBsZSBub25jZé==", id="no ASCII"),
        ],
    )
    def test_keys_that_are_refused(self, key: str):
        """A key that is not 16 bytes in base64 has no accept key."""
        assert accept_key(key) is None


GOOD = {
    "upgrade": ["websocket"],
    "connection": ["Upgrade"],
    "sec-websocket-version": ["13"],
    "sec-websocket-key": ["dGhlIHNhbXBsZSBub25jZQ=="],
}


def handshake(http_version: str = "1.1", **changes: list[str]) -> Handshake:
    """A good handshake but for some headers, with `_` for `-`; an empty list leaves one out."""
    headers = {**GOOD, **{name.replace("_", "-"): lines for name, lines in changes.items()}}
    return Handshake(
        path_room=None,
        query="",
        headers={name: lines for name, lines in headers.items() if lines},
        http_version=http_version,
        secure=False,
    )


def test_elements():
    """Those of all lines come in their order, without blanks; without a header there are none."""
    several = handshake(connection=["keep-alive ,Upgrade", " close"])
    assert several.elements("connection") == ["keep-alive", "Upgrade", "close"]
    assert several.elements("origin") == ()


class TestAcceptKeyFor:
    @pytest.mark.parametrize(
        "changes",
        [
            {},
            {"upgrade": ["WebSocket"], "connection": ["keep-alive, UPGRADE"]},
            {"upgrade": ["h2c", "websocket"], "connection": ["keep-alive", "upgrade"]},
        ],
        ids=["as most send it", "capitals and lists", "several lines"],
    )
    def test_good(self, changes: dict[str, list[str]]):
        """It is answered with the key's accept key."""
        assert accept_key_for(handshake(**changes)) == "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="

    @pytest.mark.parametrize(
        ("changes", "status", "code"),
        [
            ({"upgrade": []}, 426, "upgrade_required"),
            ({"upgrade": ["h2c"]}, 426, "upgrade_required"),
            ({"upgrade": ["websocket/13"]}, 426, "upgrade_required"),
            ({"http_version": "1.0"}, 400, "bad_handshake"),
            ({"connection": []}, 400, "bad_handshake"),
            ({"connection": ["keep-alive"]}, 400, "bad_handshake"),
            ({"host": ["a", "a"]}, 400, "bad_handshake"),
            ({"sec_websocket_version": []}, 426, "unsupported_version"),
            ({"sec_websocket_version": ["8"]}, 426, "unsupported_version"),
            ({"sec_websocket_key": []}, 400, "bad_handshake"),
            ({"sec_websocket_key": ["dGhlIHNhbXBsZQ=="]}, 400, "bad_handshake"),
            ({"sec_websocket_key": GOOD["sec-websocket-key"] * 2}, 400, "bad_handshake"),
        ],
        ids=str,
    )
    def test_bad(self, changes: dict[str, list[str]], status: int, code: str):
        """It is refused, and who speaks another version is told ours."""
        with pytest.raises(UpgradeRefused) as refused:
            accept_key_for(handshake(**changes))
        assert (refused.value.status, refused.value.code) == (status, code)
        assert refused.value.headers.get("Upgrade") == ("websocket" if status == 426 else None)
        asked = refused.value.headers.get("Sec-WebSocket-Version")
        assert asked == ("13" if code == "unsupported_version" else None)

    def test_what_is_no_handshake(self):
        """Who sends a plain request is told what to connect with."""
        refusal = upgrade_required()
        assert (refusal.status, refusal.headers) == (426, {"Upgrade": "websocket"})


@pytest.mark.parametrize(
    ("offered", "selected"),
    [
        ([], None),
        (["chat"], None),
        (["chat, sanic-chat.v1"], SUBPROTOCOL),
        (["chat", "sanic-chat.v1"], SUBPROTOCOL),
        (["Sanic-Chat.v1"], None),
        (["sanic-chat.v10"], None),
        (["chat.v2, chat.v1"], "chat.v2"),
        (["chat.v1", "chat.v2"], "chat.v1"),
        (["chat.v1, sanic-chat.v1"], SUBPROTOCOL),
    ],
)
def test_subprotocol(offered: list[str], selected: str | None):
    """Ours is selected by its exact name, wherever it stands, or the first that is known."""
    known = ("chat.v1", "chat.v2")
    assert subprotocol_of(handshake(sec_websocket_protocol=offered), known) == selected
