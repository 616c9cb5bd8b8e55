"""What the model of the hub must find by itself: errors, and counts of rooms and bytes."""

from __future__ import annotations

from . import Mutant

HUB = "sanic_chat/hub/hub.py"
TESTS = ("tests/hub/test_hub_model.py",)

MUTANTS = (
    # -- closing does not recurse ----------------------------------------------------------
    Mutant(
        "closing one slow client closes no other before it has returned (by the model)",
        HUB,
        "                    member.overflow(missing)\n",
        "                    member.overflow(missing)\n                    self._turn()\n",
        TESTS,
    ),
    Mutant(
        "what is announced while a client is being closed waits (by the model)",
        HUB,
        "        self.held_bytes += size\n",
        "        self.held_bytes += size\n        self._turn()\n",
        TESTS,
    ),
    # -- one bad member spoils nothing -----------------------------------------------------
    Mutant(
        "an error at one member is no end of the fan-out (by the model)",
        "sanic_chat/hub/fanout.py",
        "            lost.append(Lost(member, messages_in(runs), error))\n",
        "            raise\n",
        TESTS,
    ),
    Mutant(
        "who is closed is in no room afterwards (by the model)",
        HUB,
        "        self.everyone.members.pop(session, None)\n",
        "",
        TESTS,
    ),
    # -- counts ----------------------------------------------------------------------------
    Mutant(
        "a join closes nobody, and least of all who joins (by the model)",
        HUB,
        "        self.channels[channel.name] = channel\n",
        "        self.channels[channel.name] = channel\n        self._turn()\n",
        TESTS,
    ),
    Mutant(
        "a room that who joins was the last to leave is counted anew (by the model)",
        HUB,
        "        session.channels += self._alone_in(channel)\n"
        "        self._enter(session, channel)\n",
        "        self._enter(session, channel)\n        self.catch_up(session)\n"
        "        session.channels += self._alone_in(channel)\n",
        TESTS,
    ),
    Mutant(
        "who is gone counts for no delivery (by the model)",
        HUB,
        "            self.everyone.forget(session)\n",
        "            pass\n",
        TESTS,
    ),
    Mutant(
        "a slow consumer's messages are no deliveries (by the model)",
        HUB,
        "            self.deliveries -= member_lost.messages\n",
        "            pass\n",
        TESTS,
    ),
    Mutant(
        "a room is gone with its last member (by the model)",
        HUB,
        "            self.channels.pop(channel.name, None)\n",
        "",
        TESTS,
    ),
    Mutant(
        "whoever is told that a room is empty is told so once for each time (by the model)",
        HUB,
        "            self.on_empty(channel)\n",
        "            pass\n",
        TESTS,
    ),
    Mutant(
        "bytes are held for what waits, and for nothing else (by the model)",
        HUB,
        "        self.held_bytes += size\n",
        "        self.held_bytes += size + 1\n",
        TESTS,
    ),
)
