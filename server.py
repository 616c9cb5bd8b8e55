"""What `sanic server.py`, `sanic server:app` and `python server.py` run.

`python server.py [options]` takes the same options as the sanic command, and becomes it.
"""

import os
import sys
from pathlib import Path
from typing import Any

from sanic_chat import ConfigError, create_app

__all__ = ["app", "create_app"]


def __getattr__(name: str) -> Any:
    # Made when it is asked for, so that `sanic server:create_app` does not make a second one.
    # The sanic command reads `server.py` as the attribute `py` of the module `server`.
    if name not in ("app", "py"):
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    global app, py
    try:
        app = py = create_app()
    except ConfigError as error:
        sys.exit(f"sanic_chat does not start: {error}")
    return app


if __name__ == "__main__":
    here = str(Path(__file__).resolve().parent)
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, (here, os.environ.get("PYTHONPATH"))))
    os.execv(sys.executable, [sys.executable, "-m", "sanic", "server:app", *sys.argv[1:]])
