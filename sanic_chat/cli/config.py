"""`sanic-chat config`: every setting, its value and where that comes from."""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import MISSING, Field, fields
from typing import Any

import click

from ..config.env_file import source_in_env_file, with_env_file
from ..config.environment import FILE_SUFFIX
from ..config.settings import Config
from ..errors import ConfigError
from .output import WRONG_USAGE, fail, print_json, print_line, printable
from .server import env_file_option

HIDDEN = "(not shown)"


@click.command()
@click.option("--json", "as_json", is_flag=True, help="One JSON object a setting, or a doubt.")
@click.option("--changed", is_flag=True, help="Only settings that are not at their default.")
@env_file_option
def config(*, as_json: bool, changed: bool) -> None:
    """Show every setting, and where it comes from.

    Reads the environment as a server would that starts now. Secrets are not shown. What looks like
    a mistake (a name that is none, with the nearest one) stands on standard error, or is a `doubt`.
    """
    try:
        values = Config.from_environment()
    except ConfigError as error:
        fail(str(error), WRONG_USAGE)
    for setting in fields(Config):
        source = source_of(setting)
        if changed and source == "default":
            continue
        variable, value = setting.metadata["variable"], shown(setting, values)
        if as_json:
            print_json({"setting": variable, "value": value, "source": source})
        else:
            text = "" if value is None else printable(str(value))
            print_line(f"{variable:<30} {text:<34} {printable(source)}")
    if as_json:
        for doubt in Config.doubts():
            print_json({"doubt": doubt})
    else:
        warn_of(Config.doubts())


def warn_of(doubts: Iterable[str]) -> None:
    """Print sentences about what looks like a mistake, on standard error."""
    for doubt in doubts:
        click.echo(f"warning: {printable(doubt)}", err=True)


def source_of(setting: Field[Any]) -> str:
    """The source of a setting: `default`, `environment`, or a file, perhaps with a line."""
    variable = setting.metadata["variable"]
    environment = with_env_file(os.environ)
    if environment.get(variable, "").strip():
        line = source_in_env_file(environment, variable)
        return "environment" if line is None else f"file {line}"
    path = environment.get(variable + FILE_SUFFIX, "").strip()
    return f"file {path}" if setting.metadata["secret"] and path else "default"


def shown(setting: Field[Any], values: Config) -> Any:
    """The value of a setting, as JSON has it; of a secret only whether it is set."""
    value = getattr(values, setting.name)
    if setting.metadata["secret"]:
        return None if value is None else HIDDEN
    if isinstance(value, (tuple, frozenset)):
        return ",".join(sorted(map(str, value)))
    return value


def default_of(setting: Field[Any]) -> Any:
    """The default of a setting; None if it has none of its own."""
    return None if setting.default is MISSING else setting.default
