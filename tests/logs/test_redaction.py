"""Tokens stay out of the log, and the rest of a line stays in it."""

from __future__ import annotations

import logging
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanic_chat.logs.redaction import (
    LOGGERS,
    MAX_LOGGED_CHARACTERS,
    TokenFilter,
    cut,
    keep_tokens_out_of_logs,
    redact,
)

HEAD, CLAIMS, SIGNATURE = "eyJhbGciOiJIUzI1NiJ9", "eyJzdWIiOiJhbGljZSJ9", "c2lnbmF0dXJl_of-it"
JWT = f"{HEAD}.{CLAIMS}.{SIGNATURE}"


@pytest.mark.parametrize(
    ("text", "redacted"),
    [
        ("GET /ws?token={} HTTP/1.1", "GET /ws?token=*** HTTP/1.1"),
        ("/ws?room=a&token={}&echo=1", "/ws?room=a&token=***&echo=1"),
        ("/ws?x=1;token={}", "/ws?x=1;token=***"),
        ("/ws?token='{}'", "/ws?token='***'"),
        ('/ws?token="{}"&a=b', '/ws?token="***"&a=b'),
        ("/ws?token%3D{}", "/ws?token%3D***"),
        ("/ws?token%253d{}", "/ws?token%253d***"),
        ("/login?next=%2Fws%3Ftoken%3D{}", "/login?next=%2Fws%3Ftoken%3D***"),
        ("/ws?&TOKEN={}", "/ws?&TOKEN=***"),
        ("/ws?%74oken={}", "/ws?%74oken=***"),
        ("/ws?%54%6f%4B%65%4e={}", "/ws?%54%6f%4B%65%4e=***"),
        ("/ws?access_token={}", "/ws?access_token=***"),
        ("/ws?token=token={}", "/ws?token=***"),
        ("/ws??token={}", "/ws??token=***"),
        ("/ws?token={},x", "/ws?token=***"),
        ("/ws?token= {}", "/ws?token= ***"),
        ("token = {}", "token = ***"),
        ("<Request: GET /ws?token={}>", "<Request: GET /ws?token=***>"),
        ("('/ws?token={}',)", "('/ws?token=***',)"),
        ("{{'token': ['{}']}}", "{{'token': ['***']}}"),
        ('{{"token":"{}"}}', '{{"token":"***"}}'),
        ("Authorization: Bearer {}", "Authorization: Bearer ***"),
        ("authorization: bearer  {}\r\nHost: h", "authorization: bearer  ***\r\nHost: h"),
        ("('Bearer {}'), ('a', 'b')", "('Bearer ***'), ('a', 'b')"),
        ("b'Bearer {}'", "b'Bearer ***'"),
        ("Bearer%20{}", "Bearer%20***"),
        ("sanic-chat.v1, bearer.{}", "sanic-chat.v1, bearer.***"),
        ("CHAT_API_KEYS=web:read+publish:{}{}{}", "CHAT_API_KEYS=web:read+publish:***"),
        ("/rooms?key={}{}{}&limit=1", "/rooms?key=***&limit=1"),
        ("/rooms?api_K%65y={}{}{}", "/rooms?api_K%65y=***"),
        ("/rooms?next=%3Fsecret%3D{}{}{}", "/rooms?next=%3Fsecret%3D***"),
        ("nothing to hide in %r", "nothing to hide in %r"),
    ],
)  # fmt: skip
@pytest.mark.parametrize("token", [JWT, "0123456789abcdef"], ids=["JWT", "opaque"])
def test_where_tokens_stand(text: str, redacted: str, token: str) -> None:
    """Wherever a token stands it is hidden, and what stands around it is not."""
    assert redact(text.format(token, token, token)) == redacted.format()


@pytest.mark.parametrize("text", ["a token by itself: {}", "/ws/{}", "x, bearer.{}", "{}"])
def test_a_json_web_token(text: str) -> None:
    """One is recognised whatever stands before it."""
    assert redact(text.format(JWT)) == text.format("***")


@pytest.mark.parametrize(
    "text",
    [
        "",
        "?????????",
        "Refused a token: it has expired",
        "The Authorization header must be: Bearer and a token",
        "tokens=3 and no secret",
        "eyJ.eyJ.eyJ",
        "internal-eyJournal-balancer-1234567890.eu-west-1.elb.amazonaws.com",
        "/ws?room=token",
        "/rooms?key=lobby and no secret=yes",
        "Réfusé: « token »",
    ],
)
def test_what_is_no_token(text: str) -> None:
    """A sentence about tokens stays as it is."""
    assert redact(text) == text


