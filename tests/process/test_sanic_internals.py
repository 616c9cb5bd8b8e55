"""What `process` relies on inside Sanic, name by name: a release that changes one fails here.

Its modules say in their docstrings what they touch.
"""

from __future__ import annotations

import inspect
import multiprocessing
import os
import pickle
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from multiprocessing import resource_tracker, spawn
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import pytest
from sanic.exceptions import ServerKilled
from sanic.http.tls.context import CertSimple
from sanic.mixins import startup
from sanic.server import runners
from sanic.worker.constants import ProcessState
from sanic.worker.loader import AppLoader
from sanic.worker.manager import WorkerManager
from sanic.worker.process import WorkerProcess
from sanic.worker.serve import worker_serve

from sanic_chat.process.worker_states import serve_worker_states

from ..support.harness import ROOT, wait_until
from ..support.tls import self_signed_certificate

# -- process/manager_hooks, process/workers ------------------------------------------------------


@pytest.fixture
def manager() -> Iterator[WorkerManager]:
    """A manager of one worker process, which waits for a signal; not started."""
    handlers = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}
    context = multiprocessing.get_context("spawn")
    pipe: tuple[Connection, Connection] = multiprocessing.Pipe(True)
    manager = WorkerManager(1, signal.pause, {}, context, pipe, {})
    try:
        yield manager
    finally:
        for number, handler in handlers.items():
            signal.signal(number, handler)
        for process in manager.processes:
            process._current_process.kill()
            process._current_process.join()
            process._current_process.close()
        for end in pipe:
            end.close()


def run_a_cycle(manager: WorkerManager) -> Any:
    """One turn of the manager's loop: it reads at most one message, then the workers' states."""
    cycle = manager._poll_monitor()
    if cycle is None:
        manager._sync_states()
    return cycle


def test_the_processes_of_a_manager(manager: WorkerManager) -> None:
    """Workers are transient, with name, pid, state and exit code; `processes` are the started."""
    (process,) = manager.transient_processes
    assert list(manager.durable_processes) == []
    assert list(manager.processes) == []
    assert process.pid is None
    assert process.is_alive() is False

    manager.start()
    assert list(manager.processes) == [process]
    assert process.name == "Sanic-Server-0-0"
    assert process.pid > 0
    assert process.is_alive() is True
    assert process.state not in (ProcessState.FAILED, ProcessState.COMPLETED)


def test_a_dead_worker_is_failed(manager: WorkerManager) -> None:
    """A killed worker's state becomes FAILED, and its exit code says by which signal."""
    manager.start()
    (process,) = manager.transient_processes
    process._current_process.kill()
    wait_until(lambda: not process.is_alive(), "the worker is dead")
    run_a_cycle(manager)
    assert process.state is ProcessState.FAILED
    assert process.exitcode == -signal.SIGKILL


def test_a_message_with_a_name_restarts_that_worker(manager: WorkerManager) -> None:
    """`"{name}:"` through `monitor_publisher` makes the manager start a dead worker anew."""
    manager.start()
    (process,) = manager.transient_processes
    before = process.pid
    process._current_process.kill()
    wait_until(lambda: not process.is_alive(), "the worker is dead")
    run_a_cycle(manager)

    manager.monitor_publisher.send(f"{process.name}:")
    run_a_cycle(manager)
    assert process.pid != before
    assert process.is_alive() is True


def test_the_terminate_message_ends_the_loop(manager: WorkerManager) -> None:
    """`"__TERMINATE__"` signals the workers with SIGINT and ends the manager's loop."""
    manager.start()
    (process,) = manager.transient_processes
    manager.monitor_publisher.send("__TERMINATE__")
    assert run_a_cycle(manager).name == "BREAK"
    wait_until(lambda: not process.is_alive(), "the worker has ended")


def test_wait_for_ack_returns_when_all_workers_are_up(manager: WorkerManager) -> None:
    """`wait_for_ack` returns once every worker has said that it is up."""
    (process,) = manager.transient_processes
    process.set_state(ProcessState.ACKED)
    manager.wait_for_ack()


