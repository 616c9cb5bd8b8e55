"""Metrics: what is told is whole, of the living, of now, and cost no message anything."""

from __future__ import annotations

from . import Mutant

SLOTS = "sanic_chat/process/slots.py"
OF_SLOTS = ("tests/process/test_slots.py",)
SAMPLER = "sanic_chat/pod/sampler.py"
OF_SAMPLER = ("tests/pod/test_sampler.py",)

MUTANTS = (
    # -- slots -----------------------------------------------------------------------------
    Mutant(
        "a page that was not written to its end is not read",
        SLOTS,
        "                if _CHECKSUM.unpack_from(start, _PAGE_HEAD.size) "
        "== (_checksum(head, content),):\n",
        "                if content is not None:\n",
        OF_SLOTS,
    ),
    Mutant(
        "what a process wrote is told while it lives, and no longer",
        SLOTS,
        "        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, slot)\n        return False\n",
        "        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, slot)\n        return True\n",
        OF_SLOTS,
    ),
    Mutant(
        "who gets a slot is not taken for who had it",
        SLOTS,
        "                    self._memory[page : page + _CONTENT_AT] = bytes(_CONTENT_AT)\n",
        "                    assert self._memory[page : page + _CONTENT_AT]\n",
        OF_SLOTS,
    ),
    Mutant(
        "of two whole pages the newer one counts",
        SLOTS,
        "            found = max(self._whole_pages(slot), default=None)\n",
        "            found = min(self._whole_pages(slot), default=None)\n",
        OF_SLOTS,
    ),
    # -- what is shown ---------------------------------------------------------------------
    Mutant(
        "a worker that is asked tells its own figures of this moment",
        "sanic_chat/stats/board.py",
        "        self.write()\n        entries = []\n",
        "        entries = []\n",
        ("tests/stats/test_board.py",),
    ),
    Mutant(
        "a reason that there has not been yet is told with 0",
        "sanic_chat/stats/exposition.py",
        "            for key, value in {**zeros, **values}.items():\n",
        "            for key, value in values.items():\n",
        ("tests/stats/test_exposition.py",),
    ),
    Mutant(
        "clients cannot make more labels by close codes of their own",
        "sanic_chat/pod/closes.py",
        "and code >= FIRST_OF_LIBRARIES:\n",
        "and code > 4999:\n",
        ("tests/pod/test_closes.py",),
    ),
    Mutant(
        "a worker that was killed because it hangs has not just died",
        "sanic_chat/process/supervisor.py",
        '"hung" if worker.pid in self._hanging else "died"',
        '"hung" if worker.pid is None else "died"',
        ("tests/process/test_supervisor.py::test_a_worker_that_hangs_is_replaced",),
    ),
    # -- samples ---------------------------------------------------------------------------
    Mutant(
        "one turn of the hub is timed, and the next is as it ever was",
        SAMPLER,
        "        self._hub.call_soon = self._call_soon\n        return self._call_soon(",
        "        return self._call_soon(",
        OF_SAMPLER,
    ),
    Mutant(
        "a long stall counts for each look that there was no time for",
        SAMPLER,
        "            self.loop_lag.observe(lag - missed * INTERVAL_SECONDS)\n",
        "            assert lag >= missed * INTERVAL_SECONDS\n",
        OF_SAMPLER,
    ),
)
