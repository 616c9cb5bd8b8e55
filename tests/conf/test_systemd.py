"""The unit for systemd: what systemd itself says of it."""

from __future__ import annotations

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from ..support.deployment import CONF, unit_options
from ..support.harness import ROOT

UNIT = CONF / "systemd/sanic-chat.service"
INSTALLED = "/opt/sanic_chat/bin/sanic-chat"


def analyze(*arguments: str) -> subprocess.CompletedProcess[str]:
    if shutil.which("systemd-analyze") is None:
        pytest.skip("systemd-analyze is not installed: apt-get install systemd")
    return subprocess.run(["systemd-analyze", *arguments], capture_output=True, text=True)


def test_systemd_understands_it(tmp_path: Path) -> None:
    """`systemd-analyze verify` has nothing to say, once the program is where the unit says."""
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace(INSTALLED, shutil.which("true") or "/bin/true"))
    done = analyze("verify", str(unit))
    about_it = [line for line in (done.stdout + done.stderr).splitlines() if UNIT.name in line]
    assert (done.returncode, about_it) == (0, [])
    unit.write_text(unit.read_text().replace("KillMode=", "KillMood="))
    assert "KillMood" in analyze("verify", str(unit)).stderr


def test_exposure() -> None:
    """It is as little exposed as docs/deploy.md says."""
    page = (ROOT / "docs/deploy.md").read_text()
    documented = re.search(r"rates the unit ([\d.]+) of 10", page)[1]
    done = analyze("security", "--offline=yes", "--no-pager", str(UNIT))
    [found] = re.findall(r"Overall exposure level for \S+: ([\d.]+)", done.stdout)
    assert found == documented
    assert float(found) < 2


def test_its_commands() -> None:
    """The check before the start is of the same program, and knows the reload."""
    options = unit_options()
    [check], [start], [reload] = (options[f"Exec{one}"] for one in ("StartPre", "Start", "Reload"))
    assert check == f"{INSTALLED} serve --check"
    assert start.startswith(f"{INSTALLED} serve ")
    assert reload == "kill -HUP $MAINPID"
