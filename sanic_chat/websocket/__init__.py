"""The WebSocket, as its RFCs have it: frames, handshake, and which pages may connect.

Pure functions and values for RFC 6455 and 6454: no socket, no loop. Knows no JSON, and nothing of
what a message says.
"""
