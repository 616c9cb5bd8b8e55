"""The HTTP API: what backends send, and are told, as JSON and in queries.

`protocol.cluster` has the other answers. `data` is never decoded and encoded again, as in messages
of clients.

May live here: the shape of requests and answers. Must not know how one is read, nor carried out.
"""

from __future__ import annotations

from typing import Annotated, Any, Final

import msgspec
from msgspec import UNSET, Meta, UnsetType

from .message import MAX_SENDER_CHARACTERS, MessageType
from .personal_room import MAX_USER_CHARACTERS

MAX_MESSAGES: Final = 100
"""The messages of one request; one for several rooms counts for each of them."""

MAX_LIMIT: Final = 1000
"""The entries of a page that may be asked for."""

MAX_TEXT_CHARACTERS: Final = 12 * MAX_USER_CHARACTERS + 1
"""The bound of a text in a query: the longest room's name has as many."""

MAX_SPARED: Final = 100
"""The sessions that may be left when a user is disconnected."""

MAX_REASON_CHARACTERS: Final = 123
"""The bound of a reason, of which a close frame takes as many bytes (RFC 6455 section 5.5)."""

Id = Annotated[str, Meta(extra_json_schema={"format": "uuid"})]
Sender = Annotated[str, Meta(min_length=1, max_length=MAX_SENDER_CHARACTERS)]
User = Annotated[str, Meta(min_length=1, max_length=MAX_USER_CHARACTERS)]
Text = Annotated[str, Meta(max_length=MAX_TEXT_CHARACTERS)]
Limit = Annotated[int, Meta(ge=1, le=MAX_LIMIT)]
Code = Annotated[int, Meta(ge=4000, le=4999)]
Reason = Annotated[str, Meta(max_length=MAX_REASON_CHARACTERS)]
Spared = Annotated[list[str], Meta(max_length=MAX_SPARED)]


# -- what they send ------------------------------------------------------------------------


class Publish(msgspec.Struct, frozen=True, forbid_unknown_fields=True, gc=False):
    """A message to publish, to exactly one of `room`, `rooms`, `user` and `global`."""

    data: Annotated[msgspec.Raw, Meta(description="Any JSON; it travels byte for byte.")]
    room: str | UnsetType = UNSET
    rooms: (
        Annotated[list[str], Meta(extra_json_schema={"minItems": 1, "maxItems": MAX_MESSAGES})]
        | UnsetType
    ) = UNSET
    user: User | UnsetType = UNSET
    everyone: bool = msgspec.field(name="global", default=False)
    type: MessageType = "notification"
    id: Id | UnsetType = UNSET
    sender: Sender = msgspec.field(name="from", default="server")


PublishMany = Annotated[
    list[Publish], Meta(extra_json_schema={"minItems": 1, "maxItems": MAX_MESSAGES})
]


class Disconnect(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """Sessions to close: those of a `user`, or the one of a `client_id`."""

    user: User | UnsetType = UNSET
    client_id: Id | UnsetType = UNSET
    code: Code = 4000
    reason: Reason = ""
    spared: Spared = msgspec.field(name="except", default_factory=list)
    revoke: bool = False


class Drain(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A pod to drain."""

    pod_id: Annotated[str, Meta(min_length=1, max_length=128)]


class RoomsParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A page of rooms to be told, whose names begin with `prefix`."""

    prefix: Text = ""
    after: Text = ""
    limit: Limit = 100


class RoomParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A room to be told, with a page of its members."""

    name: Text
    after: Text = ""
    limit: Limit = 100


class UserParameters(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A user to be told, with a page of his sessions."""

    id: User
    after: Text = ""
    limit: Limit = 100


# -- what they are told --------------------------------------------------------------------


class Failure(msgspec.Struct, frozen=True, gc=False):
    """An error: a code for programs, and a sentence."""

    code: str
    message: str


class Published(msgspec.Struct, frozen=True, omit_defaults=True, gc=False):
    """The outcome of one message."""

    id: Id
    subscribers: int | UnsetType = UNSET
    """The subscriptions that Redis has handed it to: the pods that have members there."""
    duplicate: bool = False
    """Whether a message of this id was published within the last minute, and this one was not."""
    error: Failure | UnsetType = UNSET
    """Why it is not certain to have been published."""


def encode(answer: Any) -> bytes:
    """Encode an answer as JSON."""
    return msgspec.json.encode(answer)
