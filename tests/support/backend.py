"""A backend: a program that uses the HTTP API of a server with a key."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import httpx

from .harness import DEADLINE, NO_TLS, eventually

SECRETS = {scope: scope[0].upper() * 16 + "0123456789abcdef" for scope in ("publish", "read")}
SECRET = "backend-0123456789abcdef-0123456789"
"""The secret of a key for everything."""
API_KEYS = ",".join(
    [
        f"backend:publish+read+admin:{SECRET}",
        *(f"only-{scope}:{scope}:{secret}" for scope, secret in SECRETS.items()),
    ]
)

WITH_API = {"CHAT_API_KEYS": API_KEYS, "CHAT_OPEN": "stats,metrics"}
"""The settings of a server with the API, whose stats and metrics take no key all the same."""


def bearer(secret: str = SECRET) -> dict[str, str]:
    """The header with a key."""
    return {"Authorization": f"Bearer {secret}"}


@asynccontextmanager
async def backend(http: str, secret: str = SECRET) -> AsyncIterator[Backend]:
    """A backend that asks the server at a URL, over connections that it keeps."""
    async with httpx.AsyncClient(
        base_url=http, headers=bearer(secret), timeout=DEADLINE, verify=NO_TLS
    ) as client:
        yield Backend(client)


async def drain(http: str, pod_id: str) -> None:
    """Have a pod drain, once the server at a URL knows it."""

    async def is_found() -> bool:
        async with backend(http) as program:  # anew: who leaves keeps no connection alive
            return (await program.post("/drain", {"pod_id": pod_id})).status_code == 200

    await eventually(is_found, f"{pod_id} is asked to drain")


class Backend:
    """A backend. All its calls return the answer, whatever that is."""

    def __init__(self, client: httpx.AsyncClient) -> None:
        self._client = client

    async def get(self, path: str, **query: str | int) -> httpx.Response:
        return await self._client.get(path, params=query)

    async def post(self, path: str, body: Any) -> httpx.Response:
        """Send JSON; `body` is that already if it is bytes."""
        content = body if isinstance(body, bytes) else json.dumps(body).encode()
        return await self._client.post(path, content=content)

    async def publish(self, data: Any, **fields: Any) -> httpx.Response:
        """Publish one message."""
        return await self.post("/publish", {"data": data, **fields})
