"""A Celery task that tells a user on all tabs what became of an order.

REDIS_URL=redis://127.0.0.1:6379 celery -A examples.celery_tasks worker
REDIS_URL=redis://127.0.0.1:6379 celery -A examples.celery_tasks call shipped -a '[7, "anna"]'
"""

import os

from celery import Celery, Task

from sanic_chat import NotPublished, publish

app = Celery("shop", broker=os.environ["REDIS_URL"])


@app.task(name="shipped", bind=True, autoretry_for=(NotPublished,), retry_backoff=True)
def shipped(task: Task, order: int, user: str) -> None:
    """Tell a user. The message's ID is the task's: it stays, however often the task is tried."""
    publish(None, {"order": order, "state": "shipped"}, user=user, id=task.request.id)
