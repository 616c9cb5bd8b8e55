"""What every client relies on: who gets what, and the bounds of one message."""

from __future__ import annotations

from . import Mutant

MUTANTS = (
    Mutant(
        "a pod drops its own messages when they come back from Redis",
        "sanic_chat/pod/broker_events.py",
        "if envelope.pod_id == self._pod_id:",
        "if not envelope.pod_id:",
        ("tests/server/test_cluster.py::test_own_pod_id_is_an_echo",),
    ),
    Mutant(
        "who has left a room gets nothing more of it",
        "sanic_chat/hub/hub.py",
        "        del channel.members[session]\n        if channel.pending:",
        "        if channel.pending:",
        ("tests/hub/test_hub.py::TestRooms",),
    ),
    Mutant(
        "a message over the limit in one frame is 1009",
        "sanic_chat/websocket/parser.py",
        "if length > self._max_message_bytes or self._fragments is not None:",
        "if self._fragments is not None:",
        ("tests/websocket/test_parser.py::TestLengths",),
    ),
    Mutant(
        "the limit counts all fragments of a message",
        "sanic_chat/websocket/parser.py",
        "received + length > self._max_message_bytes",
        "length > self._max_message_bytes",
        ("tests/websocket/test_parser.py::TestLengths",),
    ),
    Mutant(
        "the limit holds for a message that comes as one whole packet too",
        "sanic_chat/websocket/parser.py",
        "        if length > self._max_whole_bytes:\n            return None\n",
        "",
        ("tests/websocket/test_parser.py",),
    ),
    Mutant(
        "`from` is the server's, whatever a client sends",
        "sanic_chat/pod/client_messages.py",
        "id, message.type.encode(), channel.json_room, session.sender, message.data, timestamp",
        "id, message.type.encode(), channel.json_room, id, message.data, timestamp",
        ("tests/server/test_messages.py",),
    ),
    Mutant(
        "a session speaks only in rooms that it is in",
        "sanic_chat/pod/client_messages.py",
        "        if channel is None or session not in channel.members:\n            raise",
        "        if room is None:\n            raise",
        ("tests/server/test_messages.py",),
    ),
    Mutant(
        "a full send queue closes its client",
        "sanic_chat/session/session.py",
        "        return dropped is not None\n",
        "        return True\n",
        ("tests/session/test_session.py::TestSendQueue",),
    ),
    Mutant(
        "nothing follows a close frame",
        "sanic_chat/session/session.py",
        "            self.state = State.CLOSING\n            self.write = _write_nowhere\n",
        "            self.state = State.CLOSING\n",
        ("tests/session/test_closing.py::TestClosing",),
    ),
    Mutant(
        "what waits too long for Redis is dropped, and its sender told",
        "sanic_chat/broker/publish_queue.py",
        "while self._waiting and self._waiting[0][0] <= now and not self._is_leaving():",
        "while False:",
        ("tests/broker/test_link.py::test_publish_queue", "tests/broker/test_publisher.py"),
    ),
)
