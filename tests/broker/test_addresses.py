"""From a name to a connection: slow name servers, and addresses that are of no use."""

from __future__ import annotations

import asyncio
import socket
import threading
import time
from collections.abc import Awaitable, Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest
import uvloop

from sanic_chat.broker import addresses
from sanic_chat.broker.addresses import Address, Name, connect, look_up
from sanic_chat.broker.endpoint import Endpoint
from sanic_chat.broker.link import LinkState

from ..support.harness import SLOW, eventually, free_port
from ..support.pairs import Pair

HOST = "redis.example"

Run = Callable[[Callable[[], Awaitable[None]]], None]


@pytest.fixture(params=[asyncio.new_event_loop, uvloop.new_event_loop], ids=["asyncio", "uvloop"])
def run(request: pytest.FixtureRequest) -> Run:
    """Run a coroutine function in an event loop of each kind."""

    def run_in_loop(function: Callable[[], Awaitable[None]]) -> None:
        async def with_timeout() -> None:
            async with asyncio.timeout(60):
                await function()

        with asyncio.Runner(loop_factory=request.param) as runner:
            runner.run(with_timeout())

    return run_in_loop


@pytest.fixture
def black_hole() -> Iterator[Address]:
    """An address that swallows what is sent there: nobody accepts, and no more can wait."""
    with ExitStack() as stack:
        listener = stack.enter_context(closing(socket.socket()))
        listener.bind(("127.0.0.1", 0))
        listener.listen(0)
        address = listener.getsockname()
        for _ in range(3):
            waiting = stack.enter_context(closing(socket.socket()))
            waiting.setblocking(False)
            waiting.connect_ex(address)
        yield address


@pytest.fixture
def silent() -> Iterator[Address]:
    """An address where connections are accepted, and nothing is answered."""
    with closing(socket.socket()) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(100)
        yield listener.getsockname()


def refusing() -> Address:
    """An address where nobody listens."""
    return ("127.0.0.1", free_port())


# -- several addresses -----------------------------------------------------------------------


async def open_at(host: str, port: int) -> tuple[asyncio.Transport, asyncio.Protocol]:
    return await asyncio.get_running_loop().create_connection(asyncio.Protocol, host, port)


def peer(opened: tuple[asyncio.Transport, asyncio.Protocol]) -> Address:
    host, port = opened[0].get_extra_info("peername")
    return host, port


async def closed(opened: tuple[asyncio.Transport, asyncio.Protocol]) -> None:
    opened[0].abort()
    await asyncio.sleep(0.01)


def test_the_first_that_answers(run, black_hole, shared_redis):
    """A black hole costs a quarter of a second, one that refuses nothing, a good one keeps all."""
    good = ("127.0.0.1", shared_redis.port)

    async def scenario() -> None:
        for before, at_least in (
            ([], 0),
            ([refusing()], 0),
            ([black_hole], 1),
            ([black_hole] * 2, 2),
        ):
            began = time.monotonic()
            opened = await connect([*before, good, refusing()], open_at)
            took = time.monotonic() - began
            assert peer(opened) == good
            assert took >= at_least * addresses.NEXT_ADDRESS_SECONDS * 0.9
            assert took < at_least * addresses.NEXT_ADDRESS_SECONDS + SLOW
            await closed(opened)
        assert len(asyncio.all_tasks()) == 1

    run(scenario)


def test_all_are_of_no_use(run):
    """Then each is told of, with its address."""
    one, other = refusing(), refusing()

    async def scenario() -> None:
        with pytest.raises(OSError, match=f"127.0.0.1:{one[1]}: .*; 127.0.0.1:{other[1]}: "):
            await connect([one, other], open_at)

    run(scenario)


def test_turns(shared_redis, silent):
    """Each attempt begins with another address."""
    asked: list[Address] = []

    async def scenario() -> None:
        async def fail(host: str, port: int) -> Any:
            asked.append((host, port))
            raise OSError("no")

        every = [("a", 1), ("b", 2), ("c", 3)]
        for turn, first in enumerate("abcab"):
            asked.clear()
            with pytest.raises(OSError, match="no"):
                await connect(every, fail, turn=turn)
            assert asked[0][0] == first
            assert sorted(asked) == every

    asyncio.run(scenario())


def test_cancelled(run, black_hole):
    """Who is cancelled while it connects leaves no socket and no task behind."""

    async def scenario() -> None:
        task = asyncio.ensure_future(connect([black_hole] * 3, open_at))
        await asyncio.sleep(2 * addresses.NEXT_ADDRESS_SECONDS + 0.1)
        assert len(asyncio.all_tasks()) > 2
        task.cancel()
        await asyncio.wait([task])
        assert task.cancelled()
        assert len(asyncio.all_tasks()) == 1

    run(scenario)


def test_two_answer_at_once(run, shared_redis):
    """One is taken, and the other closed."""
    good = ("127.0.0.1", shared_redis.port)

    async def scenario() -> None:
        both = asyncio.Event()

        pair: list[tuple[asyncio.Transport, asyncio.Protocol]] = []

        async def keep(host: str, port: int) -> Any:
            result = await open_at(host, port)
            pair.append(result)
            if len(pair) == 2:
                both.set()
            await both.wait()
            return result

        taken = await connect([good, good], keep)
        others = [other for other in pair if other is not taken]
        assert [transport.is_closing() for transport, _ in others] == [True]
        assert not taken[0].is_closing()
        await closed(taken)

    run(scenario)


# -- names -----------------------------------------------------------------------------------


