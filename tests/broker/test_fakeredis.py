"""A server that speaks Redis and is none: fakeredis, over TCP."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from ..support.clients import running_server
from ..support.harness import ServerProcess, free_port, receive


@pytest.fixture(scope="module")
def server() -> Iterator[ServerProcess]:
    """A chat server with two workers on fakeredis."""
    from fakeredis import TcpFakeServer  # takes a second, with numpy: not for each collection

    port = free_port()
    fake = TcpFakeServer(("127.0.0.1", port), server_type="redis")
    thread = threading.Thread(target=fake.serve_forever, daemon=True)
    thread.start()
    try:
        with running_server(workers=2, REDIS_URL=f"redis://127.0.0.1:{port}") as server:
            yield server
    finally:
        fake.shutdown()
        fake.server_close()
        thread.join()


async def test_pods_talk(server: ServerProcess) -> None:
    """Pods need nothing of Redis that its imitations lack: messages cross, stats are complete."""
    clients = await server.connect_to_pods(2, "imitation")
    a, b = clients.values()
    await a.send('{"data": 1}')
    for client in (a, b):
        assert (await receive(client))["data"] == 1
    stats = server.stats()
    assert stats["complete"] is True
    assert stats["totals"]["pods"] == 2
    for client in (a, b):
        await client.close()
