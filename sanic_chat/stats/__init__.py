"""The reports of pods, their sum, and the metrics of a server.

    a pod's report ─→ store (Redis, with an expiry) ─→ summary ─→ reporter.answer
    a process's metrics ─→ board (slots that the server's processes share) ─→ prometheus

Must not know what a pod is, nor where its figures come from.
"""
