"""Mutants of what the doctor promises: it looks on, it leaves nothing, it claims nothing."""

from __future__ import annotations

from . import Mutant

FINDINGS = "sanic_chat/doctor/findings.py"
CLUSTER = "sanic_chat/doctor/cluster.py"

MUTANTS = (
    Mutant(
        "a check that crashes stops no other",
        FINDINGS,
        "    except Exception as error:\n        if isinstance(error, TimeoutError)",
        "    except OSError as error:\n        if isinstance(error, TimeoutError)",
        ("tests/doctor/test_findings.py",),
    ),
    Mutant(
        "checks are run side by side",
        FINDINGS,
        "list(await asyncio.gather(*map(_answer, questions)))",
        "[await _answer(question) for question in questions]",
        ("tests/doctor/test_findings.py::test_side_by_side",),
    ),
    Mutant(
        "a question to Redis that is given up spoils no later answer",
        "sanic_chat/doctor/redis_probe.py",
        "next question.\n                await self.close()\n",
        "next question.\n",
        ("tests/doctor/test_redis_probe.py::test_a_redis_that_hangs",),
    ),
    Mutant(
        "no key is made that might stay",
        "sanic_chat/doctor/redis_access.py",
        "        if isinstance(was_set, hiredis.ReplyError):\n",
        "        if False:\n",
        ("tests/doctor/test_redis_access.py::test_a_user_that_may_only_add",),
    ),
    Mutant(
        "a pod that has just come is no other deployment's",
        CLUSTER,
        "        return await measure((await cluster.read())[0])\n",
        "        return await measure(cluster.pods)\n",
        ("tests/doctor/test_cluster.py::test_a_pod_that_has_just_come",),
    ),
    Mutant(
        "the rarest kind of pods is named first",
        CLUSTER,
        "key=lambda kind: len(kind[1]))",
        "key=lambda kind: -len(kind[1]))",
        ("tests/doctor/test_cluster.py::test_an_odd_one",),
    ),
    Mutant(
        "no redirect of a WebSocket is followed",
        "sanic_chat/doctor/site.py",
        "        return exc\n",
        "        return super().process_redirect(exc)\n",
        ("tests/doctor/test_site.py::test_a_redirect",),
    ),
)
