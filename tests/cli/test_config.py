"""`sanic-chat config`: every setting, where it comes from, and no secret."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path
from typing import Any

from sanic_chat.config.settings import Config

from ..support.command import run_here

SECRET = "a secret that is long enough, and not shown"


def settings(*arguments: str, **environment: str) -> dict[str, dict[str, Any]]:
    code, output, _ = run_here("config", "--json", *arguments, **environment)
    assert code == 0
    return {entry.get("setting", "doubt"): entry for entry in map(json.loads, output.splitlines())}


def test_all_settings_are_there() -> None:
    """Each with its default, if the environment says nothing."""
    found = settings()
    assert [*found] == [setting.metadata["variable"] for setting in fields(Config)]
    assert {entry["source"] for entry in found.values()} == {"default"}
    assert found["CHAT_BACKLOG"]["value"] == 4096
    assert found["REDIS_URL"]["value"] is None


def test_where_they_come_from(tmp_path: Path) -> None:
    """From a variable, or from the file that a variable names; a secret's value is not shown."""
    file = tmp_path / "secret"
    file.write_text(SECRET)
    found = settings("--changed", CHAT_BACKLOG="17", AUTH_ENABLED="1", AUTH_SECRET_FILE=str(file))
    assert found == {
        "CHAT_BACKLOG": {"setting": "CHAT_BACKLOG", "value": 17, "source": "environment"},
        "AUTH_ENABLED": {"setting": "AUTH_ENABLED", "value": True, "source": "environment"},
        "AUTH_SECRET": {
            "setting": "AUTH_SECRET", "value": "(not shown)", "source": f"file {file}",
        },
    }  # fmt: skip


def test_the_environment_file(tmp_path: Path) -> None:
    """Its lines are named, unless the environment precedes, which is told."""
    path = tmp_path / "chat.env"
    path.write_text(f"# x\nCHAT_BACKLOG=17\nAUTH_SECRET_FILE={tmp_path / 'secret'}\nPOD_ID=a\n")
    (tmp_path / "secret").write_text(SECRET)
    environment = {"CHAT_ENV_FILE": str(path), "POD_ID": "b", "AUTH_ENABLED": "1"}
    found = settings("--changed", **environment)
    assert found.pop("doubt")["doubt"].startswith(f"POD_ID stands in {path}, line 4")
    sources = {name: entry["source"] for name, entry in found.items()}
    assert sources == {
        "POD_ID": "environment",
        "CHAT_BACKLOG": f"file {path}, line 2",
        "CHAT_ENV_FILE": "environment",
        "AUTH_ENABLED": "environment",
        "AUTH_SECRET": f"file {tmp_path / 'secret'}",
    }
    _, _, errors = run_here("config", **environment)
    assert f"warning: POD_ID stands in {path}, line 4, which does nothing" in errors
    path.write_text("CHAT_BACKLOG\n")
    code, _, errors = run_here("serve", "--check", **environment)
    assert code == 2
    assert errors.startswith(f"sanic_chat does not start: {path}, line 1: this is no variable")


def test_the_environment_file_as_an_option(tmp_path: Path) -> None:
    """It is the option of the server, and precedes the variable."""
    path = tmp_path / "chat.env"
    path.write_text("CHAT_BACKLOG=17\n")
    found = settings("--changed", "--env-file", str(path), CHAT_ENV_FILE="/nowhere")
    assert found["CHAT_BACKLOG"]["value"] == 17
    assert found["CHAT_ENV_FILE"]["value"] == str(path)


def test_as_a_table() -> None:
    """A line a setting; no secret in it, nor on standard error."""
    environment = {
        "REDIS_URL": "redis://anna:geheim@127.0.0.1:6379",
        "AUTH_ENABLED": "1",
        "AUTH_SECRET": SECRET,
    }
    code, output, errors = run_here("config", **environment)
    assert code == 0
    assert len(output.splitlines()) == len(fields(Config))
    assert "REDIS_URL" in output
    for text in (output, errors):
        assert "geheim" not in text
        assert SECRET not in text


def test_a_name_that_is_none() -> None:
    """It is told on standard error, with the nearest one; what clients need is no mistake."""
    code, _, errors = run_here(
        "config", CHAT_HEARTBEAT_TIMEOUTS="5", CHAT_URL="http://x", CHAT_TOKEN="t"
    )
    assert code == 0
    assert "CHAT_HEARTBEAT_TIMEOUTS" in errors
    assert "do you mean CHAT_HEARTBEAT_TIMEOUT?" in errors
    told = settings(CHAT_HEARTBEAT_TIMEOUTS="5").pop("doubt")
    assert "do you mean CHAT_HEARTBEAT_TIMEOUT?" in told["doubt"]
    assert "CHAT_URL" not in errors
    assert "CHAT_TOKEN" not in errors


def test_a_wrong_value() -> None:
    code, output, errors = run_here("config", CHAT_BACKLOG="many")
    assert (code, output) == (2, "")
    assert errors == "CHAT_BACKLOG is 'many'; allowed is a whole number from 1 to 65535\n"
