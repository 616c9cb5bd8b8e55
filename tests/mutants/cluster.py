"""What a pod asks of all: who is missing is known, and who is disconnected stays so."""

from __future__ import annotations

from . import Mutant

ASKING = "sanic_chat/cluster/asking.py"
CONTROL = "sanic_chat/cluster/control.py"
PAGES = "sanic_chat/protocol/pages.py"
REMOVALS = "sanic_chat/cluster/removals.py"
REVOCATIONS = "sanic_chat/cluster/revocations.py"
UPGRADER = "sanic_chat/upgrade/upgrader.py"
LIFECYCLE = ("tests/cluster/test_lifecycle.py",)
ASKED = ("tests/cluster/test_asking.py",)
DISCONNECTED = ("tests/server/test_disconnect.py",)

MUTANTS = (
    Mutant(
        "a pod that has left is not waited for",
        CONTROL,
        '        self.send(GOODBYE, b"{}")\n',
        "",
        ASKED,
    ),
    Mutant(
        "a pod that leaves while it is asked is not missing",
        ASKING,
        "        control.on_goodbye.append(self._said_goodbye)\n",
        "",
        ASKED,
    ),
    Mutant(
        "a disconnect waits for no question",
        REMOVALS,
        "self._disconnect_here, acts=True)",
        "self._disconnect_here)",
        ("tests/server/test_removals.py::test_a_kick_while_others_ask",),
    ),
    Mutant(
        "a draining pod goes on to be asked",
        "sanic_chat/pod/pod.py",
        "        self.control.beat()\n",
        "",
        ASKED,
    ),
    Mutant(
        "a pod that is cut off does not say that it knows all",
        ASKING,
        "complete = not missing and was_proven and self._is_proven()",
        "complete = not missing",
        ASKED,
    ),
    Mutant(
        "nothing is told from behind the end of another pod's page",
        PAGES,
        "            if end is not None and its_key > end:\n",
        "            if False:\n",
        ("tests/protocol/test_pages.py",),
    ),
    Mutant(
        "a page has few bytes",
        PAGES,
        "len(page) == limit or (room < 0 and page)",
        "len(page) == limit",
        ("tests/protocol/test_pages.py",),
    ),
    Mutant(
        "who is shaking hands is disconnected too",
        UPGRADER,
        "kick = self._pod.cluster.removals.kick_of(request.user, request.began)",
        "kick = None",
        DISCONNECTED,
    ),
    Mutant(
        "a pod that was cut off disconnects whom it should have",
        REMOVALS,
        "            self._disconnect_here(removal)\n",
        "            pass\n",
        ("tests/cluster/test_removals.py",),
    ),
    Mutant(
        "a pod that was cut off leaves alone who has come since",
        REMOVALS,
        "        if removal.seconds_ago:\n",
        "        if False:\n",
        ("tests/cluster/test_removals.py",),
    ),
    Mutant(
        "what was sent to a client comes before its close frame",
        REMOVALS,
        "            self._hub.catch_up(session)\n",
        "",
        ("tests/cluster/test_removals.py",),
    ),
    Mutant(
        "a token that does not say when it was issued is revoked too",
        REVOCATIONS,
        "identity.issued_at is None or identity.issued_at < before",
        "identity.issued_at is not None and identity.issued_at < before",
        ("tests/cluster/test_revocations.py",),
    ),
    Mutant(
        "a pod that starts knows which tokens are revoked",
        "sanic_chat/pod/pod.py",
        "                await self.cluster.revocations.caught_up()\n",
        "                pass\n",
        ("tests/cluster/test_revocations.py",),
    ),
    Mutant(
        "a pod that has said goodbye is not lost",
        CONTROL,
        "        self.forget(pod_id)\n        for tell",
        "        for tell",
        LIFECYCLE,
    ),
    Mutant(
        "no pod is lost because of an outage",
        "sanic_chat/cluster/lifecycle.py",
        "        if was_frozen or not is_proven:",
        "        if was_frozen:",
        LIFECYCLE,
    ),
    Mutant(
        "a lost pod that is heard again tells of its sessions",
        "sanic_chat/cluster/lifecycle.py",
        '            self._control.send_to(pod_id, LOST, b"{}")\n',
        "",
        LIFECYCLE,
    ),
    Mutant(
        "a pod whose canaries are rare is heard all the same",
        "sanic_chat/cluster/cluster.py",
        "        if self._canaries_are_rare:\n",
        "        if False:\n",
        ASKED,
    ),
    Mutant(
        "a revoked token does not renew an open connection",
        "sanic_chat/pod/renewal.py",
        "            self._check(identity)\n",
        "",
        DISCONNECTED,
    ),
)
