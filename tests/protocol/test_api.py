"""The JSON that backends are told."""

from __future__ import annotations

import json
from uuid import uuid4

from sanic_chat.protocol.api import Failure, Published, encode


def test_outcomes() -> None:
    """An outcome has what there is to tell, and nothing more."""
    id = str(uuid4())
    assert json.loads(encode([Published(id, 0), Published(id, duplicate=True)])) == [
        {"id": id, "subscribers": 0},
        {"id": id, "duplicate": True},
    ]
    failed = Published(id, error=Failure("unconfirmed", "It is not known"))
    assert json.loads(encode(failed)) == {
        "id": id,
        "error": {"code": "unconfirmed", "message": "It is not known"},
    }
