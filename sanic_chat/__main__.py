"""`python -m sanic_chat` is `sanic-chat`."""

from .cli.main import main

if __name__ == "__main__":
    main()
