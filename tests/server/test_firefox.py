"""The WebSocket of JavaScript in a real Firefox, which is stricter than Chromium in how it ends.

Skipped without `firefox-esr` or `firefox`.
"""

from __future__ import annotations

import json
import signal
from collections.abc import AsyncIterator, Iterator

import pytest
import pytest_asyncio

from ..support.clients import running_server
from ..support.firefox import FIREFOX, Firefox, firefox
from ..support.harness import RedisProcess, ServerProcess, eventually
from ..support.users import KNOWS_USERS

if FIREFOX is None:
    pytest.skip("Firefox is not installed: apt-get install firefox-esr", allow_module_level=True)

pytestmark = pytest.mark.asyncio(loop_scope="module")

SOCKET = """(url, protocols, act) => new Promise((resolve) => {
    const socket = window.socket = new WebSocket(url, protocols);
    const told = {protocol: "", messages: []};
    socket.onopen = () => {
        told.protocol = socket.protocol;
        if (act === "binary") socket.send(new Uint8Array(3));
        if (act === "large") socket.send("x".repeat(70000));
        if (act === "stay") resolve(told);
        if (act === "close") socket.close(1000, "bye");
    };
    socket.onmessage = (event) => { told.messages.push(event.data); };
    socket.onclose = ({code, reason, wasClean}) => {
        window.ended = {code, reason, wasClean};
        resolve({...told, code, reason, wasClean});
    };
})"""
"""Opens a WebSocket, acts, and tells how it ended; with the act `stay` that it is open."""


@pytest.fixture(scope="module")
def server(shared_redis: RedisProcess) -> Iterator[ServerProcess]:
    with running_server(
        REDIS_URL=shared_redis.url, CHAT_LOG_CLIENTS="1", CHAT_LOG_FORMAT="json"
    ) as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def browser(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Firefox]:
    async with firefox(tmp_path_factory.mktemp("firefox") / "profile") as browser:
        yield browser


@pytest.mark.parametrize(("act", "code"), [("close", 1000), ("binary", 1003), ("large", 1009)])
async def test_every_end_is_clean(
    browser: Firefox, server: ServerProcess, act: str, code: int
) -> None:
    """Whoever closes: each side gets the other's close frame, and waits for it."""
    await browser.visit(f"http://127.0.0.1:{server.port}/")
    told = await browser.run(SOCKET, server.url(), ["sanic-chat.v1"], act)
    assert (told["code"], told["wasClean"], told["protocol"]) == (code, True, "sanic-chat.v1")
    assert bool(told["reason"]) is (code != 1000)


async def test_a_refusal_that_is_told(browser: Firefox, shared_redis: RedisProcess) -> None:
    """A script hears why, first as a message, then as the reason."""
    with running_server(REDIS_URL=shared_redis.url, **KNOWS_USERS) as server:
        await browser.visit(f"http://127.0.0.1:{server.port}/")
        told = await browser.run(SOCKET, server.url(), ["sanic-chat.v1", "bearer.no.to.ken"], "")
    error = json.loads(told["messages"][0])["data"]
    assert (told["code"], told["wasClean"]) == (4401, True)
    assert told["reason"] == error["message"][:123]


async def test_a_page_that_is_loaded_anew(browser: Firefox, server: ServerProcess) -> None:
    """It closes with 1001, as presence relies on."""
    await browser.visit(f"http://127.0.0.1:{server.port}/")
    await browser.run(SOCKET, server.url("/api/chat-api/ws/reloaded"), [], "stay")
    await browser.reload()

    def closes() -> list[int]:
        lines = [json.loads(line) for line in server.log.splitlines() if '"reloaded"' in line]
        return [line["code"] for line in lines if "code" in line]

    await eventually(lambda: closes() == [1001], "the server is told that the page has gone")


async def test_a_server_that_stops(browser: Firefox, shared_redis: RedisProcess) -> None:
    """It closes cleanly with 1001, and the bundled page says that it comes back."""
    with running_server(REDIS_URL=shared_redis.url) as server:
        await browser.visit(f"http://127.0.0.1:{server.port}/")
        await eventually(lambda: shows(browser, "in room lobby"), "the page is in its room")
        await browser.run(SOCKET, server.url(), [], "stay")
        server.process.send_signal(signal.SIGTERM)
        await eventually(lambda: browser.run("() => window.ended"), "it is told of the end")
        assert (await browser.run("() => window.ended"))["code"] == 1001
        assert (await browser.run("() => window.ended"))["wasClean"] is True
        await eventually(lambda: shows(browser, "coming back"), "the page comes back")


async def shows(browser: Firefox, text: str) -> bool:
    """Whether the bundled page has a line with a text."""
    log: str = await browser.run("() => document.querySelector('#log').innerText")
    return text in log
