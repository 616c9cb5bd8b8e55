"""What a client's text reaches takes a linear time, and no token gets into the log."""

from __future__ import annotations

from . import Mutant

MUTANTS = (
    Mutant(
        "what is logged is cut before it is filtered",
        "sanic_chat/logs/redaction.py",
        "    return redact(cut(text))\n",
        "    return redact(text)\n",
        ("tests/logs/test_redaction.py", "tests/hostile/test_linear.py"),
    ),
    Mutant(
        "marks are counted before a name is normalised",
        "sanic_chat/protocol/room_name.py",
        "    if _has_too_many_marks(text):\n        return None\n",
        "",
        ("tests/protocol/test_room_name.py", "tests/hostile/test_linear.py"),
    ),
    Mutant(
        "the token filter looks at each character once",
        "sanic_chat/logs/redaction.py",
        "(?<! [\\w-] ) (?= e(?:yJ|yA|wo|w0) [\\w-]{8,}+ \\. [\\w-]++ \\. )",
        "(?= e(?:yJ|yA|wo|w0) [\\w-]{8,} \\. [\\w-]+ \\. )",
        ("tests/hostile/test_linear.py",),
    ),
    Mutant(
        "of slashes at a path's end one is looked at",
        "sanic_chat/upgrade/sanic_http.py",
        """        bare = path.rstrip("/")\n""",
        "        bare = path\n",
        ("tests/upgrade/test_deadlines.py::test_no_request",),
    ),
    Mutant(
        "a URL with many escapes is not decoded",
        "sanic_chat/upgrade/sanic_http.py",
        """        if self.raw_url.count(b"%") > MAX_ESCAPES:\n""",
        "        if False:\n",
        ("tests/upgrade/test_deadlines.py::test_no_request",),
    ),
    Mutant(
        "a message size that no queue can take keeps the server from starting",
        "sanic_chat/config/consistency.py",
        "        if bound < needed:\n",
        "        if False:\n",
        ("tests/config/test_consistency.py",),
    ),
    Mutant(
        "a length in a longer form than it needs is 1002",
        "sanic_chat/protocol/parser.py",
        "                    if length < (126 if start == position + 8 else 0x10000):\n",
        "                    if length < 0:\n",
        ("tests/protocol/test_parser.py",),
    ),
    Mutant(
        "who is refused and told why keeps nobody out",
        "sanic_chat/upgrade/upgrader.py",
        "        self._refused_clients.make_room(descriptor)\n",
        "",
        ("tests/upgrade/test_refused_clients.py::test_they_keep_nobody_out",),
    ),
    Mutant(
        "of few file descriptors those who are told why take none from others",
        "sanic_chat/upgrade/refused_clients.py",
        " or self._are_few(descriptor)",
        "",
        ("tests/process/test_descriptors.py::test_told_why",),
    ),
    Mutant(
        "no client keeps a descriptor of those that are kept for checks",
        "sanic_chat/process/descriptors.py",
        " or number >= limit - reserves * reserve",
        "",
        ("tests/process/test_descriptors.py::test_clients_take_all_descriptors",),
    ),
    Mutant(
        "a refused client that sends without end is not read",
        "sanic_chat/upgrade/refused_clients.py",
        "                self.transport.pause_reading()\n",
        "                pass\n",
        ("tests/upgrade/test_refused_clients.py::test_garbage_is_not_read",),
    ),
    Mutant(
        "nobody's `from` is the server's",
        "sanic_chat/upgrade/auth.py",
        "        if user in RESERVED_USERS:\n",
        "        if False:\n",
        ("tests/upgrade/test_auth.py",),
    ),
    Mutant(
        "connections that are still HTTP are bounded beside a worker's clients",
        "sanic_chat/upgrade/connection_limit.py",
        "            if len(self._oldest_first) + self._sessions() > self._bound:\n",
        "            if self._sessions() > self._bound:\n",
        ("tests/upgrade/test_connection_limit.py",),
    ),
    Mutant(
        "who is being answered does not make room",
        "sanic_chat/upgrade/connection_limit.py",
        "            self._oldest_first[transport] = None  # is being answered: asked last,",
        "            break  # is being answered: asked last,",
        ("tests/upgrade/test_connection_limit.py",),
    ),
    Mutant(
        "channels that nobody needs any more are bounded",
        "sanic_chat/broker/subscriber.py",
        "        if len(lingering) > MAX_LINGERING:\n",
        "        if False:\n",
        ("tests/broker/test_subscriber.py",),
    ),
    Mutant(
        "a full garbage collection leaves out what the start has made",
        "sanic_chat/app.py",
        "        gc.freeze()\n",
        "",
        ("tests/server/test_start.py::test_the_garbage_collector_skips_what_a_start_has_made",),
    ),
)
