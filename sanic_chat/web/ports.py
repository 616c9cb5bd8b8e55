"""The port of a route, where a server has two: one for clients, and one for who runs it.

May live here: what is served where. Must not know what is answered there.
"""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from functools import wraps
from typing import Any, TypeVar, cast

from sanic.exceptions import NotFound

from ..upgrade.sanic_http import ChatRequest

H = TypeVar("H", bound=Callable[..., Coroutine[Any, Any, Any]])


def for_clients(handler: H) -> H:
    """Serve a route where clients come, and not to who comes by CHAT_ADMIN_LISTEN."""
    return _served(handler, lambda request: not request.is_admins)


def for_admins(handler: H) -> H:
    """Serve a route to who comes by CHAT_ADMIN_LISTEN; if it is not set, to all."""
    return _served(
        handler,
        lambda request: request.is_admins or request.app.ctx.config.admin_listen is None,
    )


def _served(handler: H, is_served: Callable[[ChatRequest], bool]) -> H:
    @wraps(handler)
    async def answer(request: ChatRequest, *arguments: Any, **more: Any) -> Any:
        if not is_served(request):
            raise NotFound(f"Requested URL {request.path} not found")  # as Sanic says it
        return await handler(request, *arguments, **more)

    return cast(H, answer)
