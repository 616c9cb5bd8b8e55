"""The main process and its children, as processes.

A new worker for one that dies or hangs (`supervisor`, `manager_hooks`, `workers`, `restarts`,
`watchdog`, `worker_states`), or for all of them (`reload`, `rehearsal`, `handover`, `listener`),
one stop per signal (`os_signals`), nobody left behind (`orphans`), memory that they share
(`slots`), what a process uses (`usage`, `descriptors`), and the embedded Redis. Knows Sanic's
`WorkerManager`; must not know what a worker serves.
"""
