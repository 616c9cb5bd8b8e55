"""The connections that publish: kept, made anew after an outage, and what an error means."""

from __future__ import annotations

import asyncio
import gc
import json
import signal
import subprocess
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import redis
import uvloop

from sanic_chat import NotPublished, PublishError, PublishUnconfirmed, apublish, publish
from sanic_chat.broker.role import REPLICA
from sanic_chat.errors import ConfigError
from sanic_chat.publishing import connections
from sanic_chat.publishing.connections import MAX_CONNECTIONS, MAX_SERVERS

from ..support.clients import HangUp, RedisProxy
from ..support.harness import DEADLINE, ROOT, RedisProcess
from ..support.replication import Replication, replication
from ..support.tls import self_signed_certificate

SHORT = 0.3
"""Seconds of patience with a Redis that will not answer."""


def publish_now(*arguments: Any, **options: Any) -> Any:
    return publish(*arguments, **options)


def publish_in_a_loop(*arguments: Any, **options: Any) -> Any:
    return asyncio.run(apublish(*arguments, **options))


def publish_in_uvloop(*arguments: Any, **options: Any) -> Any:
    return uvloop.run(apublish(*arguments, **options))


@pytest.fixture(
    params=[publish_now, publish_in_a_loop, publish_in_uvloop],
    ids=["publish", "apublish", "uvloop"],
)
def either(request: pytest.FixtureRequest) -> Callable[..., Any]:
    """Each of the ways."""
    way: Callable[..., Any] = request.param
    return way


class Listener:
    """Everything that is published on a Redis, as it came."""

    def __init__(self, process: RedisProcess) -> None:
        self._client = redis.Redis(port=process.port)
        self._subscriber = self._client.pubsub()
        self._subscriber.psubscribe("realtime:*")
        assert self._subscriber.get_message(timeout=DEADLINE)

    def take(self) -> Any:
        message = self._subscriber.get_message(timeout=DEADLINE)
        assert message
        return json.loads(message["data"])["data"]

    def close(self) -> None:
        self._subscriber.close()
        self._client.close()


@pytest.fixture
def listener(redis: RedisProcess) -> Iterator[Listener]:
    with closing(Listener(redis)) as one:
        yield one


def connections_of(process: RedisProcess) -> int:
    """How many connections were opened there so far, with the one that asks."""
    with redis.Redis(port=process.port) as admin:
        return int(admin.info("stats")["total_connections_received"])


def open_connections(process: RedisProcess) -> int:
    """How many connections are open there, with the one that asks."""
    with redis.Redis(port=process.port) as admin:
        return int(admin.info("clients")["connected_clients"])


# -- kept -------------------------------------------------------------------------------------


def test_a_connection_is_kept(redis: RedisProcess) -> None:
    publish("lobby", 0, url=redis.url)
    before = connections_of(redis)
    for number in range(20):
        publish("lobby", number, url=redis.url)
    assert connections_of(redis) == before + 1  # its own


async def test_an_event_loop_keeps_one(redis: RedisProcess, listener: Listener) -> None:
    """All that it publishes side by side goes over it, in the order of the calls."""
    before = connections_of(redis)
    await asyncio.gather(*(apublish("lobby", number, url=redis.url) for number in range(50)))
    assert [listener.take() for _ in range(50)] == [*range(50)]
    assert connections_of(redis) == before + 2


def test_an_event_loop_leaves_nothing(redis: RedisProcess) -> None:
    """What it kept is closed at its end, also if it never said so."""

    async def some() -> None:
        for number in range(MAX_SERVERS + 2):
            await apublish("lobby", number, url=redis.url, timeout=5 + number)
        [(_, kept)] = [connections._of_loops[asyncio.get_running_loop()]]
        assert len(kept) == MAX_SERVERS

    with warnings.catch_warnings():
        warnings.simplefilter("error")
        asyncio.run(some())
        gc.collect()
    assert not connections._of_loops

    loop = asyncio.new_event_loop()
    loop.run_until_complete(apublish("lobby", 1, url=redis.url))
    [(until_the_end, _)] = connections._of_loops.values()
    loop.run_until_complete(until_the_end.aclose())
    loop.close()


def test_threads(redis: RedisProcess, listener: Listener) -> None:
    """Many at once share a few connections: each message goes out once, each one's in order."""
    each, threads = 100, 2 * MAX_CONNECTIONS
    before = open_connections(redis)

    def work(name: int) -> None:
        for number in range(each):
            assert publish("lobby", [name, number], url=redis.url).subscribers == 1

    workers = [threading.Thread(target=work, args=[name]) for name in range(threads)]
    for worker in workers:
        worker.start()
    heard = [listener.take() for _ in range(each * threads)]
    for worker in workers:
        worker.join(DEADLINE)
    for name in range(threads):
        assert [number for one, number in heard if one == name] == [*range(each)]
    assert open_connections(redis) <= before + MAX_CONNECTIONS


