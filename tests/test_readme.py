"""That README and docs say what the code says: tables, in both directions.

Codes are read from the source (`tests.support.codes`): one that is added or renamed there has to be
in its table, and nothing else may be.
"""

from __future__ import annotations

import json
import re
import runpy
from collections.abc import Iterator
from dataclasses import fields
from functools import cache
from http import HTTPStatus
from typing import Any, get_args

import click
import pytest

from sanic_chat.cli.main import sanic_chat
from sanic_chat.config.environment import FILE_SUFFIX, OF_CLIENTS
from sanic_chat.config.settings import Config
from sanic_chat.doctor.examination import ALL_CHECKS
from sanic_chat.doctor.machine import AT_START
from sanic_chat.errors import CloseConnection
from sanic_chat.pod.commands import ACTIONS
from sanic_chat.pod.greeter import FEATURES
from sanic_chat.presence.holds import SETTLE_SECONDS, Hold, hold_of
from sanic_chat.presence.own_part import LARGE_BYTES, LARGE_USERS, SMALL_USERS
from sanic_chat.presence.presence import WINDOW_SECONDS
from sanic_chat.presence.speaker import MAX_ENVELOPES
from sanic_chat.protocol import events
from sanic_chat.protocol.api_keys import SCOPES
from sanic_chat.protocol.message import MESSAGE_TYPES, parse_message
from sanic_chat.protocol.presence import Reason
from sanic_chat.redis_url import TLSOptions
from sanic_chat.session.handler import EndedBy, Ending
from sanic_chat.stats.board import Entry
from sanic_chat.stats.exposition import Family
from sanic_chat.stats.prometheus import FAMILIES, exposition
from sanic_chat.stats.report import (
    BacklogReport,
    KeysReport,
    PodReport,
    PresenceReport,
    RedisReport,
    SendQueuesReport,
)
from sanic_chat.stats.reporter import Reporter
from sanic_chat.upgrade.credentials import BEARER
from sanic_chat.upgrade.options import EVENTS
from sanic_chat.websocket.frames import CloseCode, parse_close
from sanic_chat.websocket.handshake import SUBPROTOCOL

from .support.codes import Source
from .support.harness import ROOT
from .support.markdown import PAGES, Page, code
from .support.metrics import Labels, Scrape, main_metrics, worker_metrics


@cache
def source() -> Source:
    return Source(ROOT / "sanic_chat")


CONCEPTS = Page(ROOT / "docs/concepts.md")
API = Page(ROOT / "docs/api.md")
README = Page(ROOT / "README.md")
PROTOCOL = Page(ROOT / "docs/protocol.md")
STATS = Page(ROOT / "docs/stats.md")
CLI = Page(ROOT / "docs/cli.md")
METRICS = Page(ROOT / "docs/metrics.md")
OPERATING = Page(ROOT / "docs/operating.md")
DOCTOR = Page(ROOT / "docs/doctor.md")
SETTINGS = Page(ROOT / "docs/settings.md")
PRESENCE = Page(ROOT / "docs/presence.md")


def same(documented: list[Any], found: set[Any]) -> None:
    """Each is documented once, and nothing else is."""
    assert set(documented) == found
    assert len(documented) == len(found)


def firsts(found: set[tuple[str | int, ...]]) -> set[str | int]:
    return {one for (one,) in found}


# -- settings -------------------------------------------------------------------------------------


def test_settings_are_written_down() -> None:
    """Both files are as `python docs/settings.py` writes them."""
    for path, text in runpy.run_path(str(ROOT / "docs/settings.py"))["pages"]().items():
        assert path.read_text() == text, "python docs/settings.py"


def test_settings_of_the_readme() -> None:
    """The few that README shows have these defaults."""
    default = runpy.run_path(str(ROOT / "docs/settings.py"))["default"]
    defaults = {setting.metadata["variable"]: default(setting) for setting in fields(Config)}
    for row in README.table("Settings"):
        [variable] = code(row["variable"])
        assert row["default"].strip("`") == defaults[variable] or not defaults[variable]


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path.name)
def test_what_clients_are_to_send_can_be_sent(page: Page) -> None:
    """Every command, and every message that asks for a receipt, is one as it stands there."""
    for block in page.code_blocks("json"):
        if re.search(r'"action": "|"ack": true', block):
            parse_message(block.strip().encode())


