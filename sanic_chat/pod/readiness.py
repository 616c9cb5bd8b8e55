"""The readiness of a pod: whether it may be sent new clients, and why not.

May live here: the order of the reasons. Must not know who asks.
"""

from __future__ import annotations

from ..broker.broker import Trouble
from .pod import Pod


def why_unready(pod: Pod) -> Trouble | None:
    """Return the first reason why a pod is not ready; None if it is."""
    if pod.draining:
        return Trouble("draining", "The pod is going away")
    if pod.descriptors.are_short:
        return Trouble("no_descriptors", "The pod has no file descriptors left for new clients")
    if not pod.has_keys():
        return Trouble("no_keys", "The pod has not got the keys yet that tokens are checked with")
    return pod.broker.trouble()
