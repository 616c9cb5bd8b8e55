"""Permissions: what rules grant, and which claims are none."""

from __future__ import annotations

import gc
import re
import time
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanic_chat.protocol.permissions import MAX_RULES, MAX_STARS, Right, parse_permissions

RIGHTS: tuple[Right, ...] = ("join", "publish", "presence")


def allowed(claim: Any, room: str) -> set[str]:
    permissions = parse_permissions(claim)
    return {right for right in RIGHTS if permissions.allows(right, room)}


def matches(pattern: str, room: str) -> bool:
    return bool(allowed([{"match": pattern, "allow": ["join"]}], room))


def test_a_room() -> None:
    """A literal room has the rights of its rule, and no other room has them."""
    claim = [{"room": "lobby", "allow": ["join", "presence"]}]
    assert allowed(claim, "lobby") == {"join", "presence"}
    assert allowed(claim, "lobby2") == allowed(claim, "lobb") == allowed(claim, "Lobby") == set()


def test_grants_add_up() -> None:
    """Rules for the same room, and patterns that match it, are taken together."""
    claim = [
        {"room": "team:a", "allow": ["join"]},
        {"match": "team:*", "allow": ["publish"]},
        {"room": "team:a", "allow": ["presence"]},
    ]
    assert allowed(claim, "team:a") == {"join", "publish", "presence"}
    assert allowed(claim, "team:b") == {"publish"}


def test_no_rules_allow_nothing() -> None:
    assert allowed([], "lobby") == set()
    assert not parse_permissions([]).global_publish


def test_names_are_those_of_rooms() -> None:
    """A rule may name its room in another form of the same text (NFC)."""
    assert allowed([{"room": "cafe\u0301", "allow": ["join"]}], "caf\u00e9") == {"join"}


@pytest.mark.parametrize(
    ("pattern", "names", "others"),
    [
        ("team:*", ["team:", "team:a", "team:a:b"], ["team", "ateam:", "eam:a"]),
        ("*:a", [":a", "x:a", "x:a:a"], ["a", "x:a:b"]),
        ("a*b*c", ["abc", "axbxc", "abbcc", "abcbc"], ["acb", "ac", "ab", "bc"]),
        ("a*a", ["aa", "aba"], ["a", "ab"]),
        ("team *", ["team a", "team a b"], ["team", "team:a"]),
        ("cafe\u0301*", ["caf\u00e9", "caf\u00e9:1"], ["cafe", "caf"]),
        ("**", ["a", "x:y"], []),
        ("*", ["a", "x:y"], ["@me", "@anna"]),
        ("*anna", ["anna", "-anna"], ["@anna"]),
        ("@*", ["@anna", "@"], ["anna", "a@b"]),
        ("@a*", ["@anna"], ["@bert", "a@a"]),
    ],
)
def test_patterns(pattern: str, names: list[str], others: list[str]) -> None:
    """A star stands for any text; of personal rooms only `@` itself speaks."""
    assert [name for name in [*names, *others] if matches(pattern, name)] == names


@given(st.lists(st.sampled_from(["a", "b", "*"]), min_size=1, max_size=12), st.text("ab"))
def test_patterns_are_what_a_regular_expression_says(parts: list[str], name: str) -> None:
    pattern = "".join(parts)
    if "*" in pattern and name:
        expression = ".*".join(map(re.escape, pattern.split("*")))
        assert matches(pattern, name) == bool(re.fullmatch(expression, name))


def test_a_pattern_takes_no_steps_back() -> None:
    """The pattern that breaks regular expressions takes microseconds."""
    permissions = parse_permissions([{"match": "a*" * MAX_STARS + "b", "allow": ["join"]}])
    began = time.thread_time()
    for _ in range(1000):
        assert not permissions.allows("join", "a" * 128)
    assert time.thread_time() - began < 1  # a millisecond each, and it takes some


def test_everybody_needs_a_rule_of_its_own() -> None:
    """No pattern allows to speak to everybody."""
    assert parse_permissions([{"global": True}]).global_publish
    assert not parse_permissions([{"match": "*", "allow": list(RIGHTS)}]).global_publish
    assert allowed([{"global": True}], "lobby") == set()


LONG = [{"room": f"r{n}", "allow": ["join"]} for n in range(MAX_RULES + 1)]


@pytest.mark.parametrize(
    "claim",
    [
        None,
        "lobby",
        {"room": "lobby", "allow": ["join"]},
        ["lobby"],
        [{}],
        [{"room": "lobby"}],
        [{"room": "lobby", "allow": []}],
        [{"room": "lobby", "allow": "join"}],
        [{"room": "lobby", "allow": ["jon"]}],
        [{"room": "lobby", "allow": ["join"], "deny": ["publish"]}],
        [{"room": "lobby", "match": "a*", "allow": ["join"]}],
        [{"room": "lobby", "global": True, "allow": ["join"]}],
        [{"room": 7, "allow": ["join"]}],
        [{"room": None, "allow": ["join"]}],
        [{"room": "", "allow": ["join"]}],
        [{"room": "*", "allow": ["join"]}],
        [{"room": "a  b", "allow": ["join"]}],
        [{"match": "lobby", "allow": ["join"]}],
        [{"match": "", "allow": ["join"]}],
        [{"match": "a  *", "allow": ["join"]}],
        [{"match": "*" * (MAX_STARS + 1), "allow": ["join"]}],
        [{"match": "a" * 300 + "*", "allow": ["join"]}],
        [{"global": False}],
        [{"global": "yes"}],
        [{"global": True, "allow": ["join"]}],
        LONG,
    ],
    ids=lambda claim: repr(claim)[:60],
)
def test_what_are_no_rules(claim: Any) -> None:
    """A claim that means something else, or nothing, is refused with a sentence."""
    with pytest.raises(ValueError, match=r"\w{3}") as raised:
        parse_permissions(claim)
    assert len(str(raised.value)) < 400


@given(
    st.recursive(
        st.none() | st.booleans() | st.integers() | st.text(max_size=5),
        lambda inner: (
            st.lists(inner, max_size=3)
            | st.dictionaries(
                st.sampled_from(["room", "match", "allow", "global", "x"]), inner, max_size=3
            )
        ),
        max_leaves=8,
    )
)
def test_any_claim_is_read_or_refused(claim: Any) -> None:
    try:
        parse_permissions(claim)
    except ValueError:
        return


def test_equal_claims_are_kept_once() -> None:
    """As long as somebody has them, and no longer."""
    claim = [{"room": "kept-once", "allow": ["join"]}]
    one, other = parse_permissions(claim), parse_permissions([dict(claim[0])])
    assert one is other
    ref = id(one)
    del one, other
    gc.collect()
    assert not any(id(each) == ref for each in gc.get_objects())
