"""Changes of settings: what a reload takes, and what it leaves as it was."""

from __future__ import annotations

from pathlib import Path

import pytest

from sanic_chat.config.changes import NEEDS_RESTART, Changes, find_changes
from sanic_chat.config.env_file import change, with_env_file
from sanic_chat.errors import ConfigError

REDIS = "REDIS_URL=redis://127.0.0.1\n"


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chat.env"


def reloaded(path: Path, before: str, after: str, *, embedded: bool = False) -> Changes:
    """What a reload makes of two contents of the file."""
    path.write_text(before)
    running = with_env_file({"CHAT_ENV_FILE": str(path)})
    if embedded:
        running["REDIS_URL"] = "unix:///run/embedded.sock"
    path.write_text(after)
    changes = find_changes(running, embedded=embedded)
    change(running, changes.variables)
    assert running == changes.environment
    return changes


def test_new_values_and_old_ones(path: Path) -> None:
    """Values change, come and go, as the file says."""
    changes = reloaded(
        path,
        REDIS + "CHAT_RETRY_AFTER=5\nCHAT_STATS_ROOMS=5\n",
        REDIS + "CHAT_RETRY_AFTER=6\nCHAT_MAX_CONNECTIONS=9\n",
    )
    config = changes.config
    assert (config.retry_after, config.max_connections, config.stats_rooms) == (6, 9, 10)
    assert changes.variables["CHAT_STATS_ROOMS"] is None
    assert changes.notes == []


def test_what_needs_a_restart(path: Path) -> None:
    """It stays as it was, in each way in which it could have changed, and is told."""
    changes = reloaded(
        path,
        REDIS + "CHAT_BACKLOG=100\nCHAT_RESTART_LIMIT=3\n",
        REDIS + "CHAT_BACKLOG=200\nCHAT_HANG_TIMEOUT=7\n",
    )
    config = changes.config
    assert (config.backlog, config.restart_limit, config.hang_timeout) == (100, 3, 30)
    assert sorted(changes.notes) == [
        f"{name} has changed, which needs a restart: it stays as it was"
        for name in ("CHAT_BACKLOG", "CHAT_HANG_TIMEOUT", "CHAT_RESTART_LIMIT")
    ]


def test_which_need_a_restart() -> None:
    """Those that the main process uses for itself, or that a file cannot say of itself."""
    assert set(NEEDS_RESTART) == {
        "CHAT_ADMIN_LISTEN", "CHAT_BACKLOG", "CHAT_ENV_FILE", "CHAT_HANG_TIMEOUT",
        "CHAT_LOG_FORMAT", "CHAT_RESTART_LIMIT",
    }  # fmt: skip


@pytest.mark.parametrize("line", [REDIS, "REDIS_URL_FILE=/nowhere\n"])
def test_a_redis_in_the_place_of_the_embedded_one(path: Path, line: str) -> None:
    """The embedded Redis goes on, whatever is set."""
    changes = reloaded(path, "", line, embedded=True)
    assert changes.config.redis_url == "unix:///run/embedded.sock"
    assert changes.notes == [
        "REDIS_URL is set now, which needs a restart: the embedded Redis goes on"
    ]
    assert reloaded(path, "", "CHAT_RETRY_AFTER=5\n", embedded=True).notes == []


def test_an_embedded_redis_in_the_place_of_one(path: Path) -> None:
    """A Redis that is no longer set goes on being used, and another one is taken."""
    changes = reloaded(path, REDIS, "")
    assert changes.config.redis_url == "redis://127.0.0.1"
    assert changes.notes == [
        "REDIS_URL is no longer set, which needs a restart: it stays as it was"
    ]
    assert reloaded(path, REDIS, "REDIS_URL=redis://other\n").config.redis_url == "redis://other"


def test_what_is_wrong(path: Path) -> None:
    """A setting that is not allowed is an error, and one that is none a note."""
    with pytest.raises(ConfigError, match="CHAT_RETRY_AFTER is 'x'; allowed is"):
        reloaded(path, REDIS, REDIS + "CHAT_RETRY_AFTER=x\n")
    with pytest.raises(ConfigError, match="line 2: this is no variable"):
        reloaded(path, REDIS, REDIS + "oops\n")
    assert reloaded(path, REDIS, REDIS + "CHAT_RETRY=1\n").notes == [
        "CHAT_RETRY is no setting, and does nothing: do you mean CHAT_RETRY_AFTER?"
    ]