def test_words_are_explained_once() -> None:
    """Each word has one row."""
    words = [row["word"] for row in CONCEPTS.table("Words")]
    assert words
    assert len(words) == len(set(words))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path.name)
def test_variables_exist(page: Page) -> None:
    """Every variable that a page names is a setting, or for the command line."""
    known = OF_CLIENTS | {setting.metadata["variable"] for setting in fields(Config)}
    known |= {f"{setting.metadata['variable']}{FILE_SUFFIX}" for setting in fields(Config)}
    named = set(re.findall(r"\b(?:CHAT|AUTH|REDIS|POD)_[A-Z_]*[A-Z]\b", page.text))
    assert named <= known


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.path.name)
def test_defaults_in_prose(page: Page) -> None:
    """A number in parentheses behind a setting is its default."""
    defaults = {setting.metadata["variable"]: setting.default for setting in fields(Config)}
    units = {"": 1, " s": 1, " KiB": 2**10, " MiB": 2**20}
    for variable, number, unit in re.findall(r"`(\w+)`\s\((\d[\d ]*)( s| [KM]iB|)\)", page.text):
        if variable in defaults:
            assert int(number.replace(" ", "")) * units[unit] == defaults[variable], variable


def test_options_of_the_redis_url() -> None:
    same(
        SETTINGS.column("REDIS_URL", "option"),
        {f"ssl_{option.name}" for option in fields(TLSOptions)},
    )


# -- what clients meet ----------------------------------------------------------------------------


def test_refusals() -> None:
    """Status and code of every handshake that is refused. What Sanic refuses has its own names."""
    found = source().find("UpgradeRefused", 0, 1)
    found |= source().find("error_response", 0, 1, outside="JSONErrorHandler")
    documented = [
        (int(row["status"]), name)
        for row in PROTOCOL.table("Refusals")
        for name in code(row["code"])
    ]
    names = {(status, re.sub(r"\W+", "_", status.phrase).lower()) for status in HTTPStatus}
    same([one for one in documented if one not in names or one in found], found)


def test_errors_of_the_api() -> None:
    """Status and code of every request of a backend that is refused."""
    found = source().find("ApiRefused", 0, 1) | {
        (503, name) for (name,) in source().find("Failure", 0)
    }
    same(
        [(int(row["status"]), name) for row in API.table("Errors") for name in code(row["code"])],
        found,
    )


def test_scopes() -> None:
    same(API.column("Keys", "scope"), set(SCOPES))


def test_reasons_of_ready() -> None:
    same(PROTOCOL.column("Why a pod is not ready", "code"), firsts(source().find("Trouble", 0)))


def test_errors() -> None:
    """The codes that a client is told of its messages."""
    found = source().find("BadMessage", 0) | source().find("Error", 0)
    same(PROTOCOL.column("Errors", "code"), firsts(found))


def test_events() -> None:
    """What the server says, and with which fields."""
    documented = {
        name: tuple(code(row["with"]))
        for row in PROTOCOL.table("Events")
        for name in code(row["event"])
    }
    assert documented == {
        str(event.__struct_config__.tag): event.__struct_fields__
        for event in events.Event.__subclasses__()
    }


def test_presence() -> None:
    """What is told of who is here, with which keys, and from which size on in numbers only."""
    kinds = {
        "roster": events.Roster.__struct_fields__,
        "changed": events.Changed.__struct_fields__,
    }
    for text in PRESENCE.code_blocks("json"):
        shown = json.loads(text)
        assert tuple(shown) == ("event", *kinds.pop(shown["event"]))
    assert not kinds
    keys = PRESENCE.column("What is sent", "key")
    same(keys, {*events.Roster.__struct_fields__, *events.Changed.__struct_fields__})
    large = f"""Above {LARGE_USERS} users, or where names and `info` would take more than
  {LARGE_BYTES // 1024} KiB"""
    for sentence in (
        large,
        f"A room with {SMALL_USERS} users has names again",
        f"at most one every {WINDOW_SECONDS * 1000:.0f} ms for a room",
        f"each pod publishes at most {MAX_ENVELOPES} envelopes in {WINDOW_SECONDS * 1000:.0f} ms",
    ):
        assert sentence in PRESENCE.text


