"""The start and the end of the main process, and of each worker.

    app ─→ Sanic's listeners ─┬→ main_process: what workers share, and the watch over them
                              └→ worker_process: the worker, its signals, its drain

May live here: which process runs which part (`context` has them), and the settings that a reload
brings (`new_settings`). Must not know routes, nor what a part does.
"""