@given(st.text(alphabet="?&=;%'\"tokenTOKEN74eyJ. \n", max_size=60))
def test_any_text(text: str) -> None:
    """Redacting twice is redacting once, and behind `token=` nothing is left."""
    shown = redact(text)
    assert redact(shown) == shown
    assert "secret" not in redact(f"{text}?token=secret")


@given(st.text(alphabet="ab\n", max_size=60), st.integers(2, 60))
def test_cut(text: str, limit: int) -> None:
    """A text is cut to its bound and says so; whole lines of its end are kept."""
    shown = cut(text, limit)
    if len(text) <= limit:
        assert shown == text
        return
    head, _, tail = shown.partition("… [")
    left_out, _, tail = tail.partition(" characters left out]")
    assert text.startswith(head)
    assert text.endswith(tail)
    assert len(head) + len(tail.removeprefix("\n")) <= limit
    assert len(text) == len(head) + int(left_out) + len(tail.removeprefix("\n"))


def test_a_token_that_is_cut() -> None:
    """What is left of a token of which a text's limit leaves a part is not recognised, nor kept."""
    line = f"?token={'x' * 50}{SIGNATURE}"
    for limit in range(20, len(line)):
        assert "x" not in redact(cut(line, limit))
        assert SIGNATURE[-5:] not in redact(cut(f"{line}\nlast line", limit + 10))


def filtered(message: Any, *arguments: Any, **extra: object) -> logging.LogRecord:
    record = logging.LogRecord("sanic.root", logging.INFO, __file__, 1, message, arguments, None)
    record.__dict__.update(extra)
    assert TokenFilter().filter(record)
    return record


class TestFilter:
    @pytest.mark.parametrize(
        ("message", "arguments"),
        [
            ("Refused %s", (f"/ws?token={JWT}",)),
            ("?token=%s", (JWT,)),
            ("Refused %r", (ValueError(f"?token={JWT}"),)),
            ("Refused %(url)s", ({"url": f"?token={JWT}"},)),
            (ValueError(f"?token={JWT}"), ()),
            (f"?token={JWT}", (1, "too many arguments")),
            ("%d", (f"?token={JWT}",)),
        ],
    )
    def test_message(self, message: object, arguments: tuple[object, ...]) -> None:
        """A token is hidden in the template, in arguments of any kind, and across both."""
        text = logging.Formatter().format(filtered(message, *arguments))
        assert "***" in text
        assert SIGNATURE not in text

    def test_an_ordinary_line(self) -> None:
        """It is formatted as always."""
        assert filtered("%d clients of %s", 3, "pod").getMessage() == "3 clients of pod"
        assert filtered("100 %").getMessage() == "100 %"

    def test_a_traceback(self) -> None:
        """A token in an exception's text is hidden, the traceback is kept."""
        for text in (f"/ws?token={JWT}", "nothing to hide"):
            try:
                raise ValueError(text)
            except ValueError:
                record = filtered("It failed", exc_info=sys.exc_info())
            shown = logging.Formatter().format(record)
            assert "Traceback (most recent call last)" in shown
            assert "test_a_traceback" in shown
            assert shown.endswith(f"ValueError: {redact(text)}")

    def test_a_traceback_that_was_formatted(self) -> None:
        """A second handler's record holds the text only, which is redacted too."""
        record = filtered("x", exc_text=f"ValueError: ?token={JWT}")
        assert record.exc_text == "ValueError: ?token=***"

    def test_extras(self) -> None:
        """What an access log has as extra attributes is redacted, and numbers stay numbers."""
        record = filtered("", request=f"GET /ws?token={JWT}", status=200, duration=None)
        assert (record.request, record.status, record.duration) == ("GET /ws?token=***", 200, None)

    def test_it_is_cut(self) -> None:
        """A long line is cut before anything looks at it."""
        text = filtered("%s", "x" * 10**6).getMessage()
        assert len(text) < MAX_LOGGED_CHARACTERS + 100
        assert text.endswith("characters left out]")

    def test_what_cannot_be_formatted(self) -> None:
        """A mistake in a log call is a line, and does not spill its arguments."""
        assert "does not fit" in filtered("%d", f"?token={JWT}").getMessage()


def test_installed_once() -> None:
    """However many applications there are, a record is filtered once."""
    for _ in range(2):
        keep_tokens_out_of_logs()
    for name in LOGGERS:
        filters = logging.getLogger(name).filters
        assert sum(isinstance(present, TokenFilter) for present in filters) == 1
