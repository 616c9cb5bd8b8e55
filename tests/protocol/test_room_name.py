"""The rule for room names."""

from __future__ import annotations

import re
import unicodedata
from types import SimpleNamespace

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sanic_chat.protocol import room_name as names_module
from sanic_chat.protocol.room_name import ROOM_NAME_RULE, check_room_name, normalise_room_name

E_ACUTE = "\u00e9"
E_AND_ACUTE = "e\u0301"


@pytest.mark.parametrize(
    "name",
    [
        pytest.param("a", id="one letter"),
        pytest.param("7", id="one digit"),
        pytest.param("Lobby-1", id="letters, dash, digit"),
        pytest.param("._~:@-/#!|=$(),", id="all punctuation"),
        pytest.param("@anna", id="a user's"),
        pytest.param("@me", id="one's own"),
        pytest.param("@" + "%F0%9F%98%80" * 256, id="that of a user with 256 characters"),
        pytest.param("...", id="three dots"),
        pytest.param(".a/..b/c.", id="dots that are no segments"),
        pytest.param("a/b/c", id="path"),
        pytest.param("/a//b/", id="empty segments"),
        pytest.param("team a, floor 2 (west)", id="inner spaces"),
        pytest.param("Grüße an alle!", id="inner spaces behind letters of two bytes"),
        pytest.param("stats", id="the word of another path"),
        pytest.param("user@example.org", id="address"),
        pytest.param("x" * 128, id="128 characters"),
        pytest.param("Grüße", id="umlaut"),
        pytest.param("комната", id="Cyrillic"),
        pytest.param("部屋", id="Han"),
        pytest.param("غرفة", id="Arabic"),
        pytest.param("नमस्ते", id="Devanagari with vowel signs"),
        pytest.param("٣", id="Arabic digit"),
        pytest.param("\U00020000", id="beyond the BMP"),
        pytest.param("é" * 128, id="128 characters of two bytes"),
        pytest.param("בְּרֵאשִׁ֖ית", id="Hebrew with points and accents"),
        pytest.param("བསྒྲུབས", id="Tibetan stack"),
        pytest.param("กำลัง", id="Thai"),
        pytest.param("ư̆́̃̀̉", id="many accents on one letter"),
        pytest.param("x" + "\u0316" * 30, id="30 marks"),
        pytest.param(("x" + "\u0316" * 30) * 4, id="30 marks on each letter"),
    ],
)
def test_good_names(name: str):
    """Letters, digits and marks of any script, spaces and some signs are a name as they stand."""
    assert normalise_room_name(name) == name


@pytest.mark.parametrize(
    "text",
    [
        pytest.param("", id="empty"),
        pytest.param(" ", id="space"),
        pytest.param(" a", id="space first"),
        pytest.param("a ", id="space last"),
        pytest.param("a  b", id="two spaces"),
        pytest.param("a\tb", id="tab"),
        pytest.param("a\u2003b", id="em space"),
        pytest.param("a\u3000b", id="ideographic space"),
        pytest.param("a\u00adb", id="soft hyphen"),
        pytest.param(".", id="dot"),
        pytest.param("@", id="nobody's"),
        pytest.param("@a b", id="a user's, not encoded"),
        pytest.param("@%61nna", id="a user's, encoded without need"),
        pytest.param("..", id="two dots"),
        pytest.param("../a", id="two dots first"),
        pytest.param("a/..", id="two dots last"),
        pytest.param("a/./b", id="dot inside"),
        pytest.param("é/../b", id="two dots inside"),
        pytest.param("a\u00a0b", id="no-break space"),
        pytest.param("lobby\n", id="newline at the end"),
        pytest.param("a\nb", id="newline"),
        pytest.param("a\r", id="carriage return"),
        pytest.param("a\x00", id="NUL"),
        pytest.param("é\x00", id="NUL behind a letter of two bytes"),
        pytest.param("é\n", id="newline behind a letter of two bytes"),
        pytest.param("*", id="star"),
        pytest.param("é*", id="star behind a letter of two bytes"),
        pytest.param("a?", id="question mark"),
        pytest.param("[ab]", id="brackets"),
        pytest.param("{a}", id="braces"),
        pytest.param("a\\b", id="backslash"),
        pytest.param("a%20b", id="percent"),
        pytest.param("a+b", id="plus"),
        pytest.param("a&b", id="ampersand"),
        pytest.param("a;b", id="semicolon"),
        pytest.param("a^b", id="caret"),
        pytest.param("a`b", id="backtick"),
        pytest.param('a"b', id="quote"),
        pytest.param("a'b", id="single quote"),
        pytest.param("<a>", id="angle brackets"),
        pytest.param("a\u202eb", id="right-to-left override"),
        pytest.param("a\u2066b", id="isolate"),
        pytest.param("a\u200bb", id="zero width space"),
        pytest.param("a\ufeff", id="byte order mark"),
        pytest.param("😀", id="emoji"),
        pytest.param("x" + "\u0316" * 31, id="31 marks"),
        pytest.param("½", id="fraction"),
        pytest.param("a\u2028", id="line separator"),
        pytest.param("\u0301a", id="combining mark first"),
        pytest.param("a\ud800", id="lone surrogate"),
        pytest.param("\ue000", id="private use"),
        pytest.param("a\U000e0041", id="tag character"),
        pytest.param("x" * 129, id="129 characters"),
        pytest.param("é" * 129, id="129 characters of two bytes"),
        pytest.param(E_AND_ACUTE * 129, id="129 characters once normalised"),
        pytest.param("é" * 100_000, id="far too long"),
    ],
)
def test_bad_names(text: str):
    """Anything else is refused."""
    assert normalise_room_name(text) is None


