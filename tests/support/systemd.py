"""A systemd of a test's own, with one unit, in namespaces that end with it.

It runs as PID 1 of a few processes, with its own mounts, host name and part of the control groups,
and shares the network. Of the machine's units it sees none.
"""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import sysconfig
from contextlib import suppress
from pathlib import Path

import pytest

from .harness import DEADLINE, ROOT, wait_until

PROGRAM = Path("/lib/systemd/systemd")
PYTHON = "/opt/python"
UNITS = "basic sysinit shutdown network-online multi-user"

_BOOT = """
set -eu
mount --make-rprivate /
mount --bind /proc/sys /proc/sys
mount -o remount,bind,ro /proc/sys  # systemd would raise limits of the whole machine
mount -t cgroup2 ours /sys/fs/cgroup
for place in /run /opt /usr/lib/systemd/system; do
    mount -t tmpfs -o mode=755 ours $place
done
mkdir -p /run/etc/upper /run/etc/work /opt/python /opt/sanic_chat /opt/source/sanic_chat
mount -t overlay -o lowerdir=/etc,upperdir=/run/etc/upper,workdir=/run/etc/work ours /etc
rm -rf /etc/systemd
mkdir -p /etc/systemd/system /etc/sanic_chat
cp -r "$1"/units/. /etc/systemd/system/
echo 'sanic_chat:x:9871:9871::/:/bin/false' >> /etc/passwd
echo 'sanic_chat:x:9871:' >> /etc/group
touch /etc/sanic_chat/env
mount --bind "$2" /opt/python
mount --bind "$1"/environment /opt/sanic_chat
mount --bind "$3" "/opt/sanic_chat/$4"
mount --bind "$5"/sanic_chat /opt/source/sanic_chat
touch "$1"/booted
exec env -i container=other PATH="$PATH" /lib/systemd/systemd --system --unit=test.target \
    --log-target=console --log-level=notice --show-status=no
"""
_SCRIPT = """\
#!/opt/sanic_chat/bin/python
from sanic_chat.cli.main import main

main()
"""


def need_systemd() -> None:
    """Skip a test if there can be none."""
    if not PROGRAM.exists():
        pytest.skip("systemd is not installed: apt-get install systemd")
    if os.getuid() != 0:
        pytest.skip("only root can start a systemd")


class Systemd:
    """A systemd that runs. `unit` is the text of its unit `sanic-chat`, which is not started yet.

    The program that it means is this checkout's, in /opt/sanic_chat, and its user is sanic_chat.
    `directory` is for files of its own.
    """

    def __init__(self, unit: str, directory: Path) -> None:
        self._group = _make_group(directory.name)
        self._log_file = directory / "log"
        self._log_file.touch()
        self._write_files(unit, directory)
        packages = Path(sysconfig.get_path("purelib"))
        self._booted = directory / "booted"
        self._output = (directory / "systemd.log").open("w+")
        self._process = subprocess.Popen(
            [
                "unshare", "--fork", "--kill-child", "--pid", "--mount", "--uts", "--ipc",
                "--cgroup", "--mount-proc", "sh", "-c", _BOOT, "sh", str(directory),
                str(Path(sys.base_prefix).resolve()), str(packages),
                str(packages.relative_to(sys.prefix)), str(ROOT),
            ],
            stdin=subprocess.DEVNULL,
            stdout=self._output,
            stderr=subprocess.STDOUT,
            preexec_fn=self._enter_group,
        )  # fmt: skip
        try:
            wait_until(self._is_up, "systemd is up")
        except BaseException:
            self.close()
            raise

    def _enter_group(self) -> None:
        (self._group / "cgroup.procs").write_text(str(os.getpid()))
        os.setsid()

    def _write_files(self, unit: str, directory: Path) -> None:
        units, bin_directory = directory / "units", directory / "environment/bin"
        (units / "sanic-chat.service.d").mkdir(parents=True)
        (units / "sanic-chat.service").write_text(unit)
        (units / "sanic-chat.service.d/log.conf").write_text(
            f"[Service]\nStandardOutput=append:{self._log_file}\nStandardError=inherit\n"
            # Where Python and this checkout have moved to.
            f"Environment=PYTHONPATH=/opt/source LD_LIBRARY_PATH={PYTHON}/lib\n"
        )
        for name in (*UNITS.split(), "test"):
            (units / f"{name}.target").write_text("[Unit]\nDescription=nothing\n")
        bin_directory.mkdir(parents=True)
        (directory / "environment/pyvenv.cfg").write_text(f"home = {PYTHON}/bin\n")
        packages = Path(sysconfig.get_path("purelib")).relative_to(sys.prefix)
        (directory / "environment" / packages).mkdir(parents=True)
        executable = f"python{sys.version_info.major}.{sys.version_info.minor}"
        (bin_directory / "python").symlink_to(f"{PYTHON}/bin/{executable}")
        (bin_directory / "sanic-chat").write_text(_SCRIPT)
        (bin_directory / "sanic-chat").chmod(0o755)

    def _is_up(self) -> bool:
        if self._process.poll() is not None:
            self._output.seek(0)
            why = self._output.read()
            if not self._booted.exists():
                pytest.skip(f"there can be no namespaces for a systemd here: {why}")
            raise AssertionError(f"systemd ended: {why}")
        return (
            self.pid is not None
            and self.ask("show", "-P", "ActiveState", "test.target") == "active"
        )

    @property
    def pid(self) -> int | None:
        """Its PID, outside; None if it does not run."""
        with suppress(FileNotFoundError, IndexError):
            children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children")
            return int(children.read_text().split()[0])
        return None

    @property
    def log(self) -> str:
        """What the unit's processes have printed."""
        return self._log_file.read_text()

    def set(self, **environment: str) -> None:
        """Add settings to the file that the unit names."""
        with Path(f"/proc/{self.pid}/root/etc/sanic_chat/env").open("a") as file:
            file.writelines(f"{name}={value}\n" for name, value in environment.items())

    def ask(self, *command: str) -> str:
        """What `systemctl` prints, errors too."""
        done = subprocess.run(
            ["nsenter", "--target", str(self.pid), "--mount", "--pid", "systemctl", *command],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=DEADLINE * 3,  # a start waits for the stop before it, and for the check
        )
        return done.stdout.strip()

    def show(self, name: str) -> str:
        """A property of the unit."""
        return self.ask("show", "-P", name, "sanic-chat")

    def process_status(self) -> dict[str, str]:
        """What the kernel says of the unit's main process."""
        path = Path(f"/proc/{self.pid}/root/proc/{self.show('MainPID')}/status")
        return dict(line.split(":\t", 1) for line in path.read_text().splitlines())

    def close(self) -> None:
        """End it and all its processes."""
        if (pid := self.pid) is not None:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)  # and with its PID 1 the whole namespace
        self._process.wait(DEADLINE)
        self._output.close()
        wait_until(self._group_is_gone, "its control group is empty")

    def _group_is_gone(self) -> bool:
        with suppress(OSError):
            for group in sorted(self._group.rglob("*/"), reverse=True):
                group.rmdir()
            self._group.rmdir()
        return not self._group.exists()


def _make_group(name: str) -> Path:
    """A control group of one's own."""
    for place in (Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/unified")):
        if (place / "cgroup.controllers").exists():
            with suppress(OSError):
                group = place / f"sanic_chat-{os.getpid()}-{name}"
                group.mkdir()
                return group
    pytest.skip("there are no control groups that could be had here")
