"""Presence between pods: numbered streams, wants and parts, as the JSON of control envelopes.

    stream   to all pods: what has changed, which rooms are watched, and a number in a row
    want     to one pod: tell me your part of these rooms
    parts    to one pod: the members on this pod, as of a number of its stream

May live here: the shape of each, and its bounds. Must not know who says it when.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Annotated, Any, Literal

import msgspec

from ..errors import BadEnvelope
from .personal_room import MAX_USER_CHARACTERS

Reason = Literal["left", "lost", "kicked", "drained"]
"""Why a user is not here: `drained` is `lost` of one that was told to come back elsewhere."""

MAX_WORDS_BYTES = 48 * 1024
"""The JSON of one envelope is cut at so many bytes."""

ENVELOPE_BYTES = 160
"""The bytes of an envelope beside its rooms, at most."""

MEMBER_BYTES = 48
"""The bytes of a member beside its user and info: numbers, reason, punctuation."""


MAX_HOLD_MS = 10 * 60 * 1000
"""The longest hold, which is more than any drain gives."""

Count = Annotated[int, msgspec.Meta(ge=0, le=2**53)]
"""The number of an envelope or a request, or of sessions: JSON everywhere holds it, and sums."""

User = Annotated[str, msgspec.Meta(min_length=1, max_length=MAX_USER_CHARACTERS)]


class Info(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """The info of a token, and the session whose token it is.

    Of several sessions the newest client ID's counts.
    """

    client_id: str
    content: msgspec.Raw

    @classmethod
    def of(cls, client_id: str, content: bytes) -> Info:
        """Make one of JSON, whose bytes are copied: else it could keep its whole envelope."""
        return cls(client_id, msgspec.Raw(bytes(content)))


class Member(msgspec.Struct, frozen=True, gc=False, array_like=True):
    """A user in a room, and its sessions on one pod.

    With a hold it is here for so long in any case, and then has left for that reason.
    """

    user: User
    sessions: Count
    hold_ms: Annotated[int, msgspec.Meta(ge=0, le=MAX_HOLD_MS)] = 0
    reason: Reason = "left"
    info: Info | None = None


class Numbers(msgspec.Struct, frozen=True, gc=False):
    """The part of a pod that has too many members of a room to name them."""

    sessions: Count
    users: Count


Part = list[Member] | Numbers


class Stream(msgspec.Struct, frozen=True, omit_defaults=True):
    """The words of a pod to all others. `changes` are of single members, or new numbers."""

    n: Count
    watching: bool = False
    """Whether anybody on this pod watches any room."""
    watch: list[str] = []
    unwatch: list[str] = []
    req: Count = 0
    """The number of the request that `watch` is."""
    first: list[str] = []
    """The rooms that have just got their first member here, or are told by name again."""
    forgot: list[str] = []
    """The pods that are to ask for all that they watch: it is not known here any more."""
    in_use_ms: Count = 0
    """The time for which joins and leaves are still noted, and `came` is said."""
    came: dict[str, list[User]] = {}
    """Users with a new session here, by room, watched or not: older holds of theirs are over."""
    changes: dict[str, Part] = {}
    leaving: bool = False
    """Whether these are last words: whoever hears them holds its users from now on."""


class Canary(msgspec.Struct, frozen=True, gc=False):
    """The words of a canary: the number of the last stream envelope, and `Stream.watching`."""

    n: Count
    watching: bool = False


class Want(msgspec.Struct, frozen=True):
    """A request for a pod's part of rooms."""

    req: Count
    rooms: list[str]


class Parts(msgspec.Struct, frozen=True):
    """The answer to a `Want` or a `watch`, as of number `n` of the stream."""

    n: Count
    req: Count
    rooms: dict[str, Part]


encode: Callable[[Any], bytes] = msgspec.json.Encoder().encode
"""Makes the JSON of any of these."""


def _reader(shape: Any) -> Callable[[bytes], Any]:
    decode = msgspec.json.Decoder(shape).decode

    def read(content: bytes) -> Any:
        try:
            return decode(content)
        except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
            raise BadEnvelope(f"{shape.__name__.lower()}: {error}") from None

    return read


read_stream: Callable[[bytes], Stream] = _reader(Stream)
read_canary: Callable[[bytes], Canary] = _reader(Canary)
read_want: Callable[[bytes], Want] = _reader(Want)
read_parts: Callable[[bytes], Parts] = _reader(Parts)
"""These raise BadEnvelope, with a sentence."""


def size_of(user: str, info: Info | None) -> int:
    """The bytes of a member in an envelope, and so at least those in a roster."""
    size = len(encode(user)) + MEMBER_BYTES
    return size if info is None else size + len(bytes(info.content)) + len(info.client_id)
