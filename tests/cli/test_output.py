"""What clients wrote, on a terminal: plain text, whatever it is."""

from __future__ import annotations

import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanic_chat.cli.output import printable


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("hello, wörld 😀", "hello, wörld 😀"),
        ("\x1b]0;title\x07", r"\x1b]0;title\x07"),
        ("[red]no markup[/red]", "[red]no markup[/red]"),
        ("two\nlines\r\tand a tab", r"two\nlines\r\tand a tab"),
        ("\u202eright to left", r"\u202eright to left"),
        ("\x9b31m", r"\x9b31m"),
        ("\ud800", r"\ud800"),
        ("line\u2028separator", r"line\u2028separator"),
    ],
)
def test_what_is_shown(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(st.text())
def test_nothing_but_plain_characters(text: str) -> None:
    """Controls, format characters, surrogates and separators but the space are escaped."""
    shown = printable(text)
    assert not [c for c in shown if unicodedata.category(c)[0] in "CZ" and c != " "]
    if text.isascii() and text.isprintable():
        assert shown == text
