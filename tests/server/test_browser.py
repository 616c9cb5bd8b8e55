"""The bundled page, and the WebSocket of JavaScript, in a real Chromium.

Needs `pip install -e '.[browser]'` and `chromium` (or Chrome); skipped without them.
"""

from __future__ import annotations

import asyncio
import json
import shutil
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any
from uuid import uuid4

import jwt
import pytest
import pytest_asyncio

from sanic_chat.presence.own_part import LARGE_BYTES

from ..support.balancers import KINDS, TwoServers, proxy
from ..support.clients import running_server
from ..support.harness import DEADLINE, RedisProcess, ServerProcess, eventually

playwright = pytest.importorskip(
    "playwright.async_api", reason="Playwright is not installed: pip install -e '.[browser]'"
)
CHROMIUM = next(filter(None, map(shutil.which, ("chromium", "google-chrome"))), None)
if CHROMIUM is None:
    pytest.skip("Chromium is not installed: apt-get install chromium", allow_module_level=True)

pytestmark = pytest.mark.asyncio(loop_scope="module")

SECRET = "an-example-secret-of-more-than-32-bytes"
ANNA = "anna, whose name is a long one <b>"
ALL = ["join", "publish", "presence"]


def token(user: str = ANNA, **claims: Any) -> str:
    return jwt.encode({"sub": user, **claims}, SECRET, algorithm="HS256")


@pytest.fixture(scope="module")
def server(shared_redis: RedisProcess) -> Iterator[ServerProcess]:
    with running_server(
        REDIS_URL=shared_redis.url, AUTH_ENABLED="true", AUTH_SECRET=SECRET, AUTH_LEEWAY="0"
    ) as server:
        yield server


@pytest.fixture(scope="module")
def open_server(shared_redis: RedisProcess) -> Iterator[ServerProcess]:
    """A server that asks for no tokens, and has a place for one client."""
    with running_server(REDIS_URL=shared_redis.url, CHAT_MAX_CONNECTIONS="1") as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser() -> AsyncIterator[Any]:
    async with playwright.async_playwright() as api:
        browser = await api.chromium.launch(executable_path=CHROMIUM)
        yield browser
        await browser.close()


class Tab:
    """A page in a tab of its own, at a time that tests can move on, and its WebSockets."""

    def __init__(self, page: Any) -> None:
        self.page = page
        self.urls: list[str] = []
        """Where it has connected, or tried to."""
        self.failures: list[str] = []
        """What the browser says of handshakes that failed; its scripts are not told."""
        self.errors: list[Any] = []
        page.on("websocket", self._opened)
        page.on("pageerror", lambda error: self.errors.append(error))
        page.set_default_timeout(DEADLINE * 1000)

    def _opened(self, socket: Any) -> None:
        self.urls.append(socket.url)
        socket.on("socketerror", lambda failure: self.failures.append(failure))

    async def visit(self, server: ServerProcess, text: str | None = None) -> None:
        """Go to a server's page, with a token."""
        fragment = "" if text is None else f"#token={text}"
        await self.page.goto(f"http://127.0.0.1:{server.port}/{fragment}")

    async def shows(self, text: str, count: int = 1) -> None:
        """Wait until so many lines have a text in them."""
        lines = self.page.locator("#log li").filter(has_text=text)
        await eventually(lambda: _has(lines, count), f"{text!r} is shown {count} times")

    async def names_are(self, names: set[str]) -> None:
        """Wait until these are shown to be here."""

        async def are() -> bool:
            shown = await self.page.locator("#names li").all_inner_texts()
            return bool(sorted(shown) == sorted(names))

        await eventually(are, f"{names} are shown to be here")

    async def counts(self, text: str) -> None:
        """Wait until the line above the names is this."""
        count = self.page.locator("#count")
        await eventually(lambda: _is(count, text), f"{text!r} is told of who is here")

    async def lines(self) -> list[str]:
        lines: list[str] = await self.page.locator("#log li").all_inner_texts()
        return lines

    async def enter(self, field: str, text: str) -> None:
        """Put a text into a field, and send its form."""
        await self.page.fill(field, text)
        await self.page.press(field, "Enter")

    async def asks_for_a_token(self) -> bool:
        asks: bool = await self.page.locator("#renew").is_visible()
        return asks

    async def minutes_pass(self) -> None:
        """Have all that the page has put off happen."""
        await self.page.clock.fast_forward("10:00")

    async def socket(self, url: str, *protocols: str) -> dict[str, Any]:
        """Code, reason and first message that a script's WebSocket gets."""
        told: dict[str, Any] = await self.page.evaluate(
            """([url, protocols]) => new Promise((resolve) => {
                const socket = new WebSocket(url, protocols);
                const told = {protocol: "", message: null};
                socket.onopen = () => { told.protocol = socket.protocol; };
                socket.onmessage = (event) => { told.message = event.data; };
                socket.onclose = ({code, reason, wasClean}) => {
                    resolve({...told, code, reason, wasClean});
                };
            })""",
            [url, protocols],
        )
        return told


async def _is(part: Any, text: str) -> bool:
    return bool(await part.inner_text() == text)


