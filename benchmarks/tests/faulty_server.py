"""A server of rooms that does one thing wrong, once, to the member that came last."""

from __future__ import annotations

import argparse
import os
import socket

from ..peers.send_price import Member, Sender

WRONG_AT = 3
"""The number of that message, with the probe as the first."""


class FaultySender(Sender):
    """Loses a message, repeats it, adds one of a stranger, or hangs up."""

    def __init__(self, port: int, fault: str) -> None:
        super().__init__(port, firehose=0)
        self._fault = fault
        self._delivered = 0

    def deliver(self, room: str, payload: bytes) -> None:
        """Deliver as it should, but for one message and one member."""
        self._delivered += 1
        victim = list(self.members.values())[-1]
        if self._delivered == WRONG_AT and self._fault == "lose":
            self._deliver_to(self.rooms[room] - {victim}, room, payload)
            return
        super().deliver(room, payload)
        if self._delivered != WRONG_AT:
            return
        match self._fault:
            case "repeat":
                self._deliver_to({victim}, room, payload)
            case "add":
                self._deliver_to({victim}, room, payload.replace(b'"s":"0', b'"s":"9'))
            case "hang up":
                self.rooms[room].discard(victim)
                victim.socket.shutdown(socket.SHUT_RDWR)

    def _deliver_to(self, members: set[Member], room: str, payload: bytes) -> None:
        everybody, self.rooms[room] = self.rooms[room], members
        super().deliver(room, payload)
        self.rooms[room] = everybody


if __name__ == "__main__":
    parser = argparse.ArgumentParser()
    parser.add_argument("--port", type=int, required=True)
    parser.add_argument("--fault", required=True)
    options = parser.parse_args()
    sender = FaultySender(options.port, options.fault)
    print(f"Worker ready [{os.getpid()}]", flush=True)
    sender.run()
