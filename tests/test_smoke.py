import asyncio

from .harness import receive


async def test_two_workers_embedded(start_server):
    """Clients on two workers talk."""
    server = start_server(workers=2)
    clients = await server.connect_to_pods(2, "lobby")
    a, b = clients.values()
    await a.send('{"data": 1}')
    assert (await receive(a))["data"] == 1
    assert (await receive(b))["data"] == 1
    await asyncio.gather(a.close(), b.close())