async def _has(lines: Any, count: int) -> bool:
    return bool(await lines.count() == count)


@pytest_asyncio.fixture(loop_scope="module")
async def new_tab(browser: Any) -> AsyncIterator[Callable[[], Any]]:
    tabs: list[Tab] = []

    async def new_tab() -> Tab:
        page = await browser.new_page()
        await page.clock.install()
        tabs.append(Tab(page))
        return tabs[-1]

    yield new_tab
    for tab in tabs:
        assert tab.errors == []
        await tab.page.close()


# -- the page -------------------------------------------------------------------------------------


async def test_refused_and_told(server: ServerProcess, new_tab: Callable[[], Any]) -> None:
    """It shows each sentence, and comes back when something has changed, and not before."""
    tab = await new_tab()
    await tab.visit(server, token(exp=int(time.time()) - 100))
    await tab.shows("The token has expired")
    await tab.shows("closed (4401), and not coming back")
    assert await tab.asks_for_a_token()
    assert len(tab.urls) == 1
    await tab.enter("#token", token(rooms=[{"room": "garden", "allow": ALL}]))
    await tab.shows("You are not allowed into room 'lobby'")
    await tab.shows("closed (4403), and not coming back")
    await tab.enter("#room", "a?b")
    await tab.shows("Not a room name: a room name has 1 to 128 characters")
    await tab.shows("closed (4400), and not coming back")
    assert len(await tab.lines()) == 6
    await tab.minutes_pass()
    assert len(tab.urls) == 3
    await tab.enter("#room", "garden")
    await tab.shows("in room garden")
    assert not await tab.asks_for_a_token()
    assert not any("token" in url for url in tab.urls)
    assert tab.failures == []


async def test_no_token_and_a_strange_one(
    server: ServerProcess, new_tab: Callable[[], Any]
) -> None:
    """A page without a token asks for one; what no subprotocol can be is told too."""
    tab = await new_tab()
    await tab.visit(server)
    await tab.shows("A token is needed")
    await tab.enter("#token", "no token, for sure")
    await tab.shows("a token has no such characters")
    await tab.enter("#token", token())
    await tab.shows("in room lobby")


async def test_who_is_who(server: ServerProcess, new_tab: Callable[[], Any]) -> None:
    """Others are shown by their whole names, and nothing that they say becomes HTML."""
    room = f"room-{uuid4()}"
    tabs = [await new_tab() for _ in range(2)]
    for tab, user in zip(tabs, (ANNA, "<i>bert"), strict=True):
        await tab.visit(server, token(user))
        await tab.shows(f"you are {user}")
        await tab.enter("#room", room)
        await tab.shows(f"in room {room}")
    await tabs[0].names_are({"you", "<i>bert"})
    await tabs[1].enter("#text", "<img src=x onerror=alert(1)> hello")
    await tabs[0].shows("<i>bert<img src=x onerror=alert(1)> hello")
    await tabs[1].shows("you<img src=x onerror=alert(1)> hello")
    assert await tabs[0].page.locator("#log img, #log i").count() == 0


