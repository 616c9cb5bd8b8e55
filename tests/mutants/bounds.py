"""Backpressure, presence, answers: what can grow is bounded, and in order."""

from __future__ import annotations

from . import Mutant

PUBLISHER = ("tests/broker/test_publisher.py",)
ANSWERS = ("tests/pod/test_answers.py",)

MUTANTS = (
    # -- backpressure ---------------------------------------------------------------------
    Mutant(
        "who publishes is held up before the queue is full",
        "sanic_chat/broker/publisher.py",
        "        if self._outbox_load > self._spare_load:\n            self.congested = True\n",
        "",
        PUBLISHER,
    ),
    Mutant(
        "while Redis is there nothing is dropped because the queue is full",
        "sanic_chat/broker/publisher.py",
        "        if (self._is_stuck or not self.link.is_up) and not",
        "        if not",
        (*PUBLISHER, "tests/server/test_backpressure.py"),
    ),
    Mutant(
        "backpressure holds who fills a room that is behind, and not who speaks elsewhere",
        "sanic_chat/pod/load.py",
        "held > self.max_bytes and self._hub.is_behind(channel)",
        "held > self.max_bytes",
        ("tests/pod/test_who_is_held.py",),
    ),
    Mutant(
        "who fills a room that is behind is held",
        "sanic_chat/pod/load.py",
        "held > self.max_bytes and self._hub.is_behind(channel)",
        "False",
        ("tests/pod/test_who_is_held.py",),
    ),
    Mutant(
        "who fills a room with a backlog of its own is held",
        "sanic_chat/pod/load.py",
        "fills = channel.pending_bytes > CHANNEL_BACKLOG_BYTES or (",
        "fills = False or (",
        ("tests/pod/test_who_is_held.py",),
    ),
    # -- answers ---------------------------------------------------------------------------
    Mutant(
        "answers come in the order of the commands",
        "sanic_chat/pod/answers.py",
        "        if session in self.waiting:\n            self._append",
        "        if session not in self.waiting:\n            self._append",
        ANSWERS,
    ),
    Mutant(
        "a session with too many waiting answers is asked nothing more",
        "sanic_chat/pod/answers.py",
        "if repeated or len(answers) >= MAX_WAITING or",
        "if repeated or",
        ANSWERS,
    ),
    Mutant(
        "two answers that wait for one room hold a session",
        "sanic_chat/pod/answers.py",
        "if repeated or len(answers) >= MAX_WAITING or",
        "if len(answers) >= MAX_WAITING or",
        ANSWERS,
    ),
    Mutant(
        "who goes waits for no answer any more",
        "sanic_chat/pod/answers.py",
        "        if self.waiting.pop(session, None) is not None:\n"
        "            session.release(Hold.ANSWER)\n",
        "        pass\n",
        ANSWERS,
    ),
)
