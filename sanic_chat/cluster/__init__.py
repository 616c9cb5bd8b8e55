"""Pods, one to another: who lives, questions to all of them, and their answers.

    control ─→ asking ─┬→ directory: who is where
                       ├→ removals: who is to go
                       └→ revocations: whose tokens count no more
    control ─→ lifecycle: who comes and goes, and which pods are lost

May live here: questions to all pods and their answers, and what a pod knows of the others. Must not
know what a session means to its own pod, nor who asks.
"""
