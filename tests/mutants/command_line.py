"""The command line tells its key to one server only, and says when something is missing."""

from __future__ import annotations

from . import Mutant

API = "sanic_chat/cli/api.py"
REQUEST = "sanic_chat/cli/request.py"
SHOWN = ("tests/cli/test_api.py",)
ASKED = ("tests/cli/test_request.py",)

MUTANTS = (
    Mutant(
        "a key follows no redirect",
        REQUEST,
        "build_opener(ProxyHandler({}), NoRedirects)",
        "build_opener(ProxyHandler({}))",
        ASKED,
    ),
    Mutant(
        "pods that have not answered are told, and are no good end",
        API,
        "    if not is_complete:\n",
        "    if False:\n",
        SHOWN,
    ),
    Mutant(
        "pages that never end are no answer",
        API,
        "        if page.next <= after:\n",
        "        if False:\n",
        SHOWN,
    ),
    Mutant(
        "what clients wrote moves no terminal",
        API,
        "                print_line(printable(line(entry)))\n",
        "                print_line(line(entry))\n",
        SHOWN,
    ),
    Mutant(
        "every page is asked for",
        API,
        "        after = page.next\n",
        "        return\n",
        SHOWN,
    ),
)
