"""This machine: each fault is made real, for a process or for a server that starts."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from sanic_chat.config.settings import Config
from sanic_chat.doctor import machine
from sanic_chat.doctor.findings import Finding
from sanic_chat.doctor.machine import Machine, Settings

from ..support.examined import doctor
from ..support.harness import RedisProcess, ServerProcess

linux = pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")


def found(code: str, subject: Machine) -> Finding:
    [check] = [check for check in machine.CHECKS if check.code == code]
    finding = check.run(subject)
    assert isinstance(finding, Finding)
    return finding


@contextmanager
def process(shell: str) -> Iterator[int]:
    """A process that has done that, and then sleeps; its PID."""
    with subprocess.Popen(
        ["bash", "-c", f"{shell}; echo done; read"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
    ) as running:
        assert running.stdout is not None
        running.stdout.readline()
        yield running.pid
        running.kill()


@linux
def test_descriptors_of_a_worker() -> None:
    """Those of the worker that has the fewest count, and not those of whoever asks."""
    config = Config(max_connections=500)
    with process("ulimit -Sn 600") as few, process("ulimit -Sn 628") as enough:
        finding = found("descriptors", Machine(config, pids=[enough, few]))
        assert finding.status == "warning"
        assert finding.measured.startswith("a worker may open 600 files")
        assert "LimitNOFILE=628" in finding.mend
        assert found("descriptors", Machine(config, pids=[enough])).status == "well"


def test_a_backlog_that_the_kernel_does_not_have() -> None:
    """A queue that is longer than the kernel allows is not to be had."""
    somaxconn = int(machine.SOMAXCONN.read_text())
    finding = found("backlog", Machine(Config(backlog=somaxconn + 1)))
    assert (finding.status, finding.measured) == ("warning", f"net.core.somaxconn is {somaxconn}")
    assert finding.mend == f"sysctl -w net.core.somaxconn={somaxconn + 1}"
    assert found("backlog", Machine(Config(backlog=somaxconn))).status == "well"


def test_more_workers_than_cores() -> None:
    usable = machine.usable_cores()
    assert found("cores", Machine(Config(), usable)).status == "well"
    finding = found("cores", Machine(Config(), usable + 1))
    assert finding.status == "warning"
    assert finding.mend == f"sanic-chat serve --workers {usable}"


def test_workers_that_run() -> None:
    """One that has died counts no more; if none is seen they are those of another namespace."""
    with process(":") as runs, process(":") as ended:
        pass
    dead = [runs, ended]
    assert machine.running([os.getpid(), *dead]) == [os.getpid()]
    assert machine.running(dead) == dead


@linux
def test_cores_that_a_process_may_use() -> None:
    """Those it is bound to, and not all there are."""
    program = "from sanic_chat.doctor.machine import usable_cores; print(usable_cores())"
    told = subprocess.run(
        ["taskset", "-c", "0", sys.executable, "-c", program], capture_output=True, check=True
    )
    assert told.stdout == b"1\n"


def test_cores_that_a_cgroup_pays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A quota of half a core is one core, of the cgroup itself or of one around it."""
    monkeypatch.setattr(machine, "CGROUPS", tmp_path)
    own = Path("/proc/self/cgroup").read_text().partition("0::")[2].split("\n")[0]
    folder = tmp_path / own.strip("/")
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "cpu.max").write_text("max 100000\n")
    free = machine.usable_cores()
    (tmp_path / "cpu.max").write_text("50000 100000\n")
    assert machine.usable_cores() == 1 <= free


@pytest.mark.parametrize(
    ("value", "status"),
    [("false", "warning"), ("no", "warning"), ("true", "well"), ("odd", "well"), (None, "well")],
)
def test_the_event_loop(monkeypatch: pytest.MonkeyPatch, value: str | None, status: str) -> None:
    """It is uvloop, unless the environment says otherwise, or there is none."""
    monkeypatch.delenv("SANIC_USE_UVLOOP", raising=False)
    if value is not None:
        monkeypatch.setenv("SANIC_USE_UVLOOP", value)
    assert found("event_loop", Machine(Config())).status == status


def test_no_uvloop(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SANIC_USE_UVLOOP", raising=False)
    monkeypatch.setattr(machine, "find_spec", lambda name: None)
    finding = found("event_loop", Machine(Config()))
    assert (finding.status, finding.mend) == ("warning", "pip install uvloop")


async def test_a_loop_that_lags(monkeypatch: pytest.MonkeyPatch) -> None:
    """Timers that come late are measured: here somebody blocks the loop again and again."""
    monkeypatch.setattr(machine, "LAG_TIMERS", 8)

    async def block() -> None:
        while True:
            time.sleep(machine.LAG_LIMIT_MS / 1000 + 0.02)
            await asyncio.sleep(0)

    blocking = asyncio.create_task(block())
    finding = await machine.loop_lag(Machine(Config()))
    blocking.cancel()
    assert finding.status == "warning"


def test_settings() -> None:
    """Those that keep a server from starting are a failure; a misspelt name is a warning."""
    assert machine.settings(Settings("", ())).status == "well"
    doubts = Config.doubts({"CHAT_BACKLOGS": "1"})
    finding = machine.settings(Settings("", doubts))
    assert (finding.status, finding.measured) == ("warning", doubts[0])
    code, findings = doctor(CHAT_BACKLOG="many")
    assert code == 2
    assert findings["settings"]["measured"].startswith("CHAT_BACKLOG is 'many'; allowed is")


# -- when a server starts ------------------------------------------------------------------------


def test_a_server_that_starts(shared_redis: RedisProcess) -> None:
    """What is cheap to see stands in its log: one sentence for each fault, and none if all is well.

    The measured limits of this machine may be too low for the defaults; not for what is set here.
    """
    settings = {"REDIS_URL": shared_redis.url, "CHAT_MAX_CONNECTIONS": "100"}
    for backlog, told in (("65535", 1), ("128", 0)):
        environment = {**settings, "CHAT_BACKLOG": backlog}
        with closing(ServerProcess("--single-process", environment=environment)) as server:
            server.wait_ready()
            assert server.log.count("net.core.somaxconn is ") == told
            assert server.log.count("WARNING") == told
            server.stop()


def test_it_costs_nothing() -> None:
    """A start is not held up by it: a hundredth of a second, if the machine is not busy."""
    least = float("inf")
    for _ in range(20):
        began = time.perf_counter()
        machine.warnings_at_start(Config(), 1)
        least = min(least, time.perf_counter() - began)
    assert least < 0.01
