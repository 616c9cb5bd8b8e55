"""The reading of backends' requests: bodies and queries, and what is wrong with one.

    body, query ─→ a type of `protocol.api` ─→ checked, with names in their normal form

May live here: what is refused, in a sentence. Must not know how a request is carried out.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Final, NamedTuple, TypeVar
from urllib.parse import parse_qsl

import msgspec
from msgspec import UNSET

from ..errors import ApiRefused
from .api import MAX_MESSAGES, Disconnect, Drain, Publish, PublishMany
from .message import UUID
from .personal_room import personal_room
from .room_name import check_room_name

MAX_BODY_BYTES: Final = 1024 * 1024
"""The bytes that the body of a request may have besides those of the largest message."""

MAX_SMALL_BODY_BYTES: Final = 64 * 1024
"""The bytes of any other body."""

T = TypeVar("T")
Q = TypeVar("Q", bound=msgspec.Struct)


class Post(NamedTuple):
    """A message that is in order."""

    rooms: Sequence[str | None]
    """The normalised names of its rooms, each once; None: everybody."""
    message: Publish


_posts = msgspec.json.Decoder(PublishMany | Publish)
_disconnect = msgspec.json.Decoder(Disconnect)
_drain = msgspec.json.Decoder(Drain)


def parse_posts(body: bytes, *, max_message_bytes: int) -> tuple[list[Post], bool]:
    """Read the messages of a request, and whether they came in an array.

    Raises ApiRefused: with 400 `bad_json`, `bad_body`, `bad_id`, `bad_room` or
    `too_many_messages`, with 413 `message_too_large`.
    """
    found = _decode(_posts, body, '{"room": "lobby", "data": "hi"}')
    is_one = isinstance(found, Publish)
    messages = [found] if isinstance(found, Publish) else found
    _check_count(len(messages))
    posts = [
        _post(message, "The message" if is_one else f"Message {number}", max_message_bytes)
        for number, message in enumerate(messages, 1)
    ]
    _check_count(sum(len(post.rooms) for post in posts))
    return posts, not is_one


def parse_disconnect(body: bytes) -> Disconnect:
    """Read which sessions are to be closed. Raises ApiRefused, 400 `bad_json` or `bad_body`."""
    found = _decode(_disconnect, body, '{"user": "anna", "code": 4000}')
    is_of_user = found.user is not UNSET
    if is_of_user == (found.client_id is not UNSET):
        raise ApiRefused(400, "bad_body", 'Allowed is one of "user" and "client_id"')
    if not is_of_user and (found.revoke or found.spared):
        raise ApiRefused(400, "bad_body", '"revoke" and "except" go with "user" only')
    return found


def parse_drain(body: bytes) -> Drain:
    """Read which pod is to drain. Raises ApiRefused, 400 `bad_json` or `bad_body`."""
    return _decode(_drain, body, '{"pod_id": "web-1-0a1b2c3d"}')


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


def parse_room(text: str, which: str = "The question") -> str:
    """Return the normalised name of a room; `which` is for it. Raises ApiRefused `bad_room`."""
    try:
        return check_room_name(text)
    except ValueError as error:
        raise ApiRefused(400, "bad_room", f"{which} is for {text!r:.60}. {error}") from None


def _decode(decoder: msgspec.json.Decoder[T], body: bytes, example: str) -> T:
    try:
        body.decode()
        return decoder.decode(body)
    except msgspec.ValidationError as error:
        raise ApiRefused(400, "bad_body", f"{error}; it is like {example}") from None
    except UnicodeDecodeError:
        raise ApiRefused(400, "bad_json", "The body is not UTF-8") from None
    except msgspec.DecodeError as error:
        raise ApiRefused(400, "bad_json", f"The body is no JSON: {error}") from None
    except RecursionError:
        raise ApiRefused(400, "bad_json", "The JSON is nested too deeply") from None


def _check_count(count: int) -> None:
    if not 0 < count <= MAX_MESSAGES:
        raise ApiRefused(
            400,
            "too_many_messages" if count else "bad_body",
            f"A request has 1 to {MAX_MESSAGES} messages, of which one for several rooms counts "
            f"for each of them; this one has {count}",
        )


def _post(message: Publish, which: str, max_message_bytes: int) -> Post:
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
    targets: list[Any] = [message.room, message.rooms, message.user, message.everyone or UNSET]
    if sum(target is not UNSET for target in targets) != 1:
        raise ApiRefused(
            400,
            "bad_body",
            f'{which} is for nobody, or for too many: allowed is one of "room", "rooms", "user" '
            'and "global": true',
        )
    if message.everyone:
        return [None]
    if isinstance(message.user, str):
        return [parse_room(personal_room(message.user), which)]
    if isinstance(message.rooms, list):
        _check_count(len(message.rooms))
        return list(dict.fromkeys(parse_room(name, which) for name in message.rooms))
    assert isinstance(message.room, str)
    return [parse_room(message.room, which)]
