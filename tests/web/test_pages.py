"""The page at /."""

from __future__ import annotations

from ..support.apps import PREFIX


def test_options(client):
    """The page's URL tells what may be asked of it: HAProxy's check, if it is told of none."""
    _, response = client.options("/")
    assert response.status == 204
    assert response.headers["allow"] == "GET, HEAD, OPTIONS"
    assert response.content == b""


def test_page(client):
    """The page at / loads nothing from elsewhere and knows the endpoint."""
    _, response = client.get("/")
    assert response.status == 200
    assert response.headers["content-type"].startswith("text/html")
    assert "default-src 'none'" in response.headers["content-security-policy"]
    assert f"{PREFIX}/ws" in response.text
    assert "{{" not in response.text
