"""A file system that cannot be written to, and a user who is nobody, for a command of a test's.

It takes root, `unshare` and `setpriv`, and no container: mounts of the command's own.
"""

from __future__ import annotations

import os
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from .harness import ROOT

USER = 10001

_SHUT = """
for place in $(cut -d' ' -f2 /proc/self/mounts); do
    mount -o remount,bind,ro "$place" 2>/dev/null || true
done
"""
_LEAVE_ROOT = (
    f"exec setpriv --reuid={USER} --regid={USER} --clear-groups --no-new-privs --inh-caps=-all "
    '--bounding-set=-all -- "$@"'
)


def need_sandbox() -> None:
    """Skip a test if there can be none."""
    if not sys.platform.startswith("linux") or os.getuid() != 0:
        pytest.skip("only root on Linux can mount a file system for a process")
    for program in ("unshare", "setpriv", "mount"):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed: apt-get install util-linux mount")


def sandboxed(*command: str, shared_memory: bool = False, first: bool = False) -> tuple[str, ...]:
    """A command that runs this one as user 10001, without rights, where nothing can be written.

    With `shared_memory` all may write to /dev/shm, as in containers. `first` makes it PID 1 of
    processes of its own: then the process that runs it, outside, is a parent that waits.
    """
    script = ["set -eu", *_reachable(), _SHUT]
    if shared_memory:
        script.append("mount -t tmpfs -o mode=1777 shm /dev/shm")
    script.append(_LEAVE_ROOT)
    own = ("--pid", "--fork", "--kill-child", "--mount-proc") if first else ()
    return ("unshare", "--mount", *own, "sh", "-c", "\n".join(script), "sh", *command)


def _reachable() -> Iterator[str]:
    """Lines that let others reach Python and this checkout, whoever's home they are in."""
    needed = [Path(sys.base_prefix).resolve(), Path(sys.prefix).resolve(), ROOT]
    shut = {
        path for one in needed for path in (one, *one.parents) if not path.stat().st_mode & 0o001
    }
    outermost = [path for path in sorted(shut) if not shut & set(path.parents)]
    inside = [one for one in needed if any(one.is_relative_to(path) for path in outermost)]
    if not inside:
        return
    yield "mount -t tmpfs ours /mnt"
    for number, one in enumerate(inside):
        yield f"mkdir /mnt/{number}; mount --bind '{one}' /mnt/{number}"
    for path in outermost:
        yield f"mount -t tmpfs -o mode=755 ours '{path}'"
    for number, one in enumerate(inside):
        yield f"mkdir -p '{one}'; mount --bind /mnt/{number} '{one}'"
