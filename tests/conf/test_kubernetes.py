"""The manifest for Kubernetes: valid, hardened, and with the settings that it means."""

from __future__ import annotations

import os
from typing import Any

import pytest

from sanic_chat import __version__
from sanic_chat.config.settings import Config

from ..support.deployment import kubernetes_objects, kubernetes_server

OLDEST = "1.27"
"""As the manifest says."""


def only(kind: str) -> dict[str, Any]:
    [found] = [one for one in kubernetes_objects() if one["kind"] == kind]
    return found


@pytest.mark.parametrize("one", kubernetes_objects(), ids=lambda one: one["kind"])
def test_objects_are_valid(one: dict[str, Any]) -> None:
    """By the schemas of the oldest and the newest release, with no field that these do not know."""
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    for version in (OLDEST, kubernetes_validate.latest_version()):
        kubernetes_validate.validate(one, version, strict=True)


def test_an_unknown_field_is_noticed() -> None:
    """The check above can fail."""
    kubernetes_validate = pytest.importorskip("kubernetes_validate")
    one = only("Deployment")
    one["spec"]["template"]["spec"]["terminationGracePeriod"] = 30
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(one, OLDEST, strict=True)


def test_labels_lead_to_the_pods() -> None:
    """Service, budget, spread and Deployment all mean the same pods, and the port has its name."""
    deployment = only("Deployment")
    template = deployment["spec"]["template"]
    labels = template["metadata"]["labels"]
    assert deployment["spec"]["selector"]["matchLabels"] == labels
    assert only("Service")["spec"]["selector"] == labels
    assert only("PodDisruptionBudget")["spec"]["selector"]["matchLabels"] == labels
    for spread in template["spec"]["topologySpreadConstraints"]:
        assert spread["labelSelector"]["matchLabels"] == labels
    _, container = kubernetes_server()
    [port] = container["ports"]
    assert only("Service")["spec"]["ports"][0]["targetPort"] == port["name"]
    assert str(port["containerPort"]) in container["args"]
    for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
        assert container[probe]["httpGet"]["port"] == port["name"]
    assert container["readinessProbe"]["httpGet"]["path"] == "/ready"
    assert container["livenessProbe"]["httpGet"]["path"] == "/health"


def test_prometheus_is_told_what_to_ask() -> None:
    """The annotations lead to the metrics, at the port that the container has."""
    annotations = only("Deployment")["spec"]["template"]["metadata"]["annotations"]
    [port] = kubernetes_server()[1]["ports"]
    assert annotations == {
        "prometheus.io/scrape": "true",
        "prometheus.io/port": str(port["containerPort"]),
        "prometheus.io/path": "/metrics",
    }


def test_no_server_goes_before_another_has_come() -> None:
    update = only("Deployment")["spec"]["strategy"]["rollingUpdate"]
    assert update["maxUnavailable"] == 0
    assert (
        only("Deployment")["spec"]["replicas"]
        > only("PodDisruptionBudget")["spec"]["maxUnavailable"]
    )


def test_the_restricted_profile() -> None:
    """What Kubernetes' pod security standard "restricted" wants, and a read-only file system."""
    pod, container = kubernetes_server()
    assert pod["securityContext"]["runAsNonRoot"] is True
    assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod["automountServiceAccountToken"] is False


def test_the_image_is_of_this_version() -> None:
    _, container = kubernetes_server()
    assert container["image"].endswith(f"/sanic_chat:{__version__}")


def test_settings() -> None:
    """Each variable is a setting, with a value that is allowed, and no Service sets another."""
    pod, container = kubernetes_server()
    environment = {one["name"]: one.get("value", "pod-1") for one in container["env"]}
    assert Config.doubts(environment) == []
    Config.from_environment({**environment, "REDIS_URL_FILE": ""})
    assert pod["enableServiceLinks"] is False
    [mount] = container["volumeMounts"]
    assert os.path.dirname(environment["REDIS_URL_FILE"]) == mount["mountPath"]
