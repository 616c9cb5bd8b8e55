"""What backends rely on: keys that are secret, and messages that go out once."""

from __future__ import annotations

from . import Mutant

ACCESS = "sanic_chat/web/access.py"
AWAITED = "sanic_chat/broker/awaited.py"
KEYS = "sanic_chat/protocol/api_keys.py"
PUBLISHING = "sanic_chat/pod/publishing.py"
REQUESTS = "sanic_chat/protocol/api_requests.py"

MUTANTS = (
    Mutant(
        "a wrong key takes as long to refuse as a right one to find",
        KEYS,
        "            found = key\n",
        "            found = key\n            break\n",
        ("tests/protocol/test_api_keys.py",),
    ),
    Mutant(
        "a key is for what its scopes say",
        ACCESS,
        "    if scope not in key.scopes:\n",
        "    if False:\n",
        ("tests/web/test_access.py",),
    ),
    Mutant(
        "stats and metrics take a key if there are some",
        ACCESS,
        "if config.api_keys and subject not in config.open_subjects:",
        "if False:",
        ("tests/web/test_access.py",),
    ),
    Mutant(
        "a secret in a setting is not logged",
        "sanic_chat/logs/redaction.py",
        "(?: publish | read | admin )",
        "(?: nothing )",
        ("tests/logs/test_redaction.py",),
    ),
    Mutant(
        "an ID is noted in the step in which its message is published",
        AWAITED,
        "'NX', ",
        "",
        ("tests/broker/test_awaited.py",),
    ),
    Mutant(
        "an ID is not noted for what is refused",
        AWAITED,
        "redis.call('DEL', KEYS[1]) ",
        "",
        ("tests/broker/test_awaited.py",),
    ),
    Mutant(
        "a message with an ID is published by it",
        PUBLISHING,
        "        if message.id:\n            outcomes",
        "        if False:\n            outcomes",
        ("tests/server/test_publish.py",),
    ),
    Mutant(
        "one ID in two spellings is one",
        "sanic_chat/protocol/channels.py",
        "self._once + id.lower()",
        "self._once + id",
        ("tests/server/test_publish.py",),
    ),
    Mutant(
        "who waits for a lost connection is told",
        "sanic_chat/broker/publisher.py",
        "                receipt.lost()\n",
        "                pass\n",
        ("tests/broker/test_awaited.py",),
    ),
    Mutant(
        "a pod that is behind takes nothing from backends",
        PUBLISHING,
        "if publisher.congested or any(map(self._load.must_hold, channels)):",
        "if False:",
        ("tests/web/test_publish.py",),
    ),
    Mutant(
        "a request has a bound of messages, counted by room",
        REQUESTS,
        "    _check_count(sum(len(post.rooms) for post in posts))\n",
        "",
        ("tests/protocol/test_api_requests.py",),
    ),
    Mutant(
        "the body is not read before the key",
        "sanic_chat/web/api.py",
        "            stream=not reads,",
        "            stream=False,",
        ("tests/server/test_publish.py", "tests/web/test_publish.py"),
    ),
    Mutant(
        "what is for operators is not where clients come",
        "sanic_chat/web/ports.py",
        "request.is_admins or request.app.ctx.config.admin_listen is None",
        "True",
        ("tests/server/test_admin.py",),
    ),
    Mutant(
        "no client comes by the port of operators",
        "sanic_chat/web/ports.py",
        "lambda request: not request.is_admins",
        "lambda request: True",
        ("tests/server/test_admin.py",),
    ),
)
