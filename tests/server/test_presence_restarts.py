"""All pods are restarted, while users reload, lose their connections, leave, and come back."""

from __future__ import annotations

import asyncio
import random
import signal
from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager

from ..support.cases import EVERY_CASE
from ..support.crowd import some_at_a_time
from ..support.harness import (
    DEADLINE,
    RedisProcess,
    ServerProcess,
    StartServer,
    eventually,
    free_port,
)
from ..support.stayers import Belief, Stayer
from ..support.users import KNOWS_USERS

USERS = 500 if EVERY_CASE else 160
ROOMS = 4
GONE, RELOADING, LOSING = 20, 20, 20
WATCHERS = 3
SETTINGS = {
    **KNOWS_USERS,
    "CHAT_DRAIN_GRACE": "0.5",
    "CHAT_DRAIN_WINDOW": "2",
    "CHAT_DRAIN_TIMEOUT": "5",
    "CHAT_HANDSHAKE_TIMEOUT": "0.5",
}
BUSY_SECONDS = 4.0
"""In which users do what they do of their own will."""


class House:
    """Users in some rooms, each with a client, and watchers of all of these rooms.

    Every other client is told when to come back.
    """

    def __init__(self, ports: Sequence[int], room: str, *, overlaps: bool) -> None:
        self.rooms = [f"{room}-{number}" for number in range(ROOMS)]
        self.users = [
            Stayer(
                ports,
                f"user-{n:03}",
                f"/ws/{self.rooms[n % ROOMS]}" + "?events=system" * (n // ROOMS % 2),
                overlaps=overlaps,
            )
            for n in range(USERS)
        ]
        self.watchers = [
            Stayer(
                ports, f"watcher-{n}", f"/ws?events={events}", rooms=self.rooms, overlaps=overlaps
            )
            for n, events in enumerate(("system,presence", "system,presence", "presence"))
        ]
        # In order, so that of each of them half are told.
        self.leaving, *others = self.users
        self.gone = others[:GONE]
        self.reloading = others[GONE : GONE + RELOADING]
        self.losing = others[GONE + RELOADING : GONE + RELOADING + LOSING]

    def present(self, room: str) -> set[str]:
        """The users who are in a room, with a client that may be on its way."""
        users = self.users[self.rooms.index(room) :: ROOMS]
        return {each.user for each in [*users, *self.watchers] if not each.gone}

    def beliefs(self) -> list[tuple[str, Belief]]:
        """Each watcher's, with the room."""
        return [(room, watcher.beliefs[room]) for watcher in self.watchers for room in self.rooms]

    def all_right(self) -> bool:
        """Whether all watchers know who is there."""
        return all(self.rooms == sorted(watcher.beliefs) for watcher in self.watchers) and all(
            belief.users == self.present(room) and belief.roster.complete
            for room, belief in self.beliefs()
        )

    async def be_busy(self) -> None:
        """Have users do what they do, each at some moment."""

        async def at_some_time(deed: Callable[[], Awaitable[None]]) -> None:
            await asyncio.sleep(random.uniform(0, BUSY_SECONDS))
            await deed()

        deeds = [self.leaving.leave, *(each.reload for each in self.reloading)]
        deeds += [each.lose for each in self.losing]
        await asyncio.gather(*map(at_some_time, deeds))

    def check(self) -> None:
        """Each watcher was told once of each who left, and of nobody else.

        That goes for rosters that say they may not be complete, too, as one does that a pod gives
        while another one has not answered for a second.
        Of who left at once a watcher may have learned by the roster of a new connection.
        """
        lost = sorted((each.user, "lost") for each in self.gone)
        for watcher in self.watchers:
            beliefs = list(watcher.beliefs.values())
            told = sorted(each for belief in beliefs for each in belief.left)
            [[leaver, reason]] = [each for each in told if each not in lost]
            assert (leaver, reason in ("left", None)) == (self.leaving.user, True)
            assert [each for each in told if each in lost] == lost
            assert [each for belief in beliefs for each in belief.joined] == []
            assert watcher.connections > 1


@asynccontextmanager
async def inhabited(ports: Sequence[int], room: str, *, overlaps: bool) -> AsyncIterator[House]:
    """A house with all users, of which the watchers know."""
    house = House(ports, room, overlaps=overlaps)
    everybody = [*house.users, *house.watchers]
    try:
        await some_at_a_time(each.connect() for each in everybody)
        await eventually(house.all_right, "the watchers know who is there")
        for each in house.watchers:
            each.beliefs = {room: Belief(each.beliefs[room].roster) for room in house.rooms}
        yield house
    finally:
        await asyncio.gather(*(each.close() for each in everybody))


async def holds_while(
    restart: Callable[[], Awaitable[None]], ports: Sequence[int], room: str
) -> None:
    """Nobody is told anything wrong by a restart, however its clients come back."""
    async with (
        inhabited(ports, f"{room}-first", overlaps=True) as first,
        inhabited(ports, f"{room}-then", overlaps=False) as then,
    ):
        for house in (first, then):
            for each in house.gone:
                each.gone = True
        await asyncio.gather(restart(), first.be_busy(), then.be_busy())
        for house in (first, then):
            await eventually(house.all_right, "all is as it is", timeout=2 * DEADLINE)
            house.check()


async def test_pods_that_are_restarted_one_after_the_other(redis: RedisProcess, room: str) -> None:
    """Who comes back has never left, whether the old connection or the new one ends first."""
    ports = [free_port(), free_port()]

    def start(port: int) -> ServerProcess:
        return ServerProcess(
            "--single-process", environment={"REDIS_URL": redis.url, **SETTINGS}, port=port
        )

    servers = [start(port) for port in ports]

    async def restart() -> None:
        for index, port in enumerate(ports):
            servers[index].signal(signal.SIGTERM)
            assert await asyncio.to_thread(servers[index].wait) == 0
            servers[index].close()
            servers[index] = start(port)
            await asyncio.to_thread(servers[index].wait_ready)

    try:
        for server in servers:
            server.wait_ready()
        await holds_while(restart, ports, room)
    finally:
        for server in servers:
            server.close()


async def test_a_reload(start_server: StartServer, redis: RedisProcess, room: str) -> None:
    """The same of SIGHUP, with which new workers stand beside the old ones."""
    server = start_server(workers=2, REDIS_URL=redis.url, **SETTINGS)

    async def restart() -> None:
        server.signal(signal.SIGHUP)
        await eventually(lambda: "The reload is over" in server.log, "the reload is over")

    await holds_while(restart, [server.port], room)
