"""A Django site in a file: who orders something is answered, and the kitchen is told.

REDIS_URL=redis://127.0.0.1:6379 python examples/django_site.py runserver
curl -d dish=soup http://127.0.0.1:8000/orders
"""

import logging
import sys

from django.conf import settings
from django.core.management import execute_from_command_line
from django.db import transaction
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.urls import path

from sanic_chat import PublishError, apublish, publish

settings.configure(
    ROOT_URLCONF=__name__,
    ALLOWED_HOSTS=["127.0.0.1"],
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
)


def order(request: HttpRequest) -> HttpResponse:
    dish = request.POST["dish"]
    with transaction.atomic():
        # ... the order is stored, and the kitchen is told once it is.
        transaction.on_commit(lambda: tell("kitchen", {"dish": dish}))
    return JsonResponse({"ordered": dish})


def tell(room: str, data: object) -> None:
    """Tell a room. Who orders is served, whether or not Redis is there."""
    try:
        publish(room, data)
    except PublishError as error:
        logging.error("%s", error)


async def call(request: HttpRequest) -> HttpResponse:
    told = await apublish("kitchen", {"call": "waiter"})
    return JsonResponse({"id": told.id})


urlpatterns = [path("orders", order), path("calls", call)]

if __name__ == "__main__":
    execute_from_command_line(sys.argv)
