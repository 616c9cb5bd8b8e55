"""Crowds that come and go, watching each other: what each client is told, and that it is true."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from functools import partial

import pytest

from ..support.cases import EVERY_CASE
from ..support.harness import SLOW, RedisProcess, ServerProcess, eventually
from ..support.onlookers import Onlooker, onlookers, running_pods, spread

SECONDS = 2.0
"""In which all of a crowd do something."""
CROWD = 2000 if EVERY_CASE else 500
MAX_MESSAGES, MAX_BYTES = 20, 40_000

ROOMS, USERS_OF_A_ROOM = 40, 150
ROOMS_OF_A_USER = 10

Pods = list[ServerProcess]


@pytest.fixture
def pods(redis: RedisProcess) -> Iterator[Pods]:
    with running_pods(redis, 2) as pods:
        yield pods


def ports(pods: Pods) -> list[int]:
    return [pod.port for pod in pods]


def numbers(clients: Iterable[Onlooker]) -> tuple[int, int]:
    """The users and sessions that are told of these clients: the sum of the pods' users."""
    by_user = Counter((client.pod, client.user) for client in clients)
    return len(by_user), by_user.total()


async def agree(clients: list[Onlooker], room: str, expected: tuple[int, int]) -> None:
    """Wait until all of the clients are told these numbers."""

    def differ() -> Counter[tuple[int, int]]:
        told = (client.rosters[room] for client in clients)
        return Counter(
            (roster.number, roster.sessions)
            for roster in told
            if (roster.number, roster.sessions) != expected
        )

    try:
        await eventually(lambda: not differ(), "all agree", timeout=SLOW * 5)
    except AssertionError:
        raise AssertionError(f"{expected}, and these are told: {differ()}") from None


async def test_a_crowd_in_one_room(pods: Pods, room: str) -> None:
    """However many join within two seconds, and leave again, by close, by reset, or with their pod:
    nobody is told more than 20 messages of 40 KB for it, and all are told the truth."""
    # Of four users one has two clients on the first pod, one on the second, and two on both.
    places = [(0, 0), (1, 1), (0, 1), (1, 0)]
    users = [(f"user-{n:04}", pod) for n in range(CROWD // 2) for pod in places[n % 4]]
    async with onlookers(ports(pods), users) as clients:

        async def told_little(clients: list[Onlooker], expected: tuple[int, int]) -> None:
            await agree(clients, room, expected)
            most = max(each.messages for each in clients), max(each.bytes for each in clients)
            print(f"{len(clients)} clients: at most {most[0]} messages, {most[1]} bytes")
            assert most[0] <= MAX_MESSAGES
            assert most[1] <= MAX_BYTES
            for each in clients:
                each.messages = each.bytes = 0

        await spread([partial(each.join, [room]) for each in clients], SECONDS)
        await told_little(clients, numbers(clients))
        closing, resetting, staying = clients[0::4], clients[1::4], clients[2::4] + clients[3::4]
        for leaving in (
            [each.listener.leave for each in closing],
            [each.listener.reset for each in resetting],
        ):
            await spread(leaving, SECONDS)
        await told_little(staying, numbers(staying))
        pods[0].process.kill()
        staying = [each for each in staying if each.pod == 1]
        await told_little(staying, numbers(staying))
        assert not staying[0].rosters[room].infos, "so many are not named"


async def test_a_crowd_in_many_rooms(pods: Pods, room: str) -> None:
    """In 40 rooms of 150 users everybody has the right names two seconds after the last join; and
    of each who left, however that was, is told once, and why."""
    rooms = [f"{room}-{number}" for number in range(ROOMS)]
    places = [
        (f"user-{n:03}", n // 8 % 2) for n in range(ROOMS * USERS_OF_A_ROOM // ROOMS_OF_A_USER)
    ]
    async with onlookers(ports(pods), places) as clients:
        joins = []
        for n, client in enumerate(clients):
            some = [rooms[(n + 4 * each) % ROOMS] for each in range(ROOMS_OF_A_USER)]
            joins.append(partial(client.join, some))
        await spread(joins, SECONDS)
        before = {room: {each.user for each in clients if room in each.rosters} for room in rooms}
        assert {len(users) for users in before.values()} == {USERS_OF_A_ROOM}

        def right(clients: list[Onlooker], users: dict[str, set[str]]) -> bool:
            return all(
                roster.users == users[room] and roster.complete
                for client in clients
                for room, roster in client.rosters.items()
            )

        began = time.monotonic()
        await eventually(lambda: right(clients, before), "all are right", timeout=2 * SLOW)
        print(f"right {time.monotonic() - began:.2f} s after the last join")

        leaving, resetting = clients[0::8], clients[1::8]
        await spread([each.listener.leave for each in leaving], SECONDS)
        await spread([each.listener.reset for each in resetting], SECONDS)
        pods[0].process.kill()
        staying = [each for each in clients if each.pod == 1 and each.listener.is_open]
        reasons = dict.fromkeys((each.user for each in clients), "lost")
        reasons |= dict.fromkeys((each.user for each in leaving), "left")
        after = {room: {each.user for each in staying if room in each.rosters} for room in rooms}
        await eventually(lambda: right(staying, after), "all are right again")
        for client in staying:
            for room, roster in client.rosters.items():
                gone = before[room] - after[room]
                assert sorted(roster.left) == sorted((user, reasons[user]) for user in gone)
