"""What tests of settings share: keys, and how a refusal reads."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

import pytest

from sanic_chat import create_app
from sanic_chat.config.settings import Config
from sanic_chat.errors import ConfigError

SECRET = "0123456789abcdef0123456789ABCDEF"
PEM = "-----BEGIN PUBLIC KEY-----\nMIIBIjANBg\n-----END PUBLIC KEY-----"

ROOMY = {
    "CHAT_SEND_QUEUE_BYTES": str(2**27),
    "CHAT_SEND_QUEUE_TOTAL_BYTES": str(2**27),
    "CHAT_PUBLISH_QUEUE_BYTES": str(2**27),
}
"""Queues that take a message of the greatest size."""


FIELD_OF = {setting.metadata["variable"]: setting.name for setting in fields(Config)}
"""The name of each setting's field, by its variable."""


def value_of(variable: str, text: str, **environment: str) -> Any:
    """What a setting becomes."""
    config = Config.from_environment({variable: text, **environment})
    return getattr(config, FIELD_OF[variable])


def refusal(environment: dict[str, str]) -> str:
    """The text of the ConfigError for an environment."""
    with pytest.raises(ConfigError) as raised:
        Config.from_environment(environment)
    assert raised.value.__cause__ is None
    return str(raised.value)


def why_it_does_not_start(patch: pytest.MonkeyPatch, **environment: str) -> str:
    """The sentence with which the sanic command ends, with exit code 1, for an environment."""
    for variable, text in environment.items():
        patch.setenv(variable, text)
    with pytest.raises(SystemExit) as end:
        create_app("the arguments of the command")
    told = end.value.code
    assert isinstance(told, str), "Python prints it, and ends with 1"
    assert told.startswith("sanic_chat does not start: ")
    return told
