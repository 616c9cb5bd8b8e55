"""System commands: what is read, and what is refused."""

from __future__ import annotations

from typing import Any

import pytest

from sanic_chat.errors import BadMessage
from sanic_chat.protocol.commands import parse_command
from sanic_chat.protocol.message import parse_message

from ..support.messages import ID


class TestParseCommand:
    def parse(self, data: bytes) -> Any:
        return parse_command(
            parse_message(b'{"type":"system","id":"%b","data":%b}' % (ID.encode(), data))
        )

    def test_commands(self):
        """An action is read with and without a room."""
        assert self.parse(b'{"action":"ping"}').room is None
        command = self.parse(b'{"action":"join","room":"lobby"}')
        assert (command.action, command.room) == ("join", "lobby")

    @pytest.mark.parametrize(
        "data", [b"1", b'"ping"', b"[]", b"{}", b'{"action":1}', b'{"action":"join","room":1}']
    )
    def test_what_is_no_command(self, data: bytes):
        """System data of another shape is bad_command, with the message's id."""
        with pytest.raises(BadMessage) as raised:
            self.parse(data)
        assert raised.value.code == "bad_command"
        assert raised.value.id == ID
