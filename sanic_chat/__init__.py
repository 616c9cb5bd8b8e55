"""sanic_chat: a WebSocket chat and real-time fan-out server on Sanic and Redis pub/sub.

The names below are loaded when they are first asked for: who needs `sanic_chat.protocol` alone
loads neither Sanic nor Redis.
"""

from importlib import import_module
from typing import TYPE_CHECKING

from .version import VERSION as __version__

if TYPE_CHECKING:
    from .app import create_app
    from .config.settings import Config
    from .errors import (
        BadMessage,
        ChatError,
        ConfigError,
        NotPublished,
        PublishError,
        PublishUnconfirmed,
    )
    from .publishing.publish import Published, apublish, publish

__all__ = [
    "BadMessage",
    "ChatError",
    "Config",
    "ConfigError",
    "NotPublished",
    "PublishError",
    "PublishUnconfirmed",
    "Published",
    "__version__",
    "apublish",
    "create_app",
    "publish",
]

_HOMES = {
    "BadMessage": "errors",
    "ChatError": "errors",
    "Config": "config.settings",
    "ConfigError": "errors",
    "NotPublished": "errors",
    "PublishError": "errors",
    "PublishUnconfirmed": "errors",
    "Published": "publishing.publish",
    "apublish": "publishing.publish",
    "create_app": "app",
    "publish": "publishing.publish",
}


def __getattr__(name: str) -> object:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    value: object = getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted({*globals(), *__all__})
