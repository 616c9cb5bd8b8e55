"""Publishing from any program that reaches Redis: a task, a web framework, a script.

    publish, apublish ─→ protocol/publication ─→ a connection that is kept ─→ Redis ─→ all pods

Needs neither a server nor Sanic. What is published goes out once, or not at all.
"""
