"""The use of this process, beside what the system says."""

from __future__ import annotations

import gc
import os
import resource
import time
from pathlib import Path

import pytest

from sanic_chat.process import usage as usage_module
from sanic_chat.process.usage import UsageReader

from ..support.harness import memory


def test_the_use_of_this_process():
    """CPU, memory and limits are those that the kernel tells of it."""
    began = time.time()
    reader = UsageReader()
    first = reader.read()
    end = time.process_time() + 0.05
    while time.process_time() < end:
        pass
    second = reader.read()
    assert first.pid == os.getpid()
    assert began <= first.started_at <= time.time()
    assert 0.04 < second.cpu_seconds - first.cpu_seconds < 5
    assert second.resident_bytes == pytest.approx(memory(os.getpid()), rel=0.2)
    assert first.max_descriptors == resource.getrlimit(resource.RLIMIT_NOFILE)[0]


@pytest.mark.parametrize("has_number", [True, False], ids=["told", "counted"])
def test_open_descriptors(monkeypatch, has_number):
    """Each one more is counted, whether the kernel has their number or they are listed."""
    if not has_number:
        monkeypatch.setattr(usage_module, "_NUMBER", "/nowhere")
        monkeypatch.setattr(usage_module, "LOOK_SECONDS", 0.0)
    elif not Path("/proc/self/fd").stat().st_size:
        pytest.skip("this kernel does not tell")
    reader = UsageReader()
    gc.collect()  # what earlier tests have left open is not closed meanwhile
    before = reader.read().open_descriptors
    listed = len(list(Path("/proc/self/fd").iterdir())) - 1
    # The kernel counts those too that a thread is just about to have: it may wait for a pipe.
    assert listed <= before <= listed + has_number * 2
    files = [os.dup(0) for _ in range(7)]
    try:
        assert reader.read().open_descriptors == before + 7
    finally:
        for file in files:
            os.close(file)


def test_listing_is_not_done_each_time(monkeypatch):
    """A process with very many descriptors does not list them all once a second."""
    monkeypatch.setattr(usage_module, "_NUMBER", "/nowhere")
    reader = UsageReader()
    before = reader.read().open_descriptors
    file = os.dup(0)
    try:
        assert reader.read().open_descriptors == before
    finally:
        os.close(file)


def test_a_system_that_does_not_tell(monkeypatch):
    """Then nothing is claimed."""
    monkeypatch.setattr(usage_module, "_NUMBER", "/nowhere")
    monkeypatch.setattr(usage_module, "_DIRECTORIES", ("/nowhere",))
    monkeypatch.setattr(usage_module, "_MEMORY", "/nowhere")
    used = UsageReader().read()
    assert used.open_descriptors is None
    assert used.resident_bytes is None
    assert used.cpu_seconds > 0
