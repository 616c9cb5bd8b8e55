"""A backend's message goes out once or not at all, to nobody else, and its error says which."""

from __future__ import annotations

from . import Mutant

CONNECTIONS = "sanic_chat/publishing/connections.py"
PUBLISH = "sanic_chat/publishing/publish.py"
PUBLICATION = "sanic_chat/protocol/publication.py"
CONNECTED = ("tests/publishing/test_connections.py",)
PUBLISHED = ("tests/publishing/test_publish.py",)
MADE = ("tests/protocol/test_publication.py",)

MUTANTS = (
    Mutant(
        "what was sent and not answered may have been published",
        CONNECTIONS,
        "    if is_sent and not isinstance(error, _SAYS_NO):\n",
        "    if False:\n",
        CONNECTED,
    ),
    Mutant(
        "what Redis says no to was not published",
        CONNECTIONS,
        "    if is_sent and not isinstance(error, _SAYS_NO):\n",
        "    if is_sent:\n",
        CONNECTED,
    ),
    Mutant(
        "nothing is published on a replica",
        CONNECTIONS,
        "    if why := why_wrong(reply):\n",
        "    if why := reply and None:\n",
        CONNECTED,
    ),
    Mutant(
        "a connection is made anew when it is old",
        CONNECTIONS,
        " > KEPT_SECONDS\n",
        " < 0\n",
        CONNECTED,
    ),
    Mutant(
        "an event loop notices a hang-up before it publishes",
        CONNECTIONS,
        "            await asyncio.sleep(0)\n            await asyncio.sleep(0)\n",
        "",
        CONNECTED,
    ),
    Mutant(
        "an event loop's connections end with it",
        CONNECTIONS,
        "            await one.close()\n",
        "            pass\n",
        CONNECTED,
    ),
    Mutant(
        "no database is selected, which an ACL may forbid",
        CONNECTIONS,
        '        "protocol": 2,\n',
        '        "protocol": 2,\n        "db": url.db,\n',
        CONNECTED,
    ),
    Mutant(
        "a user that is missing is not everybody",
        PUBLISH,
        "    if user is not msgspec.UNSET:\n",
        "    if user is not msgspec.UNSET and user is not None:\n",
        PUBLISHED,
    ),
    Mutant(
        "what pods would drop is refused",
        PUBLICATION,
        "    if len(data) > max_message_bytes:\n",
        "    if False:\n",
        (*MADE, *PUBLISHED),
    ),
    Mutant(
        "@me is no user of a backend's",
        "sanic_chat/protocol/room_name.py",
        "    if name == ME:\n",
        "    if False:\n",
        MADE,
    ),
    Mutant(
        "the ID that is given is the message's",
        PUBLICATION,
        "        id=own_id if id is None else id.encode(),\n",
        "        id=own_id,\n",
        MADE,
    ),
)
