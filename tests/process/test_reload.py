"""The reload, step by step, with workers that do as the test says."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import pytest

from sanic_chat.errors import ConfigError
from sanic_chat.process import reload as module
from sanic_chat.process.reload import NewSettings, Reload


class Process:
    """A worker's process."""

    def __init__(self, pid: int) -> None:
        self.pid: int | None = pid
        self.exitcode: int | None = None
        self.is_up = False

    def kill(self) -> None:
        self.exitcode = -9


class Trial:
    """A rehearsal."""

    def __init__(self) -> None:
        self.is_over = True
        self.problem: str | None = None
        self.closed = False

    def close(self) -> None:
        self.closed = True


class Workers:
    """Places with processes, as a reload sees them."""

    def __init__(self, *names: str) -> None:
        self.at: dict[str, Any] = {}
        self.made = 0
        self.leaving = False
        self.trial = Trial()
        self.environment = "old"
        self.makes = True
        """Whether processes are made when that is asked for."""
        self._before: list[Callable[[], None]] = []
        for name in names:
            self.at[name] = self.new()
            self.at[name].is_up = True

    def new(self) -> Process:
        self.made += 1
        return Process(self.made)

    def names(self) -> list[str]:
        return [*self.at]

    def process(self, name: str) -> Any:
        return self.at.get(name)

    def is_up(self, process: Any) -> bool:
        return bool(process.is_up)

    def succeed(self, name: str) -> None:
        self.call_what_is_due()
        if self.makes:
            self.at[name] = self.new()

    def put_back(self, name: str, process: Any) -> None:
        self.at[name] = process

    def before_next_start(self, call: Callable[[], None]) -> None:
        self._before.append(call)

    def call_what_is_due(self) -> None:
        while self._before:
            self._before.pop(0)()

    def tls(self) -> Any:
        return "certificate"

    def rehearse(self, environment: Mapping[str, str]) -> Any:
        assert environment == {"A": "new"}
        return self.trial

    def anybody_leaves(self) -> bool:
        return self.leaving


class Clock:
    def __init__(self) -> None:
        self.now = 100.0

    def monotonic(self) -> float:
        return self.now


@pytest.fixture
def clock(monkeypatch: pytest.MonkeyPatch) -> Clock:
    clock = Clock()
    monkeypatch.setattr(module, "time", clock)
    return clock


@pytest.fixture
def workers() -> Workers:
    return Workers("a", "b")


@pytest.fixture
def accepted() -> list[str]:
    """What the workers' environment was when settings were accepted."""
    return []


@pytest.fixture
def reload(workers: Workers, accepted: list[str], clock: Clock, caplog: Any) -> Reload:
    caplog.set_level("INFO", "sanic.root")

    def set_environment(value: str) -> None:
        workers.environment = value

    settings = NewSettings(
        {"A": "new"},
        lambda: set_environment("new"),
        lambda: set_environment("old"),
        lambda: accepted.append(workers.environment),
    )

    def read(tls: Any) -> NewSettings:
        assert tls == "certificate"
        return settings

    return Reload(workers, read=read)


def test_one_after_the_other(
    reload: Reload, workers: Workers, accepted: list[str], caplog: pytest.LogCaptureFixture
) -> None:
    """Each new worker is up before the next is made; the old ones stay until all are."""
    reload.look()
    assert workers.made == 2  # nobody has asked
    reload.request()
    for name, pid in (("a", 3), ("b", 4)):
        reload.look()
        reload.look()
        assert workers.made == pid
        assert reload.starting == name
        assert reload.keeps_everybody
        workers.at[name].is_up = True
    workers.leaving = True
    reload.look()
    assert accepted == ["new"]
    assert (reload.starting, reload.keeps_everybody, reload.was_refused) == (None, False, False)
    for _ in range(3):
        reload.look()
    assert "The reload is over" not in caplog.text
    workers.leaving = False
    reload.look()
    assert "The reload is over, after 0.0 s" in caplog.text
    assert workers.trial.closed


