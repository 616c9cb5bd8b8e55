"""Mutants of what a reload promises: nobody is refused, and what is wrong changes nothing."""

from __future__ import annotations

from . import Mutant

RELOAD = "sanic_chat/process/reload.py"
STEPS = ("tests/process/test_reload.py",)

MUTANTS = (
    Mutant(
        "who has been replaced accepts nobody any more",
        "sanic_chat/process/handover.py",
        "                yield pid, LEAVE\n",
        "                pass\n",
        ("tests/server/test_sighup.py::test_every_client_moves_once",),
    ),
    Mutant(
        "the last worker that takes clients does not leave",
        "sanic_chat/worker.py",
        "began > since and",
        "began != since and",
        ("tests/serving/test_departure.py",),
    ),
    Mutant(
        "who has been replaced stays while others may fail",
        RELOAD,
        "        self.keeps_everybody = True\n",
        "",
        STEPS,
    ),
    Mutant(
        "old workers are put back when a new one fails",
        RELOAD,
        "                self._crew.put_back(name, process)\n",
        "                pass\n",
        STEPS,
    ),
    Mutant(
        "old settings come back when a new worker fails",
        RELOAD,
        "            self._crew.before_next_start(settings.undo)\n",
        "",
        STEPS,
    ),
    Mutant(
        "a program is tried before a worker starts with it",
        RELOAD,
        "            yield from self._rehearse(settings)\n",
        "",
        STEPS,
    ),
    Mutant(
        "the environment precedes its file",
        "sanic_chat/config/env_file.py",
        '        if not own.get(name, "").strip()\n    }\n    return',
        "    }\n    return",
        ("tests/config/test_env_file.py",),
    ),
    Mutant(
        "what the file no longer says is forgotten",
        "sanic_chat/config/env_file.py",
        "if name not in given}",
        "}",
        ("tests/config/test_env_file.py",),
    ),
    Mutant(
        "what the main process uses itself stays as it was",
        "sanic_chat/config/changes.py",
        "            environment[name] = running[name]\n",
        "            pass\n",
        ("tests/config/test_changes.py",),
    ),
)