FORK = """
import os, sys
from sanic_chat import publish
url = sys.argv[1]
publish("lobby", "first", url=url)
children = []
for child in range(4):
    if not (pid := os.fork()):
        for number in range(100):
            assert publish("lobby", [child, number], url=url).subscribers == 1
        os._exit(0)
    children.append(pid)
for number in range(100):
    assert publish("lobby", ["parent", number], url=url).subscribers == 1
assert [os.waitpid(pid, 0)[1] for pid in children] == [0] * 4
publish("lobby", "last", url=url)
"""


def test_forks(redis: RedisProcess, listener: Listener) -> None:
    """A process that was forked publishes over connections of its own, as its parent does."""
    command = [sys.executable, "-W", "error", "-c", FORK, redis.url]
    subprocess.run(command, cwd=ROOT, check=True, timeout=DEADLINE)
    assert listener.take() == "first"
    heard = [listener.take() for _ in range(500)]
    for name in (0, 1, 2, 3, "parent"):
        assert [number for one, number in heard if one == name] == [*range(100)]
    assert listener.take() == "last"


async def test_an_old_one_is_made_anew(
    redis: RedisProcess, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So that a name that leads elsewhere is followed."""
    publish("lobby", 0, url=redis.url)
    await apublish("lobby", 0, url=redis.url)
    before = connections_of(redis)
    monkeypatch.setattr(connections, "KEPT_SECONDS", 0)
    publish("lobby", 1, url=redis.url)
    await apublish("lobby", 1, url=redis.url)
    assert connections_of(redis) == before + 3


# -- outages ------------------------------------------------------------------------------------


async def test_redis_is_started_anew(redis: RedisProcess) -> None:
    """What is published next finds it: a connection that was hung up is noticed before its use."""
    for number in range(3):
        publish("lobby", number, url=redis.url)
        await apublish("lobby", number, url=redis.url)
        redis.kill()
        redis.start()
    with closing(Listener(redis)) as listener:
        publish("lobby", "back", url=redis.url)
        await apublish("lobby", "here", url=redis.url)
        assert [listener.take(), listener.take()] == ["back", "here"]


async def test_redis_is_away(redis: RedisProcess) -> None:
    """It is surely not published; and it is again, once Redis is back."""
    publish("lobby", 1, url=redis.url)
    redis.kill()
    for _ in range(2):
        with pytest.raises(NotPublished, match=r"Error \d+ connecting"):
            publish("lobby", 1, url=redis.url)
        with pytest.raises(NotPublished, match=r"Error \d+ connecting"):
            await apublish("lobby", 1, url=redis.url)
    redis.start()
    publish("lobby", 1, url=redis.url)
    await apublish("lobby", 1, url=redis.url)


async def test_redis_hangs(redis: RedisProcess) -> None:
    """What was sent is unconfirmed, with its ID, and may arrive, but once; the rest never does."""
    publish("lobby", 0, url=redis.url, timeout=SHORT)
    await apublish("lobby", 0, url=redis.url, timeout=SHORT)
    with closing(Listener(redis)) as listener:
        redis.signal(signal.SIGSTOP)
        with pytest.raises(PublishUnconfirmed, match="not known whether") as unconfirmed:
            publish("lobby", "sent", url=redis.url, timeout=SHORT)
        assert len(unconfirmed.value.id) == 36
        with pytest.raises(NotPublished):  # on a new connection, that is not answered
            publish("lobby", "never", url=redis.url, timeout=SHORT)
        results = await asyncio.gather(
            *(apublish("lobby", number, url=redis.url, timeout=SHORT) for number in range(3)),
            return_exceptions=True,
        )
        assert [type(result) for result in results] == [
            PublishUnconfirmed, NotPublished, NotPublished
        ]  # fmt: skip
        redis.signal(signal.SIGCONT)
        publish("lobby", "last", url=redis.url)
        assert [listener.take() for _ in range(3)] == ["sent", 0, "last"]


@pytest.mark.parametrize(
    ("answer", "kind"),
    [
        (b"", PublishUnconfirmed),
        (b"-LOADING Redis is loading the dataset in memory\r\n", NotPublished),
        (b"-NOPERM No permissions to access a channel\r\n", NotPublished),
    ],
    ids=["lost", "loading", "forbidden"],
)
def test_answers(
    shared_redis: RedisProcess, either: Callable[..., Any], answer: bytes, kind: type[PublishError]
) -> None:
    """An answer that says no is one; a connection that is lost behind the command is none."""
    with RedisProxy(shared_redis.port) as proxy:
        url = f"redis://127.0.0.1:{proxy.port}"
        either("lobby", 0, url=url)
        published = 0

        def misbehave(command: str) -> bytes | None:
            nonlocal published
            if command == "PUBLISH":
                published += 1
                if not answer:
                    raise HangUp
                return answer
            return None

        proxy.misbehaviour = misbehave
        with pytest.raises(PublishError) as error:
            either("lobby", 1, url=url)
        assert type(error.value) is kind
        assert published == 1


async def test_a_cancelled_one(redis: RedisProcess, listener: Listener) -> None:
    """It leaves no answer behind that the next one could take for its own."""
    await apublish("lobby", 0, url=redis.url)
    redis.signal(signal.SIGSTOP)
    task = asyncio.create_task(apublish("lobby", 1, url=redis.url))
    await asyncio.sleep(0.05)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    redis.signal(signal.SIGCONT)
    assert (await apublish("nobody", 2, url=redis.url)).subscribers == 1
    heard = [listener.take(), listener.take()]
    assert heard[0] == 0
    assert heard[1] in (1, 2)


# -- where Redis is -------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def pair() -> Iterator[Replication]:
    with replication() as pair:
        yield pair


def test_a_replica(pair: Replication, either: Callable[..., Any]) -> None:
    """It is refused: it would pass the message on to nobody, and say that all is well."""
    with pytest.raises(NotPublished, match=REPLICA):
        either("lobby", 1, url=pair.replica.url)
    either("lobby", 1, url=pair.primary.url)


def test_a_node_of_a_cluster(either: Callable[..., Any]) -> None:
    """It passes messages on to all others, whatever its role."""
    with closing(RedisProcess("--cluster-enabled", "yes")) as process:
        process.start()
        assert either("lobby", 1, url=process.url).subscribers == 0


def test_the_smallest_acl(redis: RedisProcess, either: Callable[..., Any]) -> None:
    """That of docs/redis.md for who only publishes is enough, with a database in the URL too."""
    page = (ROOT / "docs/redis.md").read_text()
    rights = "+publish &realtime:room:* &realtime:global"
    assert f"`{rights}`" in page
    with redis_client(redis) as admin:
        admin.execute_command(
            *f"ACL SETUSER shop on >p%w resetkeys resetchannels -@all {rights}".split()
        )
        admin.execute_command("ACL", "SETUSER", "default", "off")
    url = f"redis://shop:p%25w@127.0.0.1:{redis.port}/3"
    assert either("lobby", 1, url=url).subscribers == 0
    either(None, 1, url=url)
    with pytest.raises(NotPublished, match="permissions"):
        either("lobby", 1, url=url, prefix="other")
    for wrong in (url.replace("shop:p%25w", "shop:hunter2"), redis.url):
        with pytest.raises(NotPublished, match=r"(?i)invalid|authent") as refusal:
            either("lobby", 1, url=wrong)
        assert "hunter2" not in str(refusal.value)


def redis_client(process: RedisProcess) -> redis.Redis:
    return redis.Redis(port=process.port)


@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
def test_a_unix_socket(either: Callable[..., Any], tmp_path: Path) -> None:
    path = tmp_path / "redis.sock"
    # Of a socket that nobody listens on old releases of redis-py leave the client's open.
    with closing(RedisProcess("--unixsocket", str(path))) as process:
        process.start()
        either("lobby", 1, url=f"unix://{path}")
        process.kill()
        with pytest.raises(NotPublished, match=r"redis\.sock"):
            either("lobby", 1, url=f"unix://{path}")


def test_tls(shared_redis: RedisProcess, either: Callable[..., Any], tmp_path: Path) -> None:
    """A certificate is looked at, as the server does."""
    certificate = self_signed_certificate(tmp_path)
    with RedisProxy(shared_redis.port, tls=certificate.server_context()) as proxy:
        url = f"rediss://127.0.0.1:{proxy.port}"
        either("lobby", 1, url=f"{url}?ssl_ca_certs={certificate.pem}")
        with pytest.raises(NotPublished, match=r"CERTIFICATE_VERIFY_FAILED|Error 1 "):
            either("lobby", 1, url=url)


@pytest.mark.parametrize(
    "options",
    [
        "ssl_cert_reqs=none",
        "ssl_min_version=TLSv1.3&ssl_ca_certs=",
        "ssl_ciphers=ECDHE%2BAESGCM&ssl_ca_certs=",
        "ssl_ca_path=/nowhere&ssl_ca_certs=",
        "ssl_password=none&ssl_ca_certs=",
    ],
)
def test_options_of_tls(
    shared_redis: RedisProcess, either: Callable[..., Any], tmp_path: Path, options: str
) -> None:
    """Each does what it says; one that an old redis-py does not know is refused in a sentence."""
    certificate = self_signed_certificate(tmp_path)
    if options.endswith("="):
        options += str(certificate.pem)
    with RedisProxy(shared_redis.port, tls=certificate.server_context()) as proxy:
        try:
            either("lobby", 1, url=f"rediss://127.0.0.1:{proxy.port}?{options}")
        except ConfigError as error:
            name = options.partition("=")[0]
            sentence = f"'{name}' takes a newer redis-py than {redis.__version__}"
            assert sentence in str(error)  # noqa: PT017 - or there is none
            assert redis.VERSION < (5, 3)


def test_a_name_that_is_none(either: Callable[..., Any]) -> None:
    with pytest.raises(NotPublished):
        either("lobby", 1, url=f"redis://{'x' * 70}.invalid", timeout=SHORT)
