"""The fingerprint of settings: the same on all pods that are set alike, and nothing can be read
from it that is secret.

May live here: which settings count, and how. Must not know who compares.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import fields

from .settings import Config

OF_ONE_HOST = {"pod_prefix"}
"""Settings in which the pods of a deployment differ on purpose."""


def fingerprint(config: Config) -> str:
    """Return 8 hexadecimal digits that are the same for equal settings.

    No secret is in them, and no setting of one host alone.
    """
    values = {
        setting.metadata["variable"]: str(getattr(config, setting.name))
        for setting in fields(config)
        if not setting.metadata["secret"] and setting.name not in OF_ONE_HOST
    }
    return hashlib.sha256(json.dumps(values, sort_keys=True).encode()).hexdigest()[:8]
