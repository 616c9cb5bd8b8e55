"""Writes down every setting, from `Config`: in docs/settings.md and conf/.env.example.

    python docs/settings.py

What stands in these files around the generated part is written by hand, and kept.
tests/test_readme.py compares.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import MISSING, Field, fields
from pathlib import Path
from typing import Any

from sanic_chat.config.readers import NotAllowed, Reader
from sanic_chat.config.settings import Config
from sanic_chat.errors import ConfigError

ROOT = Path(__file__).resolve().parent.parent
PAGE = ROOT / "docs" / "settings.md"
EXAMPLE = ROOT / "conf" / ".env.example"
WIDTH = 100

SECTIONS = {
    "api_prefix": "The server",
    "redis_url": "Redis",
    "max_connections": "Limits of a client, and of time",
    "stats_interval": "Stats",
    "allowed_origins": "Who may connect",
    "api_keys": "Backends",
    "log_format": "The log",
    "restart_limit": "Workers that die, or hang",
}
"""The field with which each section begins, in the order of `Config`."""

BEGIN, END = "<!-- written by docs/settings.py -->", "<!-- end of what it writes -->"


def sections() -> Iterator[tuple[str, list[Field[Any]]]]:
    """Every section, with its settings."""
    title, members = "", []
    for setting in fields(Config):
        if setting.name in SECTIONS:
            if members:
                yield title, members
            title, members = SECTIONS[setting.name], []
        members.append(setting)
    yield title, members


def default(setting: Field[Any]) -> str:
    """The default as it is written in the environment; nothing if it is that nothing is set."""
    value = setting.default
    assert value is not MISSING
    if isinstance(value, bool):
        return "on" if value else "off"
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, tuple):
        return ",".join(map(str, value))
    return "" if value is None else str(value)


def allowed(read: Reader) -> str:
    """What may stand in a setting, in the words of the one who reads it; nothing if all may."""
    try:
        read("\0")  # which is in no bounds and among no words
    except NotAllowed as error:
        return str(error)
    except ConfigError as error:
        return str(error).partition("allowed is ")[2]
    return ""


def table() -> str:
    """The sections of docs/settings.md."""
    lines = []
    for title, settings in sections():
        lines += [
            f"## {title}",
            "",
            "| variable | default | allowed | meaning |",
            "|---|---|---|---|",
        ]
        for setting in settings:
            what, value = setting.metadata, default(setting)
            bounds, meaning = escaped(allowed(what["read"])), escaped(what["doc"])
            meaning += " *A change needs a restart.*" * what["needs_restart"]
            shown = f"`{value}`" if value else ""
            lines.append(f"| `{what['variable']}` | {shown} | {bounds} | {meaning} |")
        lines.append("")
    return "\n".join(lines)


def escaped(text: str) -> str:
    """Text for a cell of a table in Markdown; what stands in backticks stays."""
    parts = text.split("`")
    parts[::2] = [re.sub(r"([*_|<\\])", r"\\\1", part) for part in parts[::2]]
    return "`".join(parts)


def example() -> str:
    """The sections of conf/.env.example."""
    blocks = []
    for title, settings in sections():
        blocks.append(f"# --- {title} ".ljust(WIDTH, "-"))
        for setting in settings:
            doc = textwrap.wrap(
                setting.metadata["doc"], WIDTH - 2, break_long_words=False, break_on_hyphens=False
            )
            lines = [f"# {line}" for line in doc]
            blocks.append(
                "\n".join([*lines, f"#{setting.metadata['variable']}={default(setting)}"])
            )
    return "\n\n".join(blocks) + "\n"


def pages() -> dict[Path, str]:
    """Both files, as they should be."""
    before, _, rest = PAGE.read_text().partition(BEGIN)
    _, _, behind = rest.partition(END)
    head, _, _ = EXAMPLE.read_text().partition("# --- ")
    return {
        PAGE: f"{before}{BEGIN}\n\n{table()}\n{END}{behind}",
        EXAMPLE: head + example(),
    }


if __name__ == "__main__":
    for path, text in pages().items():
        path.write_text(text)
