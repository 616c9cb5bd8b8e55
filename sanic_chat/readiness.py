"""Whether a pod may be sent new clients, and why not."""

from __future__ import annotations

from typing import NamedTuple

from .broker import LinkState
from .pod import Pod


class Unready(NamedTuple):
    """Why a pod is not ready: a machine-readable code, and a sentence."""

    code: str
    message: str


def why_unready(pod: Pod) -> Unready | None:
    """The first reason why a pod is not ready; None if it is."""
    if pod.draining:
        return Unready("draining", "The pod is going away")
    links = (pod.subscriber.link, pod.publisher.link)
    refused = next((link for link in links if link.state is LinkState.REFUSED), None)
    if refused is not None:
        return Unready("redis_refuses", f"Redis does not let the pod in: {refused.last_error}")
    if not (pod.subscriber.is_up and pod.publisher.link.is_up):
        return Unready(
            "no_redis", "The pod is not connected to Redis: it reaches its own clients only"
        )
    if not pod.proof.is_current:
        age = pod.proof.age
        since = "yet" if age is None else f"for {age:.1f} s"
        return Unready(
            "proof_overdue", f"What the pod publishes on Redis has not come back to it {since}"
        )
    return None