@pytest.mark.parametrize(
    ("text", "name"),
    [
        pytest.param(f"caf{E_AND_ACUTE}", f"caf{E_ACUTE}", id="letter and accent"),
        pytest.param("\u212b", "\u00c5", id="Ångström sign"),
        pytest.param("\u1112\u1161\u11ab", "\ud55c", id="Hangul"),
        pytest.param("q\u0307\u0323", "q\u0323\u0307", id="order of marks"),
        pytest.param(E_AND_ACUTE * 128, E_ACUTE * 128, id="256 characters that become 128"),
        pytest.param(
            unicodedata.normalize("NFD", "\u1f82") * 128, "\u1f82" * 128, id="512 that become 128"
        ),
        pytest.param("\u2126", "\u03a9", id="Ohm sign"),
    ],
)
def test_names_are_normalised(text: str, name: str):
    """Different ways to write a name (NFC) are one room, and length counts afterwards."""
    assert normalise_room_name(text) == name


def test_compatibility_characters_stay_themselves():
    """Normalising is NFC, not NFKC: a ligature is not two letters."""
    assert normalise_room_name("\ufb01") == "\ufb01"


def test_names_of_backends():
    """A backend's room has a name, and is nobody's own: there is nobody whom `@me` could mean."""
    assert check_room_name("cafe\u0301") == "caf\u00e9"
    assert check_room_name("@anna") == "@anna"
    for text in ("", "a*b", 5, None):
        with pytest.raises(ValueError, match="Not a room name: a room name has 1 to 128"):
            check_room_name(text)
    with pytest.raises(ValueError, match="name the user"):
        check_room_name("@me")


@given(text=st.text(min_size=1, max_size=140) | st.text("aé\u0301._~:@-/#!|=$(), *\n", max_size=8))
def test_the_rule_for_any_text(text: str):
    """A name keeps the rule, is NFC, and normalising it again changes nothing."""
    name = normalise_room_name(text)
    normal = unicodedata.normalize("NFC", text)
    allowed = (
        all(
            character in "._~:@-/#!|=$(), "
            or unicodedata.category(character) in _LETTERS_MARKS_DIGITS
            for character in normal
        )
        and not {".", ".."} & set(normal.split("/"))
        and all(normal.split(" "))
    )
    if text.startswith("@"):  # a user's, see test_personal_room
        assert name in (None, text)
        return
    if name is None:
        mark_first = unicodedata.category((normal + ".")[0])[0] == "M"
        assert not text or not allowed or mark_first or len(text) > 128
    else:
        assert allowed
        assert 1 <= len(name) <= 128
        assert name == normal == normalise_room_name(name)


_LETTERS_MARKS_DIGITS = frozenset(("Lu", "Ll", "Lt", "Lm", "Lo", "Mn", "Mc", "Me", "Nd"))


def test_the_rule_is_told():
    """The sentence that users get names the length and every sign."""
    assert "1 to 128 characters" in ROOM_NAME_RULE
    assert ". _ ~ : @ - / # ! | = $ ( ) ," in ROOM_NAME_RULE


@given(st.text(alphabet="a\u0316\u0301\u0344é", max_size=512))
@example("a" + "\u0316\u0301" * 255)
def test_no_long_row_of_marks_is_normalised(text: str):
    """Sorting marks takes a time that grows with the square of their number, which is bounded."""
    with pytest.MonkeyPatch.context() as patch:
        normalised: list[str] = []

        def normalize(form: str, text: str) -> str:
            normalised.append(text)
            return unicodedata.normalize(form, text)

        patch.setattr(
            names_module,
            "unicodedata",
            SimpleNamespace(**{**vars(unicodedata), "normalize": normalize}),
        )
        names_module._normalise.cache_clear()
        normalise_room_name(text)
    for text in normalised:
        assert not re.search("[\u0316\u0301\u0344]{31}", text)