def fails(reload: Reload, workers: Workers, why: str, caplog: pytest.LogCaptureFixture) -> None:
    """The reload ends with that sentence, and everything is as it was."""
    for _ in range(3):
        reload.look()
    assert caplog.messages[-1] == (f"The reload is refused, and the workers go on as before: {why}")
    assert (reload.starting, reload.keeps_everybody, reload.was_refused) == (None, False, True)
    workers.call_what_is_due()
    assert workers.environment == "old"
    assert [process.pid for process in workers.at.values()] == [1, 2]


def test_settings_that_are_wrong(workers: Workers, caplog: pytest.LogCaptureFixture) -> None:
    def read(tls: Any) -> NewSettings:
        raise ConfigError("no")

    reload = Reload(workers, read=read)
    reload.request()
    fails(reload, workers, "no", caplog)
    assert workers.made == 2


def test_a_rehearsal_that_fails(reload: Reload, workers: Workers, caplog: Any) -> None:
    """It is waited for, and nothing is made before."""
    reload.request()
    workers.trial.is_over = False
    for _ in range(3):
        reload.look()
    assert workers.made == 2
    workers.trial.problem = "no program"
    workers.trial.is_over = True
    fails(reload, workers, "no program", caplog)


def test_a_rehearsal_that_cannot_be_made(reload: Reload, workers: Workers, caplog: Any) -> None:
    def rehearse(environment: Mapping[str, str]) -> Any:
        raise OSError("no memory")

    workers.rehearse = rehearse  # type: ignore[method-assign]
    reload.request()
    fails(reload, workers, "no process can be made: no memory", caplog)


def test_the_second_new_worker_dies(reload: Reload, workers: Workers, caplog: Any) -> None:
    """Then the first has to go too, and both old ones are put back."""
    reload.request()
    reload.look()
    workers.at["a"].is_up = True
    reload.look()
    workers.at["b"].exitcode = 3
    why = (
        "worker b (PID 4) died with exit code 3 while it started; its own lines in the log say why"
    )
    fails(reload, workers, why, caplog)


def test_a_new_worker_that_cannot_be_made(reload: Reload, workers: Workers, caplog: Any) -> None:
    reload.request()
    reload.look()
    workers.at["a"].pid = None
    reload.not_made("a", "too many files")
    fails(reload, workers, "worker a cannot be made: too many files", caplog)


@pytest.mark.parametrize("makes", [True, False])
def test_a_new_worker_that_is_never_up(
    reload: Reload, workers: Workers, clock: Clock, makes: bool, caplog: Any
) -> None:
    """It has half a minute, and is killed then, if it was made at all."""
    workers.makes = makes
    reload.request()
    reload.look()
    reload.look()
    new = workers.at["a"]
    clock.now += 31
    fails(reload, workers, "worker a is not up within 30 s", caplog)
    assert new.exitcode == (-9 if makes else None)


def test_an_error_of_ours(reload: Reload, workers: Workers, caplog: Any) -> None:
    """It is a failed reload, with a traceback, and no more."""
    workers.trial = None  # type: ignore[assignment]
    reload.request()
    reload.look()
    assert caplog.messages[-1] == "The reload has failed, and the workers go on as before"
    assert "AttributeError" in caplog.text
    reload.look()


def test_a_place_that_goes_away(reload: Reload, workers: Workers, accepted: list[str]) -> None:
    """The server was scaled down meanwhile: nobody waits for that worker."""
    reload.request()
    reload.look()
    workers.at["a"].is_up = True
    reload.look()
    del workers.at["b"]
    reload.look()
    assert accepted == ["new"]


def test_asked_for_several_times(reload: Reload, workers: Workers, caplog: Any) -> None:
    """While one is under way that is one more, behind it."""
    reload.request()
    reload.request()
    for _ in range(2):
        reload.look()
        for name in workers.at:
            workers.at[name].is_up = True
    reload.request()
    reload.request()
    for _ in range(20):
        reload.look()
        for name in workers.at:
            workers.at[name].is_up = True
    assert caplog.text.count("The reload is over") == 2
    assert caplog.messages.count("Received SIGHUP: reloading, after this reload") == 2
    assert workers.made == 6


def test_the_server_ends_meanwhile(reload: Reload, workers: Workers) -> None:
    """What is tried is ended, and nothing is put back."""
    reload.close()
    reload.request()
    workers.trial.is_over = False
    reload.look()
    reload.close()
    assert workers.trial.closed
