"""CHAT_LOG_FORMAT=json: each line of the log is a JSON object, whatever was logged."""

from __future__ import annotations

import json
import logging
import re
import sys
from datetime import UTC, datetime
from typing import Any

import pytest

from sanic_chat.logs.json_format import JSONFormatter, json_log_config
from sanic_chat.logs.redaction import TokenFilter

from ..support.clients import RawClient
from ..support.harness import RedisProcess, ServerProcess, StartServer

TOKEN = "eyJhbGciOiJIUzI1NiJ9.eyJzdWIiOiJhbGljZSJ9.c2lnbmF0dXJl"


def line(message: Any, *arguments: Any, **extra: Any) -> dict[str, Any]:
    """What is written of a record."""
    record = logging.LogRecord("sanic.root", logging.WARNING, "x.py", 1, message, arguments, None)
    record.__dict__.update(extra)
    assert TokenFilter().filter(record)
    text = JSONFormatter().format(record)
    assert text.isascii()
    assert "\n" not in text
    fields: dict[str, Any] = json.loads(text)
    return fields


class TestRecords:
    def test_the_keys(self) -> None:
        """Every line has the same keys first, and when it was logged in UTC."""
        fields = line("%d clients", 3)
        assert list(fields) == ["time", "level", "logger", "pid", "process", "message"]
        assert (fields["level"], fields["logger"]) == ("WARNING", "sanic.root")
        assert fields["message"] == "3 clients"
        assert re.fullmatch(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z", fields["time"])
        age = datetime.now(UTC) - datetime.fromisoformat(fields["time"])
        assert -1 < age.total_seconds() < 60

    @pytest.mark.parametrize(
        "text",
        ["a\nb\r\n", '"', "\\", "\x00\x1b[31m", "\u2028", "é😀", "\ud800", "</script>", "%s %"],
    )
    def test_any_text(self, text: str) -> None:
        """Line breaks, quotes and half characters of a client do not get out of their string."""
        assert line("%s", text)["message"] == text
        assert line(text)["message"] == text

    def test_arguments_by_name(self) -> None:
        """They are in the sentence, and fields of their own with their own types."""
        fields = line("%(user)r has %(percent)d %%", {"user": "ann%a", "percent": 5, "room": None})
        assert fields["message"] == "'ann%a' has 5 %"
        assert (fields["user"], fields["percent"], fields["room"]) == ("ann%a", 5, None)

    def test_arguments_of_several_parts(self) -> None:
        """Numbers by name stay numbers, whatever they are called."""
        fields = line("%(kind)s", {"kind": "x", "counts": {"token": 3, "url": f"?token={TOKEN}"}})
        assert fields["counts"] == {"token": 3, "url": "?token=***"}

    def test_extras(self) -> None:
        """An access log's attributes are fields; what is no JSON is its text."""
        fields = line("", request="GET /", status=200, where=ValueError("x"))
        assert (fields["request"], fields["status"], fields["where"]) == ("GET /", 200, "x")

    def test_no_field_takes_the_place_of_another(self) -> None:
        """What a client calls itself cannot make a line look like another."""
        fields = line("%(level)s", {"level": "ERROR", "time": "never"})
        assert fields["level"] == "WARNING"
        assert fields["time"] != "never"

    def test_an_exception(self) -> None:
        """A traceback is a field."""
        try:
            raise ValueError("broken")
        except ValueError:
            fields = line("It failed", exc_info=sys.exc_info())
        assert fields["message"] == "It failed"
        assert fields["exception"].startswith("Traceback (most recent call last)")
        assert fields["exception"].endswith("ValueError: broken")

    def test_tokens(self) -> None:
        """They are redacted in the sentence, in arguments by name and in tracebacks."""
        try:
            raise ValueError(f"?token={TOKEN}")
        except ValueError:
            fields = line("%(url)s", {"url": f"?token={TOKEN}"}, exc_info=sys.exc_info())
        assert fields["message"] == fields["url"] == "?token=***"
        assert TOKEN not in json.dumps(fields)


def test_nothing_is_written_twice() -> None:
    """Each logger writes by one handler only."""
    config = json_log_config()
    assert all(logger["propagate"] is False for logger in config["loggers"].values())


def lines_of(server: ServerProcess) -> list[dict[str, Any]]:
    return [json.loads(text) for text in server.log.splitlines()]


@pytest.mark.parametrize("debug", [(), ("--debug", "--access-logs")], ids=["", "debug"])
async def test_a_whole_life(
    start_server: StartServer, shared_redis: RedisProcess, debug: tuple[str, ...]
) -> None:
    """From the start to the end each line of a server with workers is an object."""
    server = start_server(
        *debug,
        workers=2,
        REDIS_URL=shared_redis.url,
        CHAT_LOG_FORMAT="json",
        CHAT_UNKNOWN="x",
        PYTHONWARNINGS="default",
    )
    async with RawClient(server) as client:
        await client.request(f"/ws?token={TOKEN}", Origin=f"https://evil.example\n?token={TOKEN}")
    async with RawClient(server) as client:
        await client.request(f"/nowhere?token={TOKEN}")
    server.stop()
    lines = lines_of(server)
    messages = [fields["message"] for fields in lines]
    assert {fields["process"] for fields in lines} >= {"Main", "Srv 0", "Srv 1"}
    assert any("CHAT_UNKNOWN is no setting" in message for message in messages)
    assert any("is ready" in message for message in messages)
    if debug:
        assert any("/nowhere" in fields.get("request", "") for fields in lines)
    assert TOKEN not in server.log
