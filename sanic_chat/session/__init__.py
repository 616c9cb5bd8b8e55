"""One client's socket from its 101 to its end.

    bytes ─→ inbound ─→ handler.message_received        frames ─→ session ─→ socket
                                                            └──→ send_queue, for a slow client

May live here: bytes in, frames out, what waits for a slow client, and silence (`heartbeat`). A
session tells its `SessionHandler` what happens, and must not know what a message means.
"""
