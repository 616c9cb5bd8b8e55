"""What all pods tell of rooms, members and users, page by page."""

from __future__ import annotations

import asyncio
import random
import time

import msgspec

from sanic_chat.cluster.directory import first
from sanic_chat.hub.channel import Channel
from sanic_chat.protocol.asking import MAX_REPLY_BYTES
from sanic_chat.protocol.cluster import Member, Room, RoomsQuery
from sanic_chat.protocol.identity import Identity

from ..support.harness import SLOW, RedisProcess
from ..support.pods import Crowd, running_pods

PAGE_SECONDS = 0.005
ROOMS = 50_000


async def all_rooms(crowd: Crowd, prefix: str = "", limit: int = 2) -> list[Room]:
    """All pages, one after the other."""
    found: list[Room] = []
    after: str | None = ""
    while after is not None:
        page = await crowd.cluster.directory.rooms(prefix, after, limit)
        assert page.complete
        assert len(page.rooms) <= limit
        found += page.rooms
        after = page.next
    return found


async def test_rooms(crowd: Crowd) -> None:
    """They are told by name, each once, with its sessions on all pods; empty ones are none."""
    await crowd.open(0, "b", "team:a")
    await crowd.open(1, "team:c", "b", "ä")
    await crowd.open(1, "@anna", "team:a", "team:b")
    assert await crowd.cluster.directory.rooms() == msgspec.structs.replace(
        await crowd.cluster.directory.rooms(limit=6), next=None
    )
    assert await all_rooms(crowd) == [
        Room("@anna", 1),
        Room("b", 2),
        Room("team:a", 2),
        Room("team:b", 1),
        Room("team:c", 1),
        Room("ä", 1),
    ]
    assert [room.name for room in await all_rooms(crowd, "team:")] == ["team:a", "team:b", "team:c"]
    assert await all_rooms(crowd, "none") == []
    exactly = await crowd.cluster.directory.rooms("team:b")
    assert [room.name for room in exactly.rooms] == ["team:b"]


async def test_rooms_that_come_and_go(crowd: Crowd) -> None:
    """What is there all the time is told once, whatever comes and goes between two pages."""
    lasting = [f"room-{number:02}" for number in range(0, 40, 2)]
    fleeting = [f"room-{number:02}" for number in range(1, 40, 2)]
    await crowd.open(0, *lasting[::2])
    await crowd.open(1, *lasting[1::2])
    found: list[str] = []
    after: str | None = ""
    while after is not None:
        comes, goes = random.choice(fleeting), random.choice(fleeting)
        session = await crowd.open(random.randrange(2), comes)
        page = await crowd.cluster.directory.rooms("room-", after, 3)
        session.handler.rooms.leave(session, goes)  # type: ignore[attr-defined]
        found += [room.name for room in page.rooms]
        after = page.next
    assert [name for name in found if name in lasting] == lasting
    assert len(set(found)) == len(found)


async def test_long_names(crowd: Crowd) -> None:
    """However long the names are, no answer has over 32 KiB, and all of them come."""
    names = sorted(f"@{number:02}{'%F0%9F%98%80' * 250}" for number in range(30))
    await crowd.open(0, *names[:20])
    await crowd.open(1, *names[10:])
    pages = []
    after: str | None = ""
    while after is not None:
        page = await crowd.cluster.directory.rooms("", after)
        assert len(msgspec.json.encode(page)) <= MAX_REPLY_BYTES
        pages.append(page.rooms)
        after = page.next
    assert len(pages) > 1
    assert [room.name for page in pages for room in page] == names


