"""sanic_chat: a WebSocket chat and real-time fan-out server on Sanic and Redis pub/sub."""

from .app import create_app
from .config import Config
from .errors import ChatError, ConfigError

__all__ = ["ChatError", "Config", "ConfigError", "create_app"]
__version__ = "0.1.0"
