"""The fan-out: closing, errors, order, the size of writes, and who is told that a room is empty."""

from __future__ import annotations

from . import Mutant

HUB = "sanic_chat/hub/hub.py"
TESTS = ("tests/hub/test_hub.py", "tests/hub/test_fanout.py", "tests/hub/test_slow_members.py")
MODEL = (*TESTS, "tests/hub/test_hub_model.py")

MUTANTS = (
    # -- closing ---------------------------------------------------------------------------
    Mutant(
        "only who has nothing that waits is written all that a send queue takes",
        HUB,
        "            and all(member.writable for member in channel.members)\n",
        "",
        ("tests/hub/test_fanout.py",),
    ),
    Mutant(
        "closing thousands of slow clients does not recurse",
        HUB,
        "                    member.overflow(missing)\n",
        "                    member.overflow(missing)\n                    self._turn()\n",
        TESTS,
    ),
    Mutant(
        "nobody is written to before `deliver` returns",
        HUB,
        "        self.held_bytes += size\n",
        "        self.held_bytes += size\n        self._turn()\n",
        TESTS,
    ),
    Mutant(
        "who is closed is in no room afterwards, whatever closing it raises",
        HUB,
        "                if member in self.everyone.members:\n"
        "                    self.remove(member)\n",
        "                pass\n",
        TESTS,
    ),
    Mutant(
        "what a closed client was still to get is taken back",
        HUB,
        "        self.undelivered += self._withdraw(session)\n",
        "",
        TESTS,
    ),
    # -- errors ----------------------------------------------------------------------------
    Mutant(
        "an error at one member stops nobody else's message",
        "sanic_chat/hub/fanout.py",
        "            lost.append(Lost(member, messages_in(runs), error))\n",
        "            raise\n",
        TESTS,
    ),
    Mutant(
        "who fails is closed as failed, and not as slow",
        HUB,
        "                    member.fail(errors[member])\n",
        "                    member.overflow(missing)\n",
        TESTS,
    ),
    Mutant(
        "an handler that raises when it closes one member stops nobody else's close",
        HUB,
        "            except Exception as error:\n                member.fail(error)\n",
        "            except ZeroDivisionError as error:\n                member.fail(error)\n",
        TESTS,
    ),
    Mutant(
        "held_bytes are given back when a long fan-out is over",
        HUB,
        "        self.held_bytes -= fan_out.held_bytes\n",
        "",
        TESTS,
    ),
    Mutant(
        "held_bytes are given back when a short room is written to",
        HUB,
        "            self.held_bytes -= len(joined)\n",
        "",
        TESTS,
    ),
    Mutant(
        "what a slow consumer does not get is no delivery",
        HUB,
        "            self.deliveries -= member_lost.messages\n",
        "            pass\n",
        TESTS,
    ),
    # -- order -----------------------------------------------------------------------------
    Mutant(
        "frames of several rooms come in the order of delivery",
        "sanic_chat/hub/merge.py",
        "    items.sort(key=itemgetter(0))\n",
        "",
        TESTS,
    ),
    Mutant(
        "what came before a join is not for who joins",
        HUB,
        "            channel.skip(session)  # it came before\n",
        "            pass\n",
        TESTS,
    ),
    Mutant(
        "who leaves gets what came before",
        HUB,
        "        if session in channel.members and (channel.fan_outs or channel.is_due(session)):\n"
        "            self.catch_up(session)\n",
        "",
        TESTS,
    ),
    Mutant(
        "a short fan-out overtakes a long one, but not for who is in both",
        HUB,
        "        lost = self._serve_earlier(members) if self._fan_outs else []\n",
        "        lost: list[Lost] = []\n",
        MODEL,
    ),
    # -- turns and writes ------------------------------------------------------------------
    Mutant(
        "a command flushes nobody's room but its sender's share of it",
        HUB,
        "        lost = self._serve_earlier((session,))\n",
        "        self._turn()\n        lost = self._serve_earlier((session,))\n",
        TESTS,
    ),
    Mutant(
        "a room is not written to sooner because its members are in others",
        HUB,
        "        if not channel.pending:\n            self._dirty.append(channel)\n",
        "        if self._dirty and channel not in self._dirty and channel.shared:\n"
        "            self._turn()\n"
        "        if not channel.pending:\n            self._dirty.append(channel)\n",
        TESTS,
    ),
    Mutant(
        "a long fan-out leaves turns to everybody else",
        HUB,
        "            budget -= waiting\n",
        "",
        TESTS,
    ),
    Mutant(
        "a joined write has at most as many messages as a send queue takes",
        "sanic_chat/hub/channel.py",
        "        for _, frame in pending[:max_messages]:\n",
        "        for _, frame in pending:\n",
        TESTS,
    ),
    Mutant(
        "a joined write has at most as many bytes as a send queue takes",
        "sanic_chat/hub/channel.py",
        "            if size > max_bytes and frames:\n",
        "            if False:\n",
        TESTS,
    ),
    # -- rooms -----------------------------------------------------------------------------
    Mutant(
        "a room whose last member is closed is gone, and its subscription given up",
        HUB,
        "            self.on_empty(channel)\n",
        "            pass\n",
        (*TESTS, "tests/server/test_cluster.py"),
    ),
    Mutant(
        "how many members of a room are in others stays right when one is closed",
        HUB,
        "            if len(channels) > 1:\n"
        "                channel.shared -= 1\n"
        "            self._exit",
        "            self._exit",
        MODEL,
    ),
)
