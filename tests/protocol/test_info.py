"""Info: which is taken, in which form, and which is not."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanic_chat.protocol.info import INFO_RULE, MAX_INFO_BYTES, MAX_INFO_KEYS, encode_info

KEYS = st.from_regex(r"\A[A-Za-z][A-Za-z0-9_]{0,3}\Z")
SCALARS = (
    st.text(st.characters(exclude_categories=["Cs"]), max_size=8)
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.booleans()
    | st.none()
)


@given(st.dictionaries(KEYS, SCALARS, min_size=1, max_size=6))
def test_compact_json(claim: dict[str, Any]) -> None:
    """An info is its claim as JSON, in one line, in the claim's order."""
    text = encode_info(claim)
    assert text is not None
    assert b"\n" not in text
    told = json.loads(text)
    assert (told, list(told)) == (claim, list(claim))
    assert {key: type(value) for key, value in told.items()} == {
        key: type(value) for key, value in claim.items()
    }


def test_no_blanks() -> None:
    assert encode_info({"a": 1, "b": "é"}) == '{"a":1,"b":"é"}'.encode()


def test_an_empty_one_is_none() -> None:
    assert encode_info({}) is None


def test_equal_ones_are_kept_once() -> None:
    first, second = (encode_info({"role": "guest", "of": text}) for text in ("us", "us"))
    assert first is second


@pytest.mark.parametrize("text", ["__proto__", "<img src=x onerror=alert(1)>", "\x00", "\u2028"])
def test_a_value_is_text(text: str) -> None:
    """Whatever stands in it."""
    info = encode_info({"name": text})
    assert info is not None
    assert json.loads(info) == {"name": text}


@pytest.mark.parametrize(
    "key", ["__proto__", "<img onerror>", "", "a b", "a\n", "7", "_a", "a-b", "é", "ａ", "a٧"]
)
def test_keys(key: str) -> None:
    """A key is ASCII letters, digits and _, and begins with a letter."""
    assert encode_info({"a": 1, "bB_9": 2, "constructor": 3}) is not None
    with pytest.raises(ValueError, match="letters, digits and _"):
        encode_info({"a": 1, key: "x"})


@pytest.mark.parametrize(
    "claim",
    [
        pytest.param(None, id="null"),
        pytest.param("a", id="text"),
        pytest.param([["a", 1]], id="a list"),
        pytest.param({"a": {}}, id="an object in it"),
        pytest.param({"a": []}, id="a list in it"),
        pytest.param({"a": float("nan")}, id="NaN"),
        pytest.param({"a": float("-inf")}, id="Infinity"),
        pytest.param({"a": "\ud800"}, id="half a surrogate pair"),
        pytest.param({f"a{n}": n for n in range(MAX_INFO_KEYS + 1)}, id="too many keys"),
        pytest.param({"a": "x" * (MAX_INFO_BYTES - 7)}, id="a byte too long"),
        pytest.param({"a": "é" * (MAX_INFO_BYTES // 2)}, id="too long in UTF-8"),
        pytest.param({"a": 10**MAX_INFO_BYTES}, id="too long a number"),
        pytest.param({"a" * MAX_INFO_BYTES: 1}, id="too long a key"),
    ],
)
def test_another_shape(claim: object) -> None:
    """It is refused with a sentence that says what is allowed."""
    with pytest.raises(ValueError, match=r"^a flat object") as raised:
        encode_info(claim)
    assert str(raised.value) == INFO_RULE


def test_bounds() -> None:
    """What just fits is taken."""
    assert encode_info({f"a{n}": n for n in range(MAX_INFO_KEYS)}) is not None
    longest = encode_info({"a": "x" * (MAX_INFO_BYTES - 8)})
    assert longest is not None
    assert len(longest) == MAX_INFO_BYTES
