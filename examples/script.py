"""A script that tells a room that its report is there, and everybody that a night has passed.

REDIS_URL=redis://127.0.0.1:6379 python examples/script.py
"""

import sys

from sanic_chat import NotPublished, publish


def main() -> None:
    report = publish("reports", {"report": "sales", "rows": 1200})
    print(f"message {report.id}, heard by {report.subscribers} subscribers")
    publish(None, "The reports of the night are there")


if __name__ == "__main__":
    try:
        main()
    except NotPublished as error:
        sys.exit(f"nobody was told: {error}")
