"""What is read of one client: a turn's worth, by one handler, and in order."""

from __future__ import annotations

from . import Mutant

INBOUND = "sanic_chat/session/inbound.py"
TESTS = tuple(f"tests/session/test_{name}.py" for name in ("inbound", "hold", "session", "closing"))

MUTANTS = (
    Mutant(
        "of one client a turn handles at most 64 frames",
        INBOUND,
        "        frames = parser.receive(data, max_frames, BYTES_PER_TURN)\n",
        "        frames = parser.receive(data, 10**9, BYTES_PER_TURN)\n",
        TESTS,
    ),
    Mutant(
        "and 64 KiB of them",
        INBOUND,
        "        frames = parser.receive(data, max_frames, BYTES_PER_TURN)\n",
        "        frames = parser.receive(data, max_frames)\n",
        TESTS,
    ),
    Mutant(
        "who has more to handle than that is not read from",
        INBOUND,
        "            is_due = pauses = has_rest or waiting is not None\n",
        "            is_due = has_rest or waiting is not None\n            pauses = False\n",
        TESTS,
    ),
    Mutant(
        "the messages behind a handshake are read in turns too, and the socket stays paused",
        INBOUND,
        "        self._is_paused = transport is not None and not transport.is_reading()\n",
        "        self._is_paused = False\n",
        TESTS,
    ),
    Mutant(
        "a held client is not read from",
        INBOUND,
        "pauses = has_rest or is_full or holds is not Hold.ANSWER\n",
        "pauses = has_rest or is_full\n",
        TESTS,
    ),
    Mutant(
        "whoever waits for an answer is read from until a turn's worth waits, and no longer",
        INBOUND,
        "pauses = has_rest or is_full or holds is not Hold.ANSWER\n",
        "pauses = has_rest or holds is not Hold.ANSWER\n",
        (*TESTS, "tests/pod/test_answers.py"),
    ),
    Mutant(
        "a held client's messages wait, in the same turn too",
        INBOUND,
        "                if waits or self._holds is not None:\n",
        "                if waits:\n",
        TESTS,
    ),
    Mutant(
        "a held client's pings are answered",
        INBOUND,
        "            if opcode == PING:\n",
        "            if opcode == PING and self._holds is None:\n",
        TESTS,
    ),
    Mutant(
        "the end of a session comes after the messages before it",
        INBOUND,
        "                if (has_handled or waits) and self._ends_in_order()",
        "                if has_handled and self._ends_in_order()",
        TESTS,
    ),
    Mutant(
        "what came before a connection was lost is handled",
        "sanic_chat/session/session.py",
        "has_rest) and self._ends_in_order():\n                self._go_on()",
        "has_rest) and not self._ends_in_order():\n                self._go_on()",
        TESTS,
    ),
    Mutant(
        "after our close frame the client may send 32 MiB, and no more",
        INBOUND,
        "                if self._ignored_bytes > CLOSING_BYTES:\n",
        "                if False:\n",
        (*TESTS, "tests/server/test_slow_clients.py"),
    ),
    Mutant(
        "what is left for the next turns stays as the bytes it came in",
        "sanic_chat/websocket/parser.py",
        "                self._position = position\n",
        "                self._buffer = data[position:]\n                self._position = 0\n",
        TESTS,
    ),
    Mutant(
        "fragments count as frames",
        "sanic_chat/websocket/parser.py",
        "            for _ in range(max_frames):\n                if position > last:\n",
        "            while len(events) < max_frames:\n                if position > last:\n",
        TESTS,
    ),
    Mutant(
        "what a message has caused is sent before the close frame behind it is answered",
        INBOUND,
        "                    has_handled = True\n",
        "                    has_handled = False\n",
        TESTS,
    ),
    Mutant(
        "while an answer is awaited the end of a session comes at once",
        INBOUND,
        "(self._holds is None or Hold.ANSWER not in self._holds)",
        "True",
        TESTS,
    ),
    Mutant(
        "a session that is held when its socket is handed over stays so",
        "sanic_chat/upgrade/upgrader.py",
        "    session.begin(early)\n",
        "    session.begin(early)\n    transport.resume_reading()\n",
        TESTS,
    ),
    Mutant(
        "a socket that was paused on the way is read from, whatever came early",
        INBOUND,
        "            if early or self._is_paused:\n                self._go_on()\n",
        "",
        TESTS,
    ),
    Mutant(
        "of what is unread at a loss each client has a turn's worth handled at once",
        "sanic_chat/session/session.py",
        "                self._go_on()  # what came before the end is still handled\n",
        "                self._go_on()\n"
        "                while self.state is State.OPEN and self._turn_is_due:\n"
        "                    self._turn()\n",
        TESTS,
    ),
    Mutant(
        "after a violation the client's close frame is awaited",
        "sanic_chat/session/session.py",
        "        if self._parser.finished:  # it was a close frame, and no other one follows\n"
        "            self._close_transport()\n",
        "        self._close_transport()\n",
        TESTS,
    ),
    Mutant(
        "a message that is dropped because its session ends is counted",
        INBOUND,
        "        return len(waiting) - len(ends)\n",
        "        return 0\n",
        TESTS,
    ),
)
