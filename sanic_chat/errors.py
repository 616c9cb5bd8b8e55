"""The errors that this package raises on purpose.

ChatError
├── ConfigError         a setting is wrong: the server does not start
├── RequestRefused      a request is answered with an HTTP error
│   ├── UpgradeRefused      a handshake, instead of 101
│   │   └── TryAgainLater   there is no place for the client now, but there may be soon
│   └── ApiRefused          a request of a backend
├── SubscribeRefused    Redis forbids a channel: the join that needs it is refused
├── BadMessage          a reply error: the client is told, its connection stays
├── BadEnvelope         something on a Redis channel cannot be read: counted and dropped
├── TooManyQuestions    pods are asked too much at a time: ask again in a second
├── PublishError        a backend's message has not been confirmed by Redis
│   ├── NotPublished        it has reached nobody
│   └── PublishUnconfirmed  it may have reached everybody
├── BadReport           what stands in a pod's place cannot be read: counted and left out
└── CloseConnection     a close error: the connection ends with this close code

Reply errors and close errors are different types on purpose: what a user can mend keeps the
connection, what breaks the protocol ends it. This module imports nothing of the package.
"""

from __future__ import annotations

from collections.abc import Mapping

MAX_SENTENCE_CHARACTERS = 300
"""The bound of a sentence that tells a client of its mistake."""


def cut(sentence: str) -> str:
    """Cut a sentence to `MAX_SENTENCE_CHARACTERS`: it may repeat what a client sent."""
    if len(sentence) <= MAX_SENTENCE_CHARACTERS:
        return sentence
    return f"{sentence[: MAX_SENTENCE_CHARACTERS - 1]}…"


class ChatError(Exception):
    """The base of all errors below."""


class ConfigError(ChatError):
    """A setting is wrong; the text names the variable, the bad value and what is allowed."""


class RequestRefused(ChatError):
    """A request is refused: HTTP `status`, a `code` for programs, a sentence, and headers."""

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(message)
        self.status = status
        self.code = code
        self.message = message
        self.headers = dict(headers or {})


class UpgradeRefused(RequestRefused):
    """A handshake is refused."""


class ApiRefused(RequestRefused):
    """A request of a backend is refused; the sentence is cut to `MAX_SENTENCE_CHARACTERS`."""

    def __init__(
        self, status: int, code: str, message: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(status, code, cut(message), headers)


class TryAgainLater(UpgradeRefused):
    """A handshake is refused for now, with 503; `retry_after` seconds later one may be accepted."""

    def __init__(self, code: str, message: str, *, retry_after: int) -> None:
        super().__init__(503, code, message, {"Retry-After": str(retry_after)})


class Unauthorized(UpgradeRefused):
    """A handshake is refused for its token, with 401."""

    def __init__(self, message: str, code: str = "unauthorized") -> None:
        super().__init__(401, code, message, {"WWW-Authenticate": "Bearer"})


class SubscribeRefused(ChatError):
    """Redis forbids the server to subscribe to a channel; the text is Redis' own."""


class BadMessage(ChatError):
    """A message is refused. Its client gets back `code` and sentence, with its `id` if known.

    The sentence may repeat what the client sent, and is cut to `MAX_SENTENCE_CHARACTERS`.
    """

    def __init__(self, code: str, message: str, id: str | None = None) -> None:
        self.code = code
        self.message = cut(message)
        super().__init__(self.message)
        self.id = id


class BadEnvelope(ChatError):
    """The payload of a Redis message is no envelope; the text says why."""


class TooManyQuestions(ChatError):
    """As many questions to all pods are under way as may be; the text is a sentence."""


class BadReport(ChatError):
    """The value of a pod's key on Redis is no report; the text says why."""


class PublishError(ChatError):
    """A backend's message has not been confirmed by Redis; `id` is the message's."""

    def __init__(self, message: str, id: str) -> None:
        super().__init__(message)
        self.id = id


class NotPublished(PublishError):
    """A message has reached nobody: Redis was not reached, or said no. It may be tried again."""


class PublishUnconfirmed(PublishError):
    """A message was sent to Redis, and no answer has come: it may have reached everybody.

    Who tries again with the same `id` lets clients drop the double.
    """


class CloseConnection(ChatError):
    """The connection must end with close `code` (RFC 6455 section 7.4) and `reason`."""

    def __init__(self, code: int, reason: str) -> None:
        super().__init__(f"{code} {reason}")
        self.code = code
        self.reason = reason
