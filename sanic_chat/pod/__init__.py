"""One worker process as the cluster sees it.

    session ─→ pod ─┬→ hub           broker ─→ broker_events ─→ hub
                    └→ broker

May live here: the course of a session that opens, speaks, joins, leaves and closes, and of a Redis
that comes and goes; the clients that have to wait (`load`, `backpressure`, `overload`); a pod's
report, metrics and readiness (`snapshot`, `sampler`, `closes`, `readiness`). Stands on hub,
session, broker, presence and cluster. Must not know Sanic, nor the environment.
"""
