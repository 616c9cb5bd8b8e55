"""Errors of HTTP: one shape, whatever is wrong."""

from __future__ import annotations

import pytest

from sanic_chat.config.readers import api_keys

from ..support.apps import PREFIX, assert_error
from ..support.backend import API_KEYS


@pytest.mark.parametrize("path", ["/nope", PREFIX, PREFIX + "/ws/a/b", PREFIX + "/wsx", "/ws/a/b"])
def test_not_found(client, path):
    """An unknown path answers 404 in JSON."""
    _, response = client.get(path)
    assert_error(response, 404, "not_found")


@pytest.mark.parametrize("method", ["post", "put", "delete", "patch"])
@pytest.mark.parametrize("path", ["/ws", "/ws/lobby", "/ws/stats"])
def test_method_not_allowed(client, method, path):
    """Other methods answer 405 in JSON and say which is allowed."""
    _, response = getattr(client, method)(PREFIX + path)
    assert_error(response, 405, "method_not_allowed")
    assert set(response.headers["allow"].split(", ")) == {"GET", "HEAD"}


def test_no_source_is_read_for_their_format(run_app):
    """Each route says that errors are JSON: Sanic would parse the source of its handler."""
    for keys in ((), api_keys(API_KEYS)):
        routes = run_app(api_keys=keys).app.router.routes
        assert {route.extra.error_format for route in routes} == {"json"}
