"""The doctor's findings, as they are made in this process."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

from sanic_chat.config.settings import Config
from sanic_chat.doctor.examination import ALL_CHECKS, Examination, Subjects
from sanic_chat.doctor.findings import Finding
from sanic_chat.doctor.machine import Settings
from sanic_chat.doctor.site import Site

from .command import run
from .harness import ServerProcess

CODES = [check.code for check in ALL_CHECKS]


async def examined(
    *codes: str, site: Site | None = None, certificates: Sequence[str] = (), **settings: Any
) -> dict[str, Finding]:
    """The findings of these checks, or of all, with these settings."""
    subjects = Subjects(Settings("", ()), Config(**settings), site, certificates)
    ignored = [code for code in CODES if codes and code not in codes]
    answers = await Examination(subjects).run(ignored)
    return {answer.code: answer.finding for answer in answers}


async def finding(code: str, **arguments: Any) -> Finding:
    """The finding of one check."""
    return (await examined(code, **arguments))[code]


def site(server: ServerProcess, **fields: Any) -> Site:
    """A server as it is asked without anything in between."""
    return Site(server.http, **fields)


def doctor(*arguments: str, **environment: str) -> tuple[int, dict[str, dict[str, Any]]]:
    """The command's exit code, and its findings by code."""
    code, output, errors = run("doctor", "--json", *arguments, **environment)
    assert errors == ""
    told = json.loads(output)
    assert told["exit_code"] == code
    return code, {found["code"]: found for found in told["findings"]}
