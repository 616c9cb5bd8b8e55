"""A real Firefox without a window, driven over WebDriver BiDi, which it speaks by itself."""

from __future__ import annotations

import asyncio
import json
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect

from .harness import DEADLINE

FIREFOX = next(filter(None, map(shutil.which, ("firefox-esr", "firefox"))), None)
_LISTENING = b"WebDriver BiDi listening on "


class Firefox:
    """A browser with one tab."""

    def __init__(self, connection: ClientConnection) -> None:
        self._connection = connection
        self._count = 0
        self._tab = ""

    async def _command(self, method: str, **params: Any) -> Any:
        """Have a command done; returns its result. Raises AssertionError if it fails."""
        self._count += 1
        command = {"id": self._count, "method": method, "params": params}
        await self._connection.send(json.dumps(command))
        async with asyncio.timeout(3 * DEADLINE):
            while (answer := json.loads(await self._connection.recv())).get("id") != self._count:
                pass
        assert answer["type"] == "success", answer
        return answer["result"]

    async def begin(self) -> None:
        await self._command("session.new", capabilities={})
        tree = await self._command("browsingContext.getTree")
        self._tab = tree["contexts"][0]["context"]

    async def visit(self, url: str) -> None:
        """Load a page."""
        await self._command("browsingContext.navigate", context=self._tab, url=url, wait="complete")

    async def reload(self) -> None:
        """Load the page anew, as its user does."""
        await self._command("browsingContext.reload", context=self._tab, wait="complete")

    async def run(self, function: str, *arguments: Any) -> Any:
        """Call a function of JavaScript in the page, and wait for what it returns, as JSON."""
        call = f"Promise.resolve(({function})(...{json.dumps(arguments)})).then(JSON.stringify)"
        outcome = await self._command(
            "script.evaluate", expression=call, target={"context": self._tab}, awaitPromise=True
        )
        assert outcome["type"] == "success", outcome
        value = outcome["result"].get("value")
        return None if value is None else json.loads(value)


@asynccontextmanager
async def firefox(profile: Path) -> AsyncIterator[Firefox]:
    """A browser of one's own, which keeps what it has to in a folder."""
    assert FIREFOX is not None
    profile.mkdir()
    process = await asyncio.create_subprocess_exec(
        FIREFOX, "--headless", "--no-remote", "--profile", profile, "--remote-debugging-port", "0",
        stdout=asyncio.subprocess.DEVNULL,
        stderr=asyncio.subprocess.PIPE,
        env={"HOME": str(profile)},
    )  # fmt: skip
    assert process.stderr is not None
    try:
        async with asyncio.timeout(6 * DEADLINE):
            while _LISTENING not in (line := await process.stderr.readline()):
                assert line, "Firefox has ended"
        reading = asyncio.create_task(_read_on(process.stderr))
        url = line.decode().split(_LISTENING.decode())[1].strip()
        async with connect(f"{url}/session", max_size=None) as connection:
            browser = Firefox(connection)
            await browser.begin()
            yield browser
        reading.cancel()
    finally:
        process.kill()
        await process.wait()


async def _read_on(stream: asyncio.StreamReader) -> None:
    """Read what it complains of, so that it never has to wait."""
    while await stream.readline():
        pass