def test_both_families_by_turns(monkeypatch):
    """The family that the system prefers comes first, then the other, by turns; none twice."""
    v6 = [("2001:db8::1", 1, 0, 0), ("2001:db8::2", 1, 0, 0), ("2001:db8::3", 1, 0, 0)]
    v4 = [("192.0.2.1", 1), ("192.0.2.1", 1), ("192.0.2.2", 1)]
    found = [(socket.AF_INET6, 1, 6, "", address) for address in v6]
    found += [(socket.AF_INET, 1, 6, "", address) for address in v4]
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: found)
    assert [host for host, _ in look_up("x", 1)] == [
        "2001:db8::1", "192.0.2.1", "2001:db8::2", "2001:db8::3", "192.0.2.2",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "name", ["no-such-name.invalid", "no..such..name", "x" * 64, "bücher" * 20]
)
def test_a_name_that_is_none(run, name):
    """The error has the name, whatever is wrong with it."""

    async def scenario() -> None:
        with pytest.raises(OSError, match="cannot be looked up") as error:
            await Name(name, 6379).addresses()
        assert repr(name) in str(error.value)

    run(scenario)


def test_a_slow_name_server(run, monkeypatch):
    """Its answer counts however late it is; there is one look-up at a time for all who ask."""
    monkeypatch.setattr(addresses, "LOOK_UP_SECONDS", 0.2)
    answer, asked = threading.Event(), []

    def slow(host: str, port: int) -> list[Address]:
        asked.append(host)
        assert answer.wait(30)
        return [("127.0.0.1", port)]

    async def scenario() -> None:
        name = Name(HOST, 6379, slow)
        for _ in range(3):
            results = await asyncio.gather(
                name.addresses(), name.addresses(), return_exceptions=True
            )
            assert [str(error) for error in results] == [
                f"the name '{HOST}' was not looked up within 0.2 s"
            ] * 2
        assert asked == [HOST]
        waiting = asyncio.gather(name.addresses(), name.addresses())
        answer.set()
        assert await waiting == [[("127.0.0.1", 6379)]] * 2
        assert asked == [HOST]
        assert await name.addresses() == [("127.0.0.1", 6379)]
        assert asked == [HOST] * 2  # anew

    run(scenario)


def test_nobody_waits_for_a_look_up_to_end(run, monkeypatch):
    """A loop ends while a name server is silent; what that says later interests nobody."""
    monkeypatch.setattr(addresses, "LOOK_UP_SECONDS", 0.1)
    answer = threading.Event()
    threads: list[threading.Thread] = []

    def silent_server(host: str, port: int) -> list[Address]:
        threads.append(threading.current_thread())
        answer.wait(30)
        raise OSError("too late")

    async def scenario() -> None:
        with pytest.raises(TimeoutError):
            await Name(HOST, 6379, silent_server).addresses()

    began = time.monotonic()
    run(scenario)
    assert time.monotonic() - began < 0.1 + SLOW
    [thread] = threads
    assert thread.daemon
    answer.set()
    thread.join(30)
    assert not thread.is_alive()


# -- a link ----------------------------------------------------------------------------------


async def proven(endpoint: Endpoint) -> None:
    """Both links of a pod come up, and messages pass."""
    pair = Pair(endpoint, timeout=4)
    pair.subscriber.start(pair.on_message)
    pair.publisher.start()
    pair.proof.start()
    try:
        await pair.proven()
    finally:
        pair.proof.stop()
        await pair.publisher.close(1)
        await pair.subscriber.close()


def test_addresses_that_do_not_work(run, shared_redis, black_hole, silent):
    """Whatever comes first (nobody, a black hole, a server that is silent), a link comes up."""
    good = ("127.0.0.1", shared_redis.port)
    for first in ([refusing()], [black_hole] * 3, [silent], [silent, black_hole, refusing()]):
        endpoint = Endpoint(f"redis://{HOST}", look_up=lambda host, port, f=first: [*f, good])
        run(lambda endpoint=endpoint: proven(endpoint))


def test_a_look_up_that_takes_longer_than_connecting_may(run, shared_redis):
    """Two seconds of DNS do not keep anybody from connecting."""

    def slow(host: str, port: int) -> list[Address]:
        time.sleep(2)
        return [("127.0.0.1", shared_redis.port)]

    run(lambda: proven(Endpoint(f"redis://{HOST}", look_up=slow)))


def test_the_log_has_the_name(monkeypatch, caplog):
    """Of a look-up that fails, or takes too long, the log tells which name it was."""
    monkeypatch.setattr(addresses, "LOOK_UP_SECONDS", 0.1)
    told: dict[str, str] = {}

    def fails(host: str, port: int) -> list[Address]:
        raise socket.gaierror(socket.EAI_NONAME, "Name or service not known")

    def hangs(host: str, port: int) -> list[Address]:
        time.sleep(0.5)
        return []

    async def scenario() -> None:
        for what in (fails, hangs):
            pair = Pair(Endpoint(f"redis://{HOST}", look_up=what))
            link = pair.publisher.link
            link.start()
            await eventually(lambda link=link: link.last_error, "it is told")
            assert link.state is LinkState.CONNECTING
            told[what.__name__] = link.last_error
            await link.close()

    asyncio.run(scenario())
    assert told == {
        "fails": f"the name '{HOST}' cannot be looked up: Name or service not known",
        "hangs": f"the name '{HOST}' was not looked up within 0.1 s",
    }
    assert all(f"cannot be used: {text}" in caplog.text for text in told.values())
