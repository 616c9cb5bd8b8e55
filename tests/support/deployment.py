"""The files in conf/, as what they say."""

from __future__ import annotations

import json
import re
from typing import Any

import yaml

from sanic_chat.config.settings import Config

from .harness import ROOT

CONF = ROOT / "conf"


def unit_options() -> dict[str, list[str]]:
    """The options of the systemd unit, each with its values."""
    options: dict[str, list[str]] = {}
    for line in (CONF / "systemd/sanic-chat.service").read_text().splitlines():
        name, is_one, value = line.partition("=")
        if is_one and not line.startswith(("#", ";")):
            options.setdefault(name, []).append(value)
    return options


def compose_services() -> dict[str, dict[str, Any]]:
    """The services of the compose file, by name."""
    file = yaml.safe_load((CONF / "docker/compose.yaml").read_text())
    services: dict[str, dict[str, Any]] = file["services"]
    return services


def kubernetes_objects() -> list[dict[str, Any]]:
    """The objects of the manifest."""
    # An anchor holds in its document only, and each document has its own.
    return list(yaml.safe_load_all((CONF / "kubernetes/sanic-chat.yaml").read_text()))


def kubernetes_server() -> tuple[dict[str, Any], dict[str, Any]]:
    """The specification of a pod of the manifest, and that of its only container."""
    [deployment] = [one for one in kubernetes_objects() if one["kind"] == "Deployment"]
    pod: dict[str, Any] = deployment["spec"]["template"]["spec"]
    [container] = pod["containers"]
    return pod, container


def config_of(environment: dict[str, str]) -> Config:
    """The settings of a server with this environment, of which files are left out."""
    return Config.from_environment(
        {name: text for name, text in environment.items() if not name.endswith("_FILE")}
    )


def redis_options() -> dict[str, str]:
    """The lines of redis.conf, by their first word; `client-output-buffer-limit` by two."""
    lines = (CONF / "redis/redis.conf").read_text().splitlines()
    found = re.findall(
        r"^(client-output-buffer-limit \w+|[a-z-]+) (.*)$", "\n".join(lines), re.MULTILINE
    )
    return dict(found)


def image_instructions() -> list[tuple[str, str]]:
    """The instructions of the Dockerfile, each with what follows it, in one line."""
    text = (CONF / "docker/Dockerfile").read_text()
    lines = re.sub(r"^\s*#.*\n", "", text, flags=re.MULTILINE).replace("\\\n", " ").splitlines()
    return [(name, rest) for name, _, rest in (line.partition(" ") for line in lines) if name]


def image_command() -> list[str]:
    """What the image runs; json.loads fails if that is no exec form."""
    [command] = [rest for name, rest in image_instructions() if name == "CMD"]
    return list(json.loads(command))


def image_health_check() -> list[str]:
    """What the image's health check runs."""
    [check] = [rest for name, rest in image_instructions() if name == "HEALTHCHECK"]
    return list(json.loads(check.partition(" CMD ")[2]))
