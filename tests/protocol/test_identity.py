"""An identity: what a token leaves behind."""

from __future__ import annotations

from sanic_chat.protocol.identity import Identity


def test_what_a_token_need_not_say() -> None:
    """A token that names its user only allows everything, joins nothing, has no end, no info."""
    assert Identity("anna") == ("anna", None, (), None, None, None)