def test_where_the_processes_are(manager: WorkerManager) -> None:
    """`transient` has the workers by name, `durable` all else; each has its `processes`."""
    (worker,) = manager.transient.values()
    assert list(worker.processes) == list(manager.transient_processes)
    assert manager.durable == {}
    manager.manage("Inspector", signal.pause, {}, transient=False)
    (other,) = manager.durable.values()
    assert [process.name for process in other.processes] == ["Sanic-Inspector-0"]


def test_a_process_and_its_successor(
    manager: WorkerManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A restart puts a new `_current_process` in place; the old one is a child until it ends.

    With STARTUP_FIRST only `_terminate_soon` would end it, which is looked up on the class.
    """
    asked: list[WorkerProcess] = []
    monkeypatch.setattr(WorkerProcess, "_terminate_soon", lambda process: asked.append(process))
    manager.start()
    (process,) = manager.transient_processes
    before = process._current_process
    manager.monitor_publisher.send("__ALL_PROCESSES__::STARTUP_FIRST")
    run_a_cycle(manager)
    try:
        assert asked == [process]
        assert process.pid == process._current_process.pid != before.pid
        assert {before, process._current_process} <= set(multiprocessing.active_children())
        assert before.name == process._current_process.name == process.name
    finally:
        before.kill()
        before.join()


@pytest.mark.parametrize(
    ("message", "method", "arguments", "settings"),
    [
        ("Sanic-Server-0-0:", "restart", (), {"process_names": ["Sanic-Server-0-0"]}),
        ("__TERMINATE_EARLY__", "restart", (), {"process_names": ["__TERMINATE_EARLY__"]}),
        ("__SCALE__:3", "scale", (3,), {}),
        ("__TERMINATE__", "shutdown", (), {}),
    ],
)
def test_messages_become_calls_of_the_manager(
    manager: WorkerManager,
    monkeypatch: pytest.MonkeyPatch,
    message: str,
    method: str,
    arguments: tuple[Any, ...],
    settings: dict[str, Any],
) -> None:
    """What comes through the pipe is looked up on the manager; `restart` gets its names by name."""
    calls: list[tuple[Any, ...]] = []
    monkeypatch.setattr(manager, method, lambda *args, **kwargs: calls.append((args, kwargs)))
    manager.monitor_publisher.send(message)
    run_a_cycle(manager)
    [(args, kwargs)] = calls
    assert args == arguments
    assert settings.items() <= kwargs.items()


def test_a_process_that_cannot_be_made(
    manager: WorkerManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It has no PID, is not alive, and can be restarted."""
    (process,) = manager.transient_processes
    with monkeypatch.context() as patch:
        patch.setattr(process._current_process, "_Popen", lambda process: os.open("/nowhere/", 0))
        with pytest.raises(OSError, match="nowhere"):
            manager.start()
    assert process.pid is None
    assert process.is_alive() is False
    manager.monitor_publisher.send(f"{process.name}:")
    run_a_cycle(manager)
    assert process.pid > 0


def test_monitor_waits_for_ack_through_the_manager(
    manager: WorkerManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """`monitor` looks `wait_for_ack` up on the manager."""

    def wait_for_ack() -> None:
        raise ServerKilled

    monkeypatch.setattr(manager, "wait_for_ack", wait_for_ack)
    with pytest.raises(ServerKilled):
        manager.monitor()


def test_run_ends_with_cleanup(manager: WorkerManager, monkeypatch: pytest.MonkeyPatch) -> None:
    """`run` looks its steps up on the manager, `cleanup` last, and lets ServerKilled through."""
    steps: list[str] = []
    for step in ("start", "monitor", "join", "terminate"):
        monkeypatch.setattr(manager, step, lambda step=step: steps.append(step))

    def clean_up() -> None:
        steps.append("cleanup")
        raise ServerKilled

    monkeypatch.setattr(manager, "cleanup", clean_up)
    with pytest.raises(ServerKilled):
        manager.run()
    assert steps == ["start", "monitor", "join", "terminate", "cleanup"]


def test_a_failed_start_kills_through_the_manager(
    manager: WorkerManager, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A worker that ends before it is up makes the manager call its own `kill`."""

    def kill() -> None:
        raise ServerKilled

    monkeypatch.setattr(manager, "kill", kill)
    manager.monitor_publisher.send("__TERMINATE_EARLY__")
    with pytest.raises(ServerKilled):
        manager.wait_for_ack()


# -- process/listener and process/rehearsal -------------------------------------------------------


def test_who_makes_the_server_of_a_worker() -> None:
    """`worker_serve` calls `_serve_http_1`, by position; that calls `create_server` of its loop."""
    assert "_serve_http_1" in worker_serve.__code__.co_names
    call = inspect.getsource(worker_serve).rpartition("_serve_http_1(")[2]
    assert "loop," in call.split()
    assert "=" not in call.partition(")")[0]
    assert "loop.create_server(" in inspect.getsource(runners._serve_http_1)


def test_what_a_worker_is_made_of(manager: WorkerManager, tmp_path: Path) -> None:
    """The manager keeps what workers are called with: a loader of the program, and `ssl`."""
    assert manager._server_settings == {}
    source = inspect.getsource(startup.StartupMixin.serve)
    assert 'kwargs["app_loader"] = app_loader' in source
    assert 'kwargs["ssl"] = ssl.sanic' in source  # a dict, from which each worker loads it anew
    assert (
        pickle.loads(pickle.dumps(AppLoader("sanic_chat:create_app"))).module_name == "sanic_chat"
    )
    certificate = self_signed_certificate(tmp_path)
    settings = CertSimple(str(certificate.pem), str(certificate.key)).sanic
    assert {"cert": str(certificate.pem), "key": str(certificate.key)}.items() <= settings.items()


def test_what_spawned_processes_begin_with() -> None:
    """multiprocessing prepares the main module of a spawned process; the key can be left out."""
    preparation = spawn.get_preparation_data("rehearsal")
    assert {"sys_path", "sys_argv", "dir", "authkey"} <= preparation.keys()
    assert "if 'authkey' in data" in inspect.getsource(spawn.prepare)


# -- process/os_signals -------------------------------------------------------------------------


def test_the_set_up_of_signals() -> None:
    """A worker sets its signals up in `runners._setup_system_signals`, looked up when it serves."""
    assert "_setup_system_signals" in runners._serve_http_1.__code__.co_names
    parameters = inspect.signature(runners._setup_system_signals).parameters
    assert list(parameters) == ["app", "run_multiple", "register_sys_signals", "loop"]


def test_the_mask_of_the_resource_tracker() -> None:
    """multiprocessing's tracker sets the signal mask only if its `_HAVE_SIGMASK` says so."""
    launch = inspect.getsource(resource_tracker)
    assert launch.count("if _HAVE_SIGMASK:") == launch.count("signal.pthread_sigmask(")
    assert resource_tracker._HAVE_SIGMASK is True  # type: ignore[attr-defined]


# -- process/worker_states ----------------------------------------------------------------------


def test_the_server_of_the_workers_states() -> None:
    """`Sanic.serve` makes a `Manager`, and uses its `dict` and `shutdown` only."""
    source = inspect.getsource(startup.StartupMixin.serve)
    assert "sync_manager = Manager()" in source
    assert set(re.findall(r"sync_manager\.(\w+)", source)) == {"dict", "shutdown"}
    states = serve_worker_states()
    table = states.dict()
    table["worker"] = {"state": "ACKED"}
    assert pickle.loads(pickle.dumps(dict(table))) == {"worker": {"state": "ACKED"}}


GOES = """
from sanic_chat.process.worker_states import serve_worker_states

states = serve_worker_states()
table = states.dict()
table["worker"] = {}
states.shutdown()
"""


def test_the_table_is_not_said_goodbye_to() -> None:
    """A proxy whose manager is shut down asks for nothing when the interpreter ends."""
    done = subprocess.run([sys.executable, "-c", GOES], capture_output=True, text=True, cwd=ROOT)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
