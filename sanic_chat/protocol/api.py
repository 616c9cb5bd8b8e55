"""The HTTP API: the JSON that backends send and receive.

May live here: the shape of requests and answers, and what is wrong with a request. Must not know
how one is carried out.

`data` is never decoded and encoded again, as in messages of clients.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Annotated, Any, Final, NamedTuple, TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import UNSET, Meta, UnsetType

from ..errors import ApiRefused
from .message import MAX_SENDER_CHARACTERS, UUID, MessageType
from .personal_room import MAX_USER_CHARACTERS, ME, personal_room
from .room_name import ROOM_NAME_RULE, normalise_room_name

MAX_MESSAGES: Final = 100
"""The messages of one request; one for several rooms counts for each of them."""

MAX_BODY_BYTES: Final = 1024 * 1024
"""The bytes that the body of a request may have besides those of the largest message."""

MAX_LIMIT: Final = 1000
"""The entries of a page that may be asked for."""

MAX_TEXT_CHARACTERS: Final = 12 * MAX_USER_CHARACTERS + 1
"""The bound of a text in a query: the longest room's name has as many."""

Q = TypeVar("Q", bound=msgspec.Struct)

Sender = Annotated[str, Meta(min_length=1, max_length=MAX_SENDER_CHARACTERS)]
User = Annotated[str, Meta(min_length=1, max_length=MAX_SENDER_CHARACTERS)]
Id = Annotated[str, Meta(extra_json_schema={"format": "uuid"})]


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


Limit = Annotated[int, Meta(ge=1, le=MAX_LIMIT)]
Text = Annotated[str, Meta(max_length=MAX_TEXT_CHARACTERS)]


class RoomsQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A question for rooms, by name."""

    prefix: Text = ""
    """The start of their names."""
    after: Text = ""
    """The last name of the page before."""
    limit: Limit = 100


class RoomQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A question for a room and its members, by user."""

    name: Text
    after: Text = ""
    limit: Limit = 100


class UserQuery(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A question for the sessions of a user, by client ID."""

    id: User
    after: Text = ""
    limit: Limit = 100


class Post(NamedTuple):
    """A message that is in order."""

    rooms: Sequence[str | None]
    """The normalised names of its rooms, each once; None: everybody."""
    message: Publish


_decode_posts = msgspec.json.Decoder(list[Publish] | Publish).decode


def parse_posts(body: bytes, *, max_message_bytes: int) -> tuple[list[Post], bool]:
    """Read the messages of a request, and whether they came in an array.

    Raises ApiRefused: with 400 `bad_json`, `bad_message`, `bad_id`, `bad_room` or
    `too_many_messages`, with 413 `message_too_large`.
    """
    try:
        body.decode()
        found = _decode_posts(body)
    except msgspec.ValidationError as error:
        example = '{"room": "lobby", "data": "hi"}'
        raise ApiRefused(400, "bad_message", f"{error}; a message is like {example}") from None
    except UnicodeDecodeError:
        raise ApiRefused(400, "bad_json", "The body is not UTF-8") from None
    except msgspec.DecodeError as error:
        raise ApiRefused(400, "bad_json", f"The body is no JSON: {error}") from None
    except RecursionError:
        raise ApiRefused(400, "bad_json", "The JSON is nested too deeply") from None
    is_one = isinstance(found, Publish)
    messages = [found] if isinstance(found, Publish) else found
    _check_count(len(messages))
    posts = [
        _read(message, "The message" if is_one else f"Message {number}", max_message_bytes)
        for number, message in enumerate(messages, 1)
    ]
    _check_count(sum(len(post.rooms) for post in posts))
    return posts, not is_one


def _check_count(count: int) -> None:
    if not 0 < count <= MAX_MESSAGES:
        raise ApiRefused(
            400,
            "too_many_messages" if count else "bad_message",
            f"A request has 1 to {MAX_MESSAGES} messages, of which one for several rooms counts "
            f"for each of them; this one has {count}",
        )


def _read(message: Publish, which: str, max_message_bytes: int) -> Post:
    if len(message.data) > max_message_bytes:
        raise ApiRefused(
            413,
            "message_too_large",
            f"{which} has {len(message.data)} bytes of data; allowed are {max_message_bytes} "
            "(CHAT_MAX_MESSAGE_BYTES)",
        )
    if message.id is not UNSET and not UUID.fullmatch(message.id):
        raise ApiRefused(400, "bad_id", f"{which} has an id that is no UUID; it may be left out")
    return Post(_rooms_of(message, which), message)


def _rooms_of(message: Publish, which: str) -> Sequence[str | None]:
    """Return the rooms of a message; None stands for everybody."""
    targets: list[Any] = [message.room, message.rooms, message.user, message.everyone or UNSET]
    if sum(target is not UNSET for target in targets) != 1:
        raise ApiRefused(
            400,
            "bad_message",
            f'{which} is for nobody, or for too many: allowed is one of "room", "rooms", "user" '
            'and "global": true',
        )
    if message.everyone:
        return [None]
    if isinstance(message.user, str):
        return [_room(personal_room(message.user), which)]
    if isinstance(message.rooms, list):
        _check_count(len(message.rooms))
        return list(dict.fromkeys(_room(name, which) for name in message.rooms))
    assert isinstance(message.room, str)
    return [_room(message.room, which)]


def _room(text: str, which: str) -> str:
    name = normalise_room_name(text)
    if name is None or name == ME:
        raise ApiRefused(
            400,
            "bad_room",
            f"{which} is for {text!r:.60}, which is no room's name: {ROOM_NAME_RULE}",
        )
    return name


def parse_query(text: str, type: type[Q]) -> Q:
    """Read the query of a URL. Raises ApiRefused, 400 `bad_query`."""
    try:
        pairs = parse_qsl(text, keep_blank_values=True, max_num_fields=10, errors="strict")
        found = dict(pairs)
        if len(found) < len(pairs):
            raise ValueError("one name stands there twice")
        return msgspec.convert(found, type, strict=False)
    except (ValueError, msgspec.ValidationError) as error:
        names = ", ".join(type.__struct_fields__)
        raise ApiRefused(
            400, "bad_query", f"The query cannot be read: {error}; it may have {names}"
        ) from None


def room_of(name: str) -> str:
    """Return a room's normalised name. Raises ApiRefused, 400 `bad_room`."""
    return _room(name, "The question")


def encode(answer: Any) -> bytes:
    """Encode an answer as JSON."""
    return msgspec.json.encode(answer)
