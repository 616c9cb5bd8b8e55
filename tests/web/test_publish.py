"""`POST /publish` as HTTP: statuses, and the bounds of a body."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import ujson

from sanic_chat.config.readers import api_keys
from sanic_chat.protocol.api_requests import MAX_BODY_BYTES

from ..support.apps import PREFIX, ReusableClient, assert_error, running_app
from ..support.backend import API_KEYS, bearer
from ..support.harness import RedisProcess

LARGEST = 64 * 1024
PATH = f"{PREFIX}/publish"


@pytest.fixture(scope="module")
def api(shared_redis: RedisProcess) -> Iterator[ReusableClient]:
    with running_app(
        shared_redis, api_keys=api_keys(API_KEYS), personal_rooms="off", retry_after=7
    ) as client:
        yield client


def post(client: ReusableClient, body: object):
    content = body if isinstance(body, bytes) else ujson.dumps(body).encode()
    _, response = client.post(PATH, headers=bearer(), content=content)
    return response


def test_a_message_and_an_array(api):
    """A message is answered with its outcome, an array with one of outcomes."""
    one = post(api, {"room": "a", "data": 1})
    assert (one.status, set(one.json)) == (200, {"id", "subscribers"})
    assert [set(told) for told in post(api, [{"room": "a", "data": 1}]).json] == [set(one.json)]


def test_the_largest_message(api):
    """`data` of CHAT_MAX_MESSAGE_BYTES is taken, a byte more is not; as many as fit the body."""
    fits = {"room": "a", "data": "x" * (LARGEST - 2)}
    assert post(api, fits).status == 200
    assert post(api, [fits] * 16).status == 200
    assert_error(post(api, fits | {"data": "x" * (LARGEST - 1)}), 413, "message_too_large")


def test_a_body_that_is_too_large(api):
    response = post(api, b" " * (MAX_BODY_BYTES + LARGEST + 1))
    assert_error(response, 413, "body_too_large")
    assert response.json["message"] == "The body of a request may have 1114112 bytes"
    assert_error(post(api, b" " * (MAX_BODY_BYTES + LARGEST)), 400, "bad_json")


@pytest.mark.parametrize(
    ("body", "code"),
    [
        (b"[" * 100_000, "bad_body"),
        (b'{"room": "a", "data": ' + b"[" * 100_000, "bad_json"),
        ([{"room": "a", "data": 1}] * 101, "too_many_messages"),
        ({"user": "anna", "data": 1}, "no_personal_rooms"),
        ({"room": "@anna", "data": 1}, "no_personal_rooms"),
    ],
)
def test_bad_bodies(api, body, code):
    """They get a sentence."""
    assert_error(post(api, body), 400, code)


def test_a_pod_that_is_behind(api, monkeypatch):
    """It takes nothing, and says when to come back."""
    monkeypatch.setattr(api.app.ctx.worker.pod.broker.publisher, "congested", True)
    response = post(api, {"room": "a", "data": 1})
    assert_error(response, 503, "congested")
    assert response.headers["retry-after"] == "7"


def test_a_room_that_is_behind(api, monkeypatch):
    pod = api.app.ctx.worker.pod
    monkeypatch.setattr(pod.load, "max_bytes", -1)
    assert_error(post(api, {"global": True, "data": 1}), 503, "congested")


def test_a_cluster(api, monkeypatch):
    """Where nobody keeps IDs they are refused, and nothing else is."""
    monkeypatch.setattr(api.app.ctx.worker.pod.broker.publisher.link, "in_a_cluster", True)
    message = {"room": "a", "data": 1}
    assert post(api, message).status == 200
    id = "019c2b0e-0000-7000-8000-000000000000"
    assert_error(post(api, [message, message | {"id": id}]), 501, "no_ids")


def test_only_post(api):
    _, response = api.get(PATH, headers=bearer())
    assert_error(response, 405, "method_not_allowed")
