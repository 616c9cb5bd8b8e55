"""nginx as a child of the test, in the foreground, with all that it writes in one directory."""

from __future__ import annotations

import os
import shutil
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from .balancers import NGINX_FRAME
from .harness import DEADLINE, free_port, wait_until


@contextmanager
def nginx(directory: Path, location: str) -> Iterator[str]:
    """Run one with these lines in its one location; its URL. Skips if it is not installed."""
    program = shutil.which("nginx", path=f"{os.environ['PATH']}:/usr/sbin:/usr/local/sbin")
    if program is None:
        pytest.skip("nginx is not installed: apt-get install nginx-light")
    port = free_port()
    server = f"server {{ listen 127.0.0.1:{port}; location / {{ {location} }} }}"
    file = directory / "nginx.conf"
    file.write_text(NGINX_FRAME.replace("{configuration}", server))
    process = subprocess.Popen(
        [program, "-p", str(directory), "-c", str(file)],
        cwd=directory,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        start_new_session=True,
    )

    def answers() -> bool:
        assert process.poll() is None, "nginx ended"
        with suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
            return True
        return False

    try:
        wait_until(answers, "nginx answers")
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(DEADLINE)
