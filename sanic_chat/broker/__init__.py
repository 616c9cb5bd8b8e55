"""The Redis pub/sub path: a subscriber and a publisher, each on a supervised link of its own.

    publisher.publish ─→ outbox ─→ (end of loop turn) one write ─→ Redis
    Redis ─→ link ─→ subscriber ─→ on_message(channel, payload)

and a proof, once a second, that what is published does come back.

Knows channels and bytes; must not know sessions, rooms or what an envelope says.
"""

from .endpoint import Endpoint
from .link import LinkState
from .proof import DeliveryProof
from .publisher import Publisher
from .subscriber import Subscriber

__all__ = ["DeliveryProof", "Endpoint", "LinkState", "Publisher", "Subscriber"]
