"""An error at one session is that session's end, and nobody else's."""

from __future__ import annotations

from . import Mutant

TESTS = tuple(
    f"tests/session/test_{name}.py" for name in ("session_failures", "session", "closing")
)

MUTANTS = (
    Mutant(
        "a lost session has no descriptor any more, whatever raises",
        "sanic_chat/session/session.py",
        "        self._descriptor = -1\n        self._transport = None\n",
        "        self._transport = None\n",
        TESTS,
    ),
    Mutant(
        "it loses its descriptor before anything that may raise",
        "sanic_chat/session/session.py",
        "        self.write = _write_nowhere\n        self._descriptor = -1\n"
        "        self._transport = None\n        self.writable = True\n        try:\n"
        "            if self._queue is not None:\n",
        '        self._drop_queue("connection_lost")\n        self._go_on()\n'
        "        self.write = _write_nowhere\n        self._descriptor = -1\n"
        "        self._transport = None\n        self.writable = True\n        try:\n"
        "            if self._queue is not None:\n",
        TESTS,
    ),
    Mutant(
        "what is written to a client that has reset its connection is not logged",
        "sanic_chat/session/session.py",
        "            if _is_closing(transport):",
        "            if False:",
        TESTS,
    ),
    Mutant(
        "an error in one session's reading does not reach who lets it go",
        "sanic_chat/session/inbound.py",
        "            self._go_on()\n        except Exception as error:\n"
        "            self.fail(error)\n\n    def _turn",
        "            self._go_on()\n        except ZeroDivisionError as error:\n"
        "            self.fail(error)\n\n    def _turn",
        TESTS,
    ),
    Mutant(
        "the handler hears that a session is closed, whatever raised before",
        "sanic_chat/session/session.py",
        "        try:\n            step(*arguments)\n        except Exception as error:\n"
        "            self._report(error)\n",
        "        step(*arguments)\n",
        TESTS,
    ),
    Mutant(
        "an error while a message is handled closes with 1011",
        "sanic_chat/session/inbound.py",
        "                self._look_at(data)\n        except Exception as error:\n"
        "            self.fail(error)\n",
        "                self._look_at(data)\n        except Exception:\n            pass\n",
        TESTS,
    ),
    Mutant(
        "an error is told once",
        "sanic_chat/session/session.py",
        "        if not self._has_failed:\n            self._has_failed = True\n",
        "        if True:\n",
        TESTS,
    ),
    Mutant(
        "what is written to a connection that has failed goes nowhere, and into no log",
        "sanic_chat/session/session.py",
        "            if _is_closing(transport):  # by this, or before;",
        "            if False:  # by this, or before;",
        (*TESTS, "tests/session/test_inbound.py", "tests/session/test_hold.py"),
    ),
    Mutant(
        "an error is counted in the stats",
        "sanic_chat/pod/pod.py",
        "        self.sessions_failed += 1\n",
        "",
        ("tests/pod/test_failed_sessions.py",),
    ),
)
