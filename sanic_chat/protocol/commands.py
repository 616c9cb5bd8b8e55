"""Commands: requests of clients to the server itself, in the `data` of a system message.

May live here: the shape of a command. Must not know how one is executed.
"""

from __future__ import annotations

import msgspec

from ..errors import BadMessage
from .message import ClientMessage


class Command(msgspec.Struct, frozen=True, gc=False):
    """The `data` of a client's system message. Unknown keys are ignored."""

    action: str
    room: str | None = None
    rooms: list[str] | None = None
    """Several rooms, in the place of `room`."""
    token: str = ""
    presence: bool = False
    """Whether a client that joins is to be told who is in the room."""


_command_decoder = msgspec.json.Decoder(Command)


def parse_command(message: ClientMessage) -> Command:
    """Read a system message's `data`. Raises BadMessage `bad_command` if it has another shape.

    Neither the action nor the room's name is checked.
    """
    try:
        return _command_decoder.decode(message.data)
    except msgspec.DecodeError as error:  # a ValidationError is one too
        raise BadMessage(
            "bad_command",
            f'{error}; a system message is like {{"type": "system", "data": {{"action": "ping"}}}}',
            message.id or None,
        ) from None
