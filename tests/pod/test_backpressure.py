"""Backpressure on its own: who is held, for what, and until when."""

from __future__ import annotations

import asyncio

from sanic_chat.pod.backpressure import Backpressure

from ..support.harness import eventually
from ..support.sessions import on_both_loops


class RecordingSource:
    """Notes whether it is held."""

    held = False

    def hold(self) -> None:
        assert not self.held
        self.held = True

    def release(self) -> None:
        assert self.held
        self.held = False


class TestBackpressure:
    @on_both_loops
    async def test_held_until_relieved(self):
        """What is held stays so until the pod has caught up, and is let go by itself then."""
        relieved = False
        backpressure: Backpressure[None] = Backpressure(
            asyncio.get_running_loop(), is_relieved=lambda cause: relieved
        )
        sources = [RecordingSource(), RecordingSource()]
        for source in sources:
            backpressure.hold(source, None)
            backpressure.hold(source, None)
        assert all(source.held for source in sources)
        assert backpressure.holds == 2
        await asyncio.sleep(0.05)
        assert all(source.held for source in sources)
        relieved = True
        await eventually(lambda: not any(source.held for source in sources), "both are released")
        assert not backpressure.held

    @on_both_loops
    async def test_each_for_its_cause(self):
        """What is held for one cause does not wait for another."""
        relieved = {"a"}
        backpressure: Backpressure[str] = Backpressure(
            asyncio.get_running_loop(), is_relieved=lambda cause: cause in relieved
        )
        one, other = RecordingSource(), RecordingSource()
        backpressure.hold(one, "a"), backpressure.hold(other, "b")
        await eventually(lambda: not one.held, "its cause is gone")
        assert other.held
        relieved.add("b")
        await eventually(lambda: not other.held, "its cause is gone too")

    @on_both_loops
    async def test_one_is_let_go(self):
        """A source that closes is let go alone."""
        backpressure = Backpressure(asyncio.get_running_loop(), is_relieved=lambda cause: False)
        one, other = RecordingSource(), RecordingSource()
        backpressure.hold(one, None), backpressure.hold(other, None)
        backpressure.release(one)
        backpressure.release(one)
        assert (one.held, other.held) == (False, True)
        backpressure.close()
        assert not other.held
