"""The description of the HTTP API: valid, whole, and of what is really parsed."""

from __future__ import annotations

import json

import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from sanic_chat.protocol.api import MAX_LIMIT, encode
from sanic_chat.protocol.operations import OPERATIONS, describe

DOCUMENT = json.loads(encode(describe(prefix="/api/chat-api", version="1.2.3")))


def test_it_is_valid() -> None:
    """It is OpenAPI 3.1, with JSON Schemas that are some."""
    assert DOCUMENT["openapi"] == "3.1.0"
    validate(DOCUMENT, cls=OpenAPIV31SpecValidator)


def test_where_and_what() -> None:
    assert DOCUMENT["servers"] == [{"url": "/api/chat-api"}]
    assert DOCUMENT["info"]["version"] == "1.2.3"
    assert describe(prefix="", version="")["servers"] == [{"url": "/"}]


@pytest.mark.parametrize("operation", OPERATIONS, ids=lambda operation: operation.path)
def test_an_operation(operation) -> None:
    """It has the key's scope, what it takes, and what it answers."""
    [(method, told)] = DOCUMENT["paths"][operation.path].items()
    assert method.upper() == operation.method
    assert told["description"] == f"Takes a key for {operation.scope}."
    assert ("parameters" in told) == (operation.method == "GET")
    assert ("requestBody" in told) == (operation.method == "POST")
    assert {"200", "400", "401", "403", "503"} <= told["responses"].keys()


def test_bounds() -> None:
    """The bounds that are checked are those that are told."""
    [limit] = [
        parameter["schema"]
        for parameter in DOCUMENT["paths"]["/rooms"]["get"]["parameters"]
        if parameter["name"] == "limit"
    ]
    assert (limit["minimum"], limit["maximum"], limit["default"]) == (1, MAX_LIMIT, 100)
    fields = DOCUMENT["components"]["schemas"]["Publish"]
    assert fields["required"] == ["data"]
    assert not fields["additionalProperties"]
    assert set(fields["properties"]) == {
        "data", "room", "rooms", "user", "global", "type", "id", "from",
    }  # fmt: skip


def test_every_schema_is_used() -> None:
    text = json.dumps(DOCUMENT)
    for name in DOCUMENT["components"]["schemas"]:
        assert f'"#/components/schemas/{name}"' in text
