"""A key is for what it says itself, what cannot be read changes nothing, nobody waits for it."""

from __future__ import annotations

from . import Mutant

KEYS = "sanic_chat/auth/keys.py"
REFRESH = "sanic_chat/auth/key_refresh.py"
SOURCES = "sanic_chat/auth/key_sources.py"
AUTH = "sanic_chat/auth/auth.py"
READ = ("tests/auth/test_keys.py",)
REFRESHED = ("tests/auth/test_key_refresh.py",)
FETCHED = ("tests/auth/test_key_sources.py",)

MUTANTS = (
    # -- which keys --------------------------------------------------------------------------------
    Mutant(
        "a key's alg is the only algorithm that it is for",
        KEYS,
        """        possible = (jwk["alg"],)\n""",
        "",
        READ,
    ),
    Mutant(
        "a private key is none for who checks",
        KEYS,
        "    if any(name in jwk for name in _PRIVATE):\n",
        "    if False:\n",
        READ,
    ),
    Mutant(
        "AUTH_PUBLIC_KEY is no private key",
        KEYS,
        """    if any(hasattr(key, "sign") for _, key in prepared.values()):\n""",
        "    if False:\n",
        READ,
    ),
    Mutant(
        "a shared secret does not come from a URL",
        KEYS,
        "        if not with_secrets:\n",
        "        if False:\n",
        READ,
    ),
    Mutant(
        "of two keys with one kid the first counts",
        KEYS,
        "            if id in ids:\n",
        "            if False:\n",
        READ,
    ),
    Mutant(
        "a short key is none",
        KEYS,
        "        if method.check_key_length(key) is None:\n",
        "        if True:\n",
        READ,
    ),
    # -- which of them for a token -----------------------------------------------------------------
    Mutant(
        "a token with a kid is checked with that key only",
        KEYS,
        "        if id is None or not self._is_named:\n",
        "        if True:\n",
        ("tests/auth/test_several_keys.py",),
    ),
    Mutant(
        "a token without a kid does not make a server try all keys",
        AUTH,
        "        if len(possible) > MAX_TRIED_KEYS:\n",
        "        if False:\n",
        ("tests/auth/test_several_keys.py",),
    ),
    Mutant(
        "a critical header that is not understood is refused",
        AUTH,
        """"crit" not in header and """,
        "",
        ("tests/auth/test_auth.py",),
    ),
    # -- read anew ---------------------------------------------------------------------------------
    Mutant(
        "a flood of unknown keys is one reading in a while",
        REFRESH,
        "            self._next_out_of_turn = now() + UNKNOWN_SECONDS\n",
        "",
        REFRESHED,
    ),
    Mutant(
        "a reading that hangs is given up",
        REFRESH,
        "            async with asyncio.timeout(READ_SECONDS):\n",
        "            async with asyncio.timeout(None):\n",
        REFRESHED,
    ),
    Mutant(
        "while a reading hangs there is no other",
        REFRESH,
        "        if self._is_reading:\n",
        "        if False:\n",
        REFRESHED,
    ),
    Mutant(
        "a process does not wait for a reading at its end",
        REFRESH,
        "daemon=True",
        "daemon=False",
        REFRESHED,
    ),
    Mutant(
        "a server without keys is not ready",
        "sanic_chat/pod/readiness.py",
        "    if not pod.has_keys():\n",
        "    if False:\n",
        ("tests/server/test_keys.py::test_no_web_server_at_first",),
    ),
    Mutant(
        "a reload does not put workers without keys in the place of others",
        "sanic_chat/app.py",
        "        if is_tried or (",
        "        if (",
        ("tests/server/test_keys.py::test_rotation_by_file",),
    ),
    # -- from where --------------------------------------------------------------------------------
    Mutant(
        "http goes by no proxy",
        SOURCES,
        "ProxyHandler(None if self._is_secure else {})",
        "ProxyHandler(None)",
        FETCHED,
    ),
    Mutant(
        "a reading that is given up ends its connection",
        SOURCES,
        "                self._socket.shutdown(socket.SHUT_RDWR)\n",
        "                pass\n",
        FETCHED,
    ),
    Mutant(
        "a set is read no further than it may be long",
        SOURCES,
        "response.read(MAX_SET_BYTES + 1)",
        "response.read()",
        FETCHED,
    ),
    Mutant(
        "a pipe is not waited for",
        SOURCES,
        "os.O_RDONLY | os.O_NONBLOCK",
        "os.O_RDONLY",
        FETCHED,
    ),
)