async def test_fifty_thousand_rooms(shared_redis: RedisProcess, room: str) -> None:
    """A page of a hundred keeps a pod busy for less than 5 ms, wherever it begins."""
    async with running_pods(shared_redis, 1, CHAT_REDIS_PREFIX=room[-12:]) as [pod]:
        names = [f"room-{number:08}" for number in random.sample(range(10**8), ROOMS)]
        for name in names:
            channel = pod.names.room_channel(name)
            pod.hub.channels[channel] = Channel(channel, name, b"")
        names.sort()
        for place in (0, ROOMS // 2, ROOMS - 101):
            tries = []
            for _ in range(30):
                began = time.thread_time()
                page = pod.cluster.directory._rooms_here(RoomsQuery("", names[place], 100))
                msgspec.json.encode(page)
                tries.append(time.thread_time() - began)
            assert [told.name for told in page.entries] == names[place + 1 : place + 101]
            print(f"{min(tries) * 1000:.2f} ms")
            assert min(tries) < PAGE_SECONDS * SLOW
        pod.hub.channels = {pod.hub.everyone.name: pod.hub.everyone}


def test_the_first_of_many() -> None:
    """They are found whatever the order is in which they come."""
    keys = list(range(5000))
    for order in (keys, keys[::-1], random.sample(keys, len(keys))):
        assert first(order, at_least=100, below=None, count=7) == keys[100:107]
        assert first(order, at_least=4998, below=None, count=7) == [4998, 4999]
        assert first(order, at_least=5, below=8, count=7) == [5, 6, 7]


async def test_a_room(crowd: Crowd) -> None:
    """It is told with its sessions, its users, and how many sessions each has there."""
    await crowd.open(0, "lobby", identity=Identity("anna"))
    await crowd.open(0, "lobby", identity=Identity("bert"))
    await crowd.open(1, "lobby", identity=Identity("anna"))
    await crowd.open(1, "elsewhere", identity=Identity("carl"))
    page = await crowd.cluster.directory.room("lobby")
    assert page.members == [Member("anna", 2), Member("bert", 1)]
    assert (page.sessions, page.users, page.exact, page.next) == (3, 2, True, None)
    assert page.complete

    page = await crowd.cluster.directory.room("lobby", limit=1)
    assert page.members == [Member("anna", 2)]
    assert page.next == "anna"
    assert (page.sessions, page.users, page.exact) == (3, 3, False), "anna counts on both"
    page = await crowd.cluster.directory.room("lobby", after="anna", limit=1)
    assert page.members == [Member("bert", 1)]
    assert page.next is None

    page = await crowd.cluster.directory.room("nowhere")
    assert (page.sessions, page.users, page.exact, page.members) == (0, 0, True, [])


async def test_a_user(crowd: Crowd) -> None:
    """All sessions are told, on whatever pods they are, each with its rooms."""
    sessions = [
        await crowd.open(number % 2, f"room-{number}", identity=Identity("anna"))
        for number in range(3)
    ]
    await crowd.open(1, identity=Identity("bert"))
    page = await crowd.cluster.directory.user("anna")
    assert [one.client_id for one in page.sessions] == sorted(one.client_id for one in sessions)
    by_id = {one.client_id: one for one in page.sessions}
    for number, session in enumerate(sessions):
        told = by_id[session.client_id]
        assert told.pod_id == crowd.pods[number % 2].id
        assert (told.rooms, told.more_rooms, told.queue) == ([f"room-{number}"], 0, 0)
        assert told.since.startswith("20")
    assert (page.user, page.next, page.complete) == ("anna", None, True)

    page = await crowd.cluster.directory.user("anna", limit=2)
    assert len(page.sessions) == 2
    assert page.next is not None
    rest = await crowd.cluster.directory.user("anna", after=page.next, limit=2)
    assert [one.client_id for one in page.sessions + rest.sessions] == sorted(by_id)
    assert (await crowd.cluster.directory.user("nobody")).sessions == []


async def test_an_anonymous_user(crowd: Crowd) -> None:
    """Without a token a user is its client ID."""
    session = await crowd.open(1)
    page = await crowd.cluster.directory.user(session.client_id)
    assert [one.client_id for one in page.sessions] == [session.client_id]


async def test_queues_are_told(crowd: Crowd) -> None:
    """Of a client that does not read, the messages that wait are told."""
    session = await crowd.open(0, "lobby", identity=Identity("slow"))
    data = '"' + "x" * 60_000 + '"'
    while session.queued_messages < 3:
        crowd.pods[0].message_received(session, b'{"data": %b}' % data.encode())
        await asyncio.sleep(0)
    [told] = (await crowd.cluster.directory.user("slow")).sessions
    assert told.queue == session.queued_messages
