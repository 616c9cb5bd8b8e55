"""Users: whose sessions they are."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sanic_chat.pod.users import Users
from sanic_chat.protocol.identity import Identity
from sanic_chat.session.session import Session

from ..support.hub import HubHandler


def session(user: str | None, client_id: str) -> Session:
    return Session(
        HubHandler(),
        client_id=client_id,
        identity=None if user is None else Identity(user),
    )


def test_sessions_of_users() -> None:
    """A user has all his sessions, in their order, until they are gone."""
    users = Users(sessions_per_user=0)
    one, two, three = (session("anna", str(number)) for number in range(3))
    other, anonymous = session("bert", "3"), session(None, "4")
    for each in (one, two, other, three, anonymous):
        assert users.has_place(each.user)
        users.add(each)
    assert users.of("anna") == (one, two, three)
    assert (users.of("bert"), users.of("4")) == ((other,), (anonymous,))
    assert len(users) == 3
    users.discard(two)
    assert users.of("anna") == (one, three)
    users.discard(one)
    users.discard(one)
    assert users.of("anna") == (three,)
    users.discard(three)
    assert (users.of("anna"), len(users)) == ((), 2)


@pytest.mark.parametrize("limit", [1, 2, 5])
def test_a_limit(limit: int) -> None:
    """One more session than allowed is refused, and takes nobody's place when it goes."""
    users = Users(sessions_per_user=limit)
    sessions = [session("anna", str(number)) for number in range(limit)]
    for each in sessions:
        assert users.has_place("anna")
        users.add(each)
    one_more = session("anna", "more")
    assert not users.has_place("anna")
    assert users.has_place("bert")
    users.discard(one_more)
    assert users.of("anna") == tuple(sessions)
    users.discard(sessions[0])
    assert users.has_place("anna")


@given(st.lists(st.tuples(st.booleans(), st.integers(0, 9))), st.integers(0, 3))
def test_any_order(steps: list[tuple[bool, int]], limit: int) -> None:
    """Whatever comes and goes, each user has the sessions that a plain list says."""
    users = Users(sessions_per_user=limit)
    sessions = [session(f"user {number % 3}", str(number)) for number in range(10)]
    there: list[Session] = []
    for comes, number in steps:
        one = sessions[number]
        same = [each for each in there if each.user == one.user]
        if comes and one not in there:
            is_allowed = not limit or len(same) < limit
            assert users.has_place(one.user) is is_allowed
            if is_allowed:
                users.add(one)
                there.append(one)
        elif not comes:
            users.discard(one)
            there = [each for each in there if each is not one]
    for number in range(3):
        user = f"user {number}"
        assert list(users.of(user)) == [each for each in there if each.user == user]
    assert len(users) == len({each.user for each in there})
