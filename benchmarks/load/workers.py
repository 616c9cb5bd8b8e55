"""Tells which worker a connection is on, where workers share a port. Linux only."""

from __future__ import annotations

import os
from collections.abc import Iterable
from pathlib import Path


def socket_owners(server_port: int, pids: Iterable[int]) -> dict[int, int]:
    """The process, one of these, that holds the server's end of a connection, by client's port."""
    inodes: dict[str, int] = {}
    for line in Path("/proc/net/tcp").read_text().splitlines()[1:]:
        fields = line.split()
        if int(fields[1].rpartition(":")[2], 16) == server_port:
            inodes[f"socket:[{fields[9]}]"] = int(fields[2].rpartition(":")[2], 16)
    owners = {}
    for pid in pids:
        for descriptor in Path(f"/proc/{pid}/fd").iterdir():
            try:
                target = os.readlink(descriptor)
            except FileNotFoundError:
                continue  # closed meanwhile
            if target in inodes:
                owners[inodes[target]] = pid
    return owners