def test_holds() -> None:
    """How long a user who has gone stays in rosters, and the reason that is told then."""
    rows = PRESENCE.table("Nobody has left before there was time to be elsewhere")
    seconds = [[float(one) for one in re.findall(r"([\d.]+) s", row["hold"])] for row in rows]
    normal = CloseCode.NORMAL
    by_client, going_away, lost = (
        hold_of(Ending(by, closed_with, ""), 0.0)
        for by, closed_with in (
            (EndedBy.CLIENT, normal), (EndedBy.CLIENT, 1001), (EndedBy.SERVER, normal),
        )
    )  # fmt: skip
    drained = hold_of(Ending(EndedBy.CLIENT, normal, ""), 0.0, reconnect_at=100.0)
    kicked = Hold(SETTLE_SECONDS, "kicked")
    for row, found, hold in zip(rows, seconds, (by_client, going_away, kicked, lost), strict=False):
        assert (found, code(row["reason"])) == ([hold.until], [hold.reason])
    assert seconds[4:] == [[drained.until - 100, lost.until]]
    reasons = {reason for row in rows for reason in code(row["reason"])}
    assert reasons <= set(get_args(Reason))


def test_features() -> None:
    """What a server may have, in the order in which it tells them."""
    assert PROTOCOL.column("Features", "feature") == list(FEATURES)


UNSET_FIELDS = {"rooms"}
"""Fields of an answer that only a command with several rooms has."""


def test_commands() -> None:
    """What a client may ask for, and that the answers are events, with their fields."""
    kinds = {event.__struct_config__.tag: event for event in events.Event.__subclasses__()}
    actions = []
    for row in PROTOCOL.table("Commands"):
        sent, answer = (
            json.loads(code(row[title])[0].replace("…", '"…"'))
            for title in ("sent", "answered with `data`")
        )
        actions.append(sent["data"]["action"])
        kind = kinds[answer["event"]]
        left_out = set(kind.__struct_fields__) - set(answer) - UNSET_FIELDS
        assert tuple(answer) == ("event", *(f for f in kind.__struct_fields__ if f in answer))
        assert not left_out
    same(actions, set(ACTIONS))


def test_options_of_the_upgrade() -> None:
    [named] = re.findall(r"^- `\?events=(.*?)`", PROTOCOL.text, re.MULTILINE)
    same(named.split(","), set(EVENTS))


def test_types_of_messages() -> None:
    [row] = [row for row in PROTOCOL.table("Messages") if row["key"] == "`type`"]
    same(code(row["meaning"]), set(MESSAGE_TYPES))


def test_close_codes() -> None:
    """Those that are sent; and 1006, which no close frame may hold."""
    documented = [int(row["code"]) for row in PROTOCOL.table("Close codes")]
    unsent = set(documented) - set(CloseCode)
    same(documented, set(CloseCode) | unsent)
    assert unsent == {1006}
    with pytest.raises(CloseConnection):
        parse_close((1006).to_bytes(2))


def test_the_chat_page() -> None:
    """It comes back after the close codes that say so, and waits for no event that there is not.

    It offers the subprotocol that has it told why it is refused, and its token in no URL.
    """
    page = (ROOT / "sanic_chat/web/static/index.html").read_text()
    [codes] = re.findall(r"COME_BACK = new Set\(\[(.*?)\]\)", page)
    kinds = {event.__struct_config__.tag for event in events.Event.__subclasses__()}
    assert set(re.findall(r'case "(\w+)"', page)) <= kinds
    assert f'["{SUBPROTOCOL}", ...(token() ? [`{BEARER}${{token()}}`] : [])]' in page
    assert set(re.findall(r'searchParams\.set\("(\w+)"', page)) == {"room", "events"}
    table = PROTOCOL.table("Close codes")
    assert [int(one) for one in codes.split(",")] == [
        int(row["code"]) for row in table if row["come back?"].startswith("**yes**")
    ]


# -- stats ----------------------------------------------------------------------------------------


def test_reasons_of_dropped_messages() -> None:
    """Every reason that is counted, errors among them."""
    found = source().keys_of("dropped") | firsts(source().find("BadMessage", 0))
    same(STATS.column("messages_dropped", "reason"), found)


