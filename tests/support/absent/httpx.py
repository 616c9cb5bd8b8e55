"""Stands before httpx on the path of the servers that tests start, which are not to have it.

Sanic's command line imports it where it is installed, and rich and Pygments with it.
"""

raise ImportError("httpx belongs to the tests, and not to a server")
