"""Mutants of presence: what pods miss of each other is found out, and nobody is buried alive."""

from __future__ import annotations

from . import Mutant

LISTENER = "sanic_chat/presence/listener.py"
OWN_PART = "sanic_chat/presence/own_part.py"
PEERS = "sanic_chat/presence/peers.py"
PRESENCE = "sanic_chat/presence/presence.py"
RENEWAL = "sanic_chat/pod/renewal.py"
SPEAKER = "sanic_chat/presence/speaker.py"
VIEW = "sanic_chat/presence/view.py"
WATCHED_ROOM = "sanic_chat/presence/watched_room.py"

MODEL = ("tests/presence/test_presence_model.py",)
SEQUENCES = ("tests/presence/test_sequences.py",)

MUTANTS = (
    # -- what was missed is asked for ------------------------------------------------------
    Mutant(
        "a number that is missing is a doubt",
        LISTENER,
        "        if peer.n != expected:\n",
        "        if peer.n is None:\n",
        MODEL,
    ),
    Mutant(
        "a request is repeated until it is answered",
        LISTENER,
        "                peer.to_ask = dict.fromkeys(peer.doubts)\n",
        "                pass\n",
        MODEL,
    ),
    Mutant(
        "an answer settles no doubt that arose after its request",
        PEERS,
        "            if peer.doubts.get(room, request + 1) <= request:\n",
        "            if room in peer.doubts:\n",
        SEQUENCES,
    ),
    Mutant(
        "a pod that is new, or heard again after silence, is doubted",
        LISTENER,
        "        if peer.n != expected:\n",
        "        if peer.n not in (None, expected):\n",
        MODEL,
    ),
    Mutant(
        "the first member of a room is told to those who watch",
        SPEAKER,
        "        if is_first:\n",
        "        if False:\n",
        MODEL,
    ),
    Mutant(
        "a pod that comes back after silence is told to ask for what it watches",
        LISTENER,
        "        elif peer.may_return and watching:\n",
        "        elif False:\n",
        SEQUENCES,
    ),
    Mutant(
        "a killed pod is told of nothing",
        LISTENER,
        "        self._speaker.forget(silent)\n",
        "",
        SEQUENCES,
    ),
    Mutant(
        "nobody holds who has come back to another pod, and may have left it since",
        LISTENER,
        "        self._speaker.came_elsewhere(stream.came)\n",
        "",
        SEQUENCES,
    ),
    Mutant(
        "nor does anybody who has come back while nobody watched",
        SPEAKER,
        "            self._first.clear()\n",
        "            self._first.clear()\n            self._came.clear()\n",
        SEQUENCES,
    ),
    Mutant(
        "nor if it was to a pod that has just started",
        PRESENCE,
        "        if self.in_use and len(self.listener.peers) > peers:\n",
        "        if False:\n",
        SEQUENCES,
    ),
    Mutant(
        "nobody is held when other pods may note no more who comes back",
        PRESENCE,
        'now if now < self._used_until - UNHELD_SECONDS else float("inf")',
        "now",
        SEQUENCES,
    ),
    Mutant(
        "nobody is held by a drain who came back before it has closed",
        PRESENCE,
        "            is_back = reconnect_at is not None and",
        "            is_back = False and",
        SEQUENCES,
    ),
    Mutant(
        "a hold is over with a return, be it for a moment",
        VIEW,
        "        if user in self.holds:\n",
        "        if False:\n",
        SEQUENCES,
    ),
    Mutant(
        "so it is with a return to the pod that watches",
        PRESENCE,
        "            self.listener.came(room, (session.user,), self._loop.time())\n",
        "",
        SEQUENCES,
    ),
    Mutant(
        "who asks is known to watch, be it that its stream was lost",
        LISTENER,
        "            self._is_watching(pod_id, peer, True)\n",
        "            pass\n",
        SEQUENCES,
    ),
    Mutant(
        "words of an old connection are not taken for new ones",
        LISTENER,
        "        if peer is None or (peer.n is not None and expected < peer.n):\n",
        "        if peer is None:\n",
        SEQUENCES,
    ),
    # -- nobody has left who did not --------------------------------------------------------
    Mutant(
        "a pod that stood still buries nobody",
        PRESENCE,
        "            self._beaten_at = now\n            self.listener.beat(now)\n",
        "            for _ in range(int(now - self._beaten_at)):\n"
        "                self.listener.beat(now)\n            self._beaten_at = now\n",
        MODEL,
    ),
    Mutant(
        "no hold ends while other pods may not be heard",
        WATCHED_ROOM,
        'heard_until=heard_until if is_complete else float("-inf")',
        "heard_until=heard_until",
        MODEL,
    ),
    Mutant(
        "a pod that stood still hears who came back before it lets a hold end",
        PRESENCE,
        "min(proven_until, self.listener.peers.heard_until(now))",
        "now",
        SEQUENCES,
    ),
    Mutant(
        "no hold ends before Redis is known not to have stalled",
        PRESENCE,
        "min(proven_until, self.listener.peers.heard_until(now))",
        "self.listener.peers.heard_until(now)",
        ("tests/presence/test_presence.py",),
    ),
    Mutant(
        "no hold ends before every living pod was heard",
        PRESENCE,
        "min(proven_until, self.listener.peers.heard_until(now))",
        "proven_until",
        SEQUENCES,
    ),
    Mutant(
        "the canary that comes back after a stall proves nothing of it",
        PRESENCE,
        "now - 2 * seconds)",
        "now)",
        ("tests/presence/test_presence.py",),
    ),
    Mutant(
        "other pods have time to say that a user has come back",
        VIEW,
        "heard_until - HEARSAY_SECONDS",
        "heard_until",
        ("tests/presence/test_view.py",),
    ),
    Mutant(
        "a user who leaves a room that nobody watches yet is held",
        OWN_PART,
        "            if hold is not None:\n                self.holds.add",
        "            if hold is not None and self.is_watched:\n                self.holds.add",
        SEQUENCES,
    ),
    Mutant(
        "who watches all rooms does so again with a token that allows it again",
        RENEWAL,
        "                if session.presence:\n",
        "                if False:\n",
        ("tests/server/test_tokens.py::test_presence_is_given_back",),
    ),
    # -- nothing is said or kept for nothing -----------------------------------------------
    Mutant(
        "a pod that watches nothing is told of nothing",
        LISTENER,
        "        if peer.watching and not watching:\n",
        "        if False:\n",
        SEQUENCES,
    ),
    Mutant(
        "what a leaving pod has held is let go of",
        PRESENCE,
        "stream.watching or stream.leaving)",
        "stream.watching)",
        SEQUENCES,
    ),
)