class NoStore:
    """A Redis that is away."""

    async def write(self, report: PodReport) -> None:
        raise OSError


async def test_fields_of_the_stats() -> None:
    """Those of the whole, of the totals, of each pod, and of what has fields itself there."""
    report = PodReport(
        **dict.fromkeys(("connections", "rooms", "messages_in", "messages_out"), 0),
        messages_published=0,
        messages_dropped={},
        largest_rooms={},
        pod_id="pod-1",
    )
    answer = await Reporter(NoStore(), report=lambda: report, interval=1, rooms=1).answer()
    same(STATS.column("What the stats say", "field"), set(answer))
    same(STATS.column("totals", "field"), set(answer["totals"]))
    same(STATS.column("pods", "field"), set(PodReport.__struct_fields__) - {"largest_rooms"})
    same(STATS.column("redis", "field"), set(RedisReport.__struct_fields__))
    rows = {row["field"]: row["meaning"] for row in STATS.table("pods")}
    same(code(rows["`backlog`"]), set(BacklogReport.__struct_fields__))
    same(code(rows["`send_queues`"]), set(SendQueuesReport.__struct_fields__))
    same(code(rows["`presence`"]), set(PresenceReport.__struct_fields__))
    assert set(code(rows["`keys`"])) - {"null"} == set(KeysReport.__struct_fields__)


def test_metrics() -> None:
    """Every metric, in the order in which they are told, with its kind, labels and help."""
    chapters = ("The server and its processes", "Clients", "Messages", "Load", "Redis")
    documented = [tuple(row.values()) for title in chapters for row in METRICS.table(title)]
    entries = [Entry("0", 0.0, worker_metrics()), Entry("main", 0.0, main_metrics())]
    told = Scrape("".join(exposition(entries, openmetrics=False))).samples
    assert documented == [
        (f"`{one.sample_name}`", one.kind, labels_of(one, told), one.help.removesuffix("."))
        for one in FAMILIES
    ]


def labels_of(family: Family[Any], told: dict[str, dict[Labels, float]]) -> str:
    """The labels of a metric, as they are written down."""
    suffix = "_count" if family.kind == "histogram" else ""
    found = {name for labels in told[family.sample_name + suffix] for name, _ in labels}
    order = ("worker", "reason", "code", "direction", "version")
    assert found <= set(order)
    return ", ".join(f"`{name}`" for name in order if name in found)


def test_fields_of_the_log() -> None:
    """What the log tells of clients, besides what every line has."""
    found = {}
    for literal in source().literals("event"):
        [event] = source().values(literal["event"])
        found[event] = set(literal) - {"event"}
    assert found["client_opened"] < found["client_closed"]
    found["client_closed"] -= found["client_opened"]  # "the same", it says there
    assert found == {
        name: set(code(row["with"]))
        for row in OPERATING.table("The log")
        for name in code(row["event"])
    }


def shell_commands(command: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    """What can be called, by its words."""
    if not isinstance(command, click.Group):
        yield name, command
        return
    context = click.Context(command)
    for word in command.list_commands(context):
        part = command.get_command(context, word)
        assert part is not None
        yield from shell_commands(part, f"{name} {word}")


def test_commands_of_the_shell() -> None:
    """Every command, and no option that there is not."""
    commands = dict(shell_commands(sanic_chat, "sanic-chat"))
    rows = CLI.table("The command line")
    named = [re.sub(r" [A-Z].*", "", code(row["command"])[0]) for row in rows]
    same(named, set(commands))
    for name, row in zip(named, rows, strict=True):
        options = {option for one in commands[name].params for option in one.opts}
        assert set(re.findall(r"`(--[a-z-]+)", row["what"])) <= options, name


def test_checks_of_the_doctor() -> None:
    """Each with its code and why it matters, in the order in which they are told."""
    rows = DOCTOR.table("The checks")
    assert [(code(row["code"]), row["because else"]) for row in rows] == [
        ([check.code], check.why) for check in ALL_CHECKS
    ]
    at_start = DOCTOR.text.partition("## When a server starts")[2].partition(" cost nothing")[0]
    assert code(at_start) == [check.code for check in AT_START]
