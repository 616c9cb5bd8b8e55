"""What holds for all routes: HEAD, and the prefix under which they are."""

from __future__ import annotations

import pytest

from ..support.apps import PREFIX, assert_error


@pytest.mark.parametrize(
    "path",
    ["/", "/ws", "/ws/lobby", "/ws/a%2Ab", "/ws/stats", "/ready", "/health", "/metrics", "/nope"],
)
def test_head(client, path):
    """HEAD is answered as GET is, without the body."""
    path = path if path in ("/", "/nope") else PREFIX + path
    _, asked = client.get(path)
    _, response = client.head(path)
    assert response.status == asked.status
    assert response.content == b""
    for name in ("content-type", "upgrade", "cache-control"):
        assert response.headers.get(name) == asked.headers.get(name)
    lengths = [int(answer.headers["content-length"]) for answer in (response, asked)]
    assert abs(lengths[0] - lengths[1]) < 50  # the stats and the probes have times in them


@pytest.mark.parametrize("prefix", ["", "/v2/rt"], ids=["empty", "other"])
def test_prefix_setting(run_app, prefix):
    """CHAT_API_PREFIX moves the endpoint, the stats and what the page connects to."""
    client = run_app(api_prefix=prefix)
    for path in {f"{prefix}/ws", f"{prefix}/ws/lobby", "/ws", "/ws/lobby"}:
        _, response = client.get(path)
        assert_error(response, 426, "upgrade_required")
    assert client.get(f"{prefix}/ws/stats")[1].json["totals"]["pods"] >= 1
    assert_error(client.get(f"{PREFIX}/ws")[1], 404, "not_found")
    page = client.get("/")[1].text
    assert f'"{prefix}/ws"' in page
    assert PREFIX not in page
