"""Who may use the API: those with a key, and with it what it is for."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from sanic_chat.config.readers import api_keys
from sanic_chat.protocol.operations import OPERATIONS

from ..support.apps import PREFIX, ReusableClient, assert_error, running_app
from ..support.backend import API_KEYS, SECRET, SECRETS, bearer
from ..support.harness import RedisProcess


@pytest.fixture(scope="module")
def api(shared_redis: RedisProcess) -> Iterator[ReusableClient]:
    with running_app(shared_redis, api_keys=api_keys(API_KEYS)) as client:
        yield client


def post(client: ReusableClient, headers: object):
    _, response = client.post(
        f"{PREFIX}/publish", headers=headers, content=b'{"room": "a", "data": 1}'
    )
    return response


@pytest.mark.parametrize("secret", [SECRET, SECRETS["publish"]])
def test_a_key(api, secret):
    response = post(api, bearer(secret))
    assert response.status == 200
    assert response.headers["content-type"] == "application/json"


@pytest.mark.parametrize(
    "headers",
    [
        {},
        bearer("x" * 32),
        bearer(f"{SECRET}x"),
        {"Authorization": SECRET},
        {"Authorization": f"Basic {SECRET}"},
        {"Authorization": "Bearer"},
        [("Authorization", f"Bearer {SECRET}"), ("Authorization", f"Bearer {SECRET}")],
        {"Cookie": f"key={SECRET}"},
    ],
)
def test_no_key(api, headers):
    """It is 401, with what is needed and without what was given."""
    response = post(api, headers)
    assert_error(response, 401, "unauthorized")
    assert response.headers["www-authenticate"] == "Bearer"
    assert SECRET not in response.text


def test_a_key_for_something_else(api):
    """It is 403, with the key's name and what it takes."""
    response = post(api, bearer(SECRETS["read"]))
    assert_error(response, 403, "forbidden_scope")
    assert response.json["message"] == "The key only-read is for read; this takes one for publish"


@pytest.mark.parametrize("path", [*(one.path for one in OPERATIONS), "/openapi.json"])
def test_a_server_without_keys(run_app, path):
    """Wherever its API would be it says that this is off, and what turns it on, and no more."""
    client = run_app()
    for answer in (client.get(PREFIX + path), client.post(PREFIX + path, headers=bearer())):
        assert_error(answer[1], 404, "no_api_keys")
        assert "CHAT_API_KEYS" in answer[1].json["message"]
    assert_error(client.get(path)[1], 404, "not_found")


def test_a_body_for_a_server_without_keys(run_app):
    """It is not read: a long one closes the connection."""
    client = run_app()
    for size, connection in ((10_000, "keep-alive"), (100_000, "close")):
        _, response = client.post(f"{PREFIX}/publish", content=b"x" * size)
        assert_error(response, 404, "no_api_keys")
        assert response.headers["connection"] == connection


def test_a_body_without_a_key(api):
    """It is not read before the key is: the answer is the same, and a long one closes."""
    for size, connection in ((10_000, "keep-alive"), (100_000, "close")):
        _, response = api.post(f"{PREFIX}/publish", content=b"x" * size)
        assert_error(response, 401, "unauthorized")
        assert response.headers["connection"] == connection


@pytest.mark.parametrize("prefix", [PREFIX, ""])
@pytest.mark.parametrize("path", ["/ws/stats", "/metrics"])
def test_stats_and_metrics(api, run_app, prefix, path):
    """With keys they take one to read, unless they are open; without keys they take none."""

    def get(client, **headers):
        return client.get(prefix + path, headers=headers)[1]

    assert get(api, **bearer(SECRETS["read"])).status == 200
    assert_error(get(api), 401, "unauthorized")
    assert_error(get(api, **bearer(SECRETS["publish"])), 403, "forbidden_scope")
    assert get(run_app()).status == 200


@pytest.mark.parametrize(
    ("subjects", "statuses"),
    [(("stats",), [200, 401]), (("metrics",), [401, 200]), (("stats", "metrics"), [200, 200])],
)
def test_what_is_open(run_app, subjects, statuses):
    client = run_app(api_keys=api_keys(API_KEYS), open_subjects=subjects)
    found = [client.get(f"{PREFIX}{path}")[1].status for path in ("/ws/stats", "/metrics")]
    assert found == statuses
