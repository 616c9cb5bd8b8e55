"""The commands by name, each loaded when it is called."""

from __future__ import annotations

import atexit
import gc
import os
from difflib import get_close_matches
from importlib import import_module
from typing import NamedTuple

import click

from ..version import VERSION


class Home(NamedTuple):
    """The module of a command, and its line in the list of commands."""

    module: str
    function: str
    help: str


COMMANDS = {
    "serve": Home("serve", "serve", "Start a server."),
    "config": Home("config", "config", "Show every setting, and where it comes from."),
    "pub": Home("messages", "pub", "Publish a message to a room."),
    "sub": Home("messages", "sub", "Print the messages of rooms."),
    "rooms": Home("api", "rooms", "Show the rooms that have members."),
    "who": Home("api", "who", "Show who is in a room."),
    "user": Home("api", "user", "Show the sessions of a user."),
    "kick": Home("api", "kick", "Disconnect a user, on all pods."),
    "drain": Home("api", "drain", "Have a pod send its clients elsewhere."),
    "stats": Home("stats", "stats", "Show the stats of the whole cluster."),
    "doctor": Home("doctor", "doctor", "Check machine, Redis, pods and proxy."),
    "token": Home("token", "token", "Make and explain tokens."),
}


class _Commands(click.Group):
    """A group that loads none of its commands to list them."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return [*COMMANDS]

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        home = COMMANDS[cmd_name]
        module = import_module(f"{__package__}.{home.module}")
        command: click.Command = getattr(module, home.function)
        return command

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        try:
            return super().resolve_command(ctx, args)
        except click.UsageError as error:
            nearest = get_close_matches(args[0], COMMANDS, n=1)
            hint = f" Did you mean {nearest[0]!r}?" if nearest else ""
            raise click.UsageError(f"{error.message}{hint}", ctx) from None

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, home.help) for name, home in COMMANDS.items()])


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(VERSION, message="%(version)s")
def sanic_chat() -> None:
    """A WebSocket chat and real-time fan-out server.

    Exit codes: 0 done; 1 the server, or a check, says no; 2 wrong usage or settings; 3 nobody is
    there to ask.
    """


def main() -> None:
    """Run the command line, and exit with its code."""
    # All that is loaded ends with the process: Python need not look for what refers to what.
    atexit.register(gc.freeze)
    # A reader that has seen enough (`| head`) is no error.
    try:
        sanic_chat(prog_name="sanic-chat", windows_expand_args=False)
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        raise SystemExit(0) from None