async def test_who_is_here(server: ServerProcess, new_tab: Callable[[], Any]) -> None:
    """Each user once, by the name that its token has, as text; a large room in numbers."""
    room, tab = f"room-{uuid4()}", await new_tab()
    await tab.visit(server, token())
    await tab.enter("#room", room)
    await tab.shows(f"in room {room}")
    await tab.counts("Users: 1, connections: 1")
    strange = "<img src=x onerror=alert(1)>"
    infos: dict[str, dict[str, Any]] = {
        "bert": {"name": "Bert"}, "carl": {"name": strange}, "dora": {"name": " "},
        "emil": {"name": 7}, ANNA: {},
    }  # fmt: skip
    async with AsyncExitStack() as stack:
        for user, info in infos.items():
            headers = {"Authorization": f"Bearer {token(user, info=info)}"}
            await stack.enter_async_context(server.connect(room, headers=headers))
        await tab.names_are({"you", "Bert", strange, "dora", "emil"})
        await tab.counts("Users: 5, connections: 6")
        assert await tab.page.locator("#names li[title=carl]").inner_text() == strange
        assert await tab.page.locator("#here img").count() == 0
        for number in range(LARGE_BYTES // 1000):
            headers = {"Authorization": f"Bearer {token('😀' * 250 + str(number))}"}
            await stack.enter_async_context(server.connect(room, headers=headers))
        await tab.counts("Users: about 35, connections: 36, too many to name")
        await tab.names_are(set())
    await tab.names_are({"you"})
    await tab.counts("Users: 1, connections: 1")
    await tab.enter("#room", "")
    await tab.shows("talking to everybody")
    assert not await tab.page.locator("#here").is_visible()


async def test_a_change_that_is_missed(server: ServerProcess, new_tab: Callable[[], Any]) -> None:
    """It asks for a roster, once in a while, until there is one."""
    room, tab = f"room-{uuid4()}", await new_tab()
    asks, began, lost = 0, time.monotonic(), []

    def relay(socket: Any) -> None:
        def sent(text: str) -> None:
            nonlocal asks
            asks += '"who"' in text
            there.send(text)

        def came(text: str) -> None:
            event = json.loads(text)["data"].get("event")
            if (event == "changed" and not lost) or (event == "roster" and asks == 1):
                lost.append(text)
            else:
                socket.send(text)

        there = socket.connect_to_server()
        socket.on_message(sent)
        there.on_message(came)

    await tab.page.route_web_socket("**/ws?room=room-*", relay)
    await tab.visit(server, token())
    await tab.enter("#room", room)
    await tab.shows(f"in room {room}")
    await tab.names_are({"you"})
    headers = [{"Authorization": f"Bearer {token(user)}"} for user in ("bert", "carl")]
    async with server.connect(room, headers=headers[0]):
        await eventually(lambda: lost, "a change is lost")
        assert asks == 0
        async with server.connect(room, headers=headers[1]):
            await tab.names_are({"you", "bert", "carl"})
    assert 1 < asks < 2 + time.monotonic() - began


async def test_renewal(server: ServerProcess, new_tab: Callable[[], Any]) -> None:
    """Before its token ends it asks for a new one, stays, and tells what is lost with the old."""
    tab = await new_tab()
    await tab.visit(server, token(exp=int(time.time()) + 6))
    await tab.shows("in room lobby")
    assert not await tab.asks_for_a_token()
    await tab.shows("your token ends in")
    await tab.enter("#token", token(rooms=[]))
    await tab.shows("the new token counts")
    await tab.shows("you are no longer in room lobby: ")
    assert not await tab.asks_for_a_token()
    assert len(tab.urls) == 1


async def test_a_token_that_ends(server: ServerProcess, new_tab: Callable[[], Any]) -> None:
    """Without a new one it is closed with 4401, and told so once."""
    tab = await new_tab()
    await tab.visit(server, token(exp=int(time.time()) + 2))
    await tab.shows("closed (4401), and not coming back")
    assert len(await tab.page.locator("text=The token has expired").all()) == 1
    await tab.minutes_pass()
    assert len(tab.urls) == 1


async def test_anonymous_and_full(open_server: ServerProcess, new_tab: Callable[[], Any]) -> None:
    """Who is nobody in particular is told so. One more gets 503, and comes back for a place."""
    tab, late = await new_tab(), await new_tab()
    await tab.visit(open_server)
    await tab.shows("you are anonymous, a new user at each connect: ")
    assert not await tab.asks_for_a_token()
    await late.visit(open_server)
    await late.shows("connection lost (1006), coming back")
    assert "503" in late.failures[0]
    await tab.page.close()
    await late.minutes_pass()
    await late.shows("in room lobby")


async def test_a_rolling_restart(
    shared_redis: RedisProcess, new_tab: Callable[[], Any], tmp_path: Path
) -> None:
    """Behind a balancer it comes back by itself, as often as its server is restarted."""
    kind = next((kind for kind in KINDS if kind.asks_another and kind.path), None)
    if kind is None:
        pytest.skip("no balancer is installed that asks another server: apt-get install haproxy")
    servers = TwoServers([shared_redis.url] * 2)
    tab = await new_tab()
    try:
        with proxy(kind, servers, tmp_path) as front:
            await tab.visit(front)
            await tab.shows("in room lobby")
            for index in (0, 1):
                await asyncio.to_thread(servers.restart, index)
            times = sum("coming back" in line for line in await tab.lines())
            assert times in (1, 2)
            await tab.shows("in room lobby", times + 1)
            await tab.enter("#text", "still here")
            await tab.shows("youstill here")
    finally:
        servers.close()


# -- the WebSocket of JavaScript ------------------------------------------------------------------


async def test_a_script_is_told(server: ServerProcess, new_tab: Callable[[], Any]) -> None:
    """`onclose` has code and sentence, after an event that has them too; an orderly close."""
    tab = await new_tab()
    await tab.visit(server)
    for path, claims, code in (
        ("/ws/a%2Bb", {}, 4400),
        ("/ws", {"exp": 1}, 4401),
        ("/ws/secret", {"rooms": []}, 4403),
    ):
        url = server.url(f"/api/chat-api{path}")
        told = await tab.socket(url, "sanic-chat.v1", f"bearer.{token(**claims)}")
        error = json.loads(told["message"])["data"]
        assert (told["code"], told["reason"]) == (code, error["message"][:123])
        assert (told["protocol"], told["wasClean"]) == ("sanic-chat.v1", True)
        told = await tab.socket(url, f"bearer.{token(**claims)}")
        assert (told["code"], told["reason"], told["message"]) == (1006, "", None)
    for failure, status in zip(tab.failures, ("400", "HTTP Authentication", "403"), strict=True):
        assert status in failure


async def test_a_foreign_page(
    server: ServerProcess, open_server: ServerProcess, new_tab: Callable[[], Any]
) -> None:
    """It gets no 101, whatever it offers."""
    tab = await new_tab()
    await tab.visit(open_server)
    told = await tab.socket(server.url(), "sanic-chat.v1", f"bearer.{token()}")
    assert (told["code"], told["message"]) == (1006, None)
    assert "403" in tab.failures[-1]
