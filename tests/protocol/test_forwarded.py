"""The addresses of clients: from the socket, or from X-Forwarded-For, whoever may have begun it."""

from __future__ import annotations

from ipaddress import ip_network
from typing import Any

import pytest

from sanic_chat.protocol.forwarded import MAX_PROXIES, UNIX, UNKNOWN, ClientAddresses

NOBODY = ClientAddresses(())
PROXIES = ClientAddresses((ip_network("10.0.0.0/8"), ip_network("fd00::/8"), UNIX))
PROXY = ("10.0.0.1", 4711)


@pytest.mark.parametrize(
    ("peername", "shown"),
    [
        pytest.param(("192.0.2.7", 4711), "192.0.2.7:4711", id="IPv4"),
        pytest.param(("2001:db8::7", 4711, 0, 0), "[2001:db8::7]:4711", id="IPv6"),
        pytest.param(("fe80::7%eth0", 4711, 0, 2), "[fe80::7]:4711", id="zone"),
        pytest.param(("::ffff:192.0.2.7", 4711, 0, 0), "192.0.2.7:4711", id="IPv4 within IPv6"),
        pytest.param(("no address", 4711), "no address", id="another family"),
        pytest.param("", UNIX, id="Unix socket"),
        pytest.param("/run/proxy.sock", UNIX, id="Unix socket with a name"),
        pytest.param(None, UNKNOWN, id="a socket that is gone"),
    ],
)
def test_nobody_is_trusted(peername: Any, shown: str) -> None:
    """The address is the socket's own, whatever the header says."""
    assert not NOBODY.trusts_proxies
    assert NOBODY.of(peername, ["203.0.113.9"]) == shown


@pytest.mark.parametrize(
    ("lines", "shown"),
    [
        pytest.param([], "10.0.0.1", id="no header"),
        pytest.param(["203.0.113.9"], "203.0.113.9", id="one address"),
        pytest.param(["1.2.3.4, 203.0.113.9, 10.9.9.9"], "203.0.113.9", id="behind two proxies"),
        pytest.param(["1.2.3.4", " 203.0.113.9 ", "10.9.9.9"], "203.0.113.9", id="lines"),
        pytest.param(["203.0.113.9:5000"], "203.0.113.9", id="a port"),
        pytest.param(["[2001:db8::9]:5000"], "2001:db8::9", id="IPv6 with a port"),
        pytest.param(["2001:db8::9"], "2001:db8::9", id="IPv6"),
        pytest.param(["[2001:db8::9]"], "2001:db8::9", id="brackets"),
        pytest.param(["::ffff:10.9.9.9"], "10.9.9.9", id="a proxy as IPv6"),
        pytest.param(["fd00::1"], "fd00::1", id="a proxy by IPv6"),
        pytest.param(["10.8.8.8, 10.9.9.9"], "10.8.8.8", id="proxies only"),
        pytest.param(["203.0.113.9, unknown"], "10.0.0.1", id="no address at the end"),
        pytest.param(["unknown, 10.9.9.9"], "10.9.9.9", id="no address behind a proxy"),
        pytest.param(["203.0.113.9,"], "10.0.0.1", id="nothing at the end"),
        pytest.param(["203.0.113.9\x1b[31m"], "10.0.0.1", id="no address at all"),
    ],
)
def test_behind_proxies(lines: list[str], shown: str) -> None:
    """The last address that is no proxy's counts; what cannot be read ends the search."""
    assert PROXIES.trusts_proxies
    assert PROXIES.of(PROXY, lines) == shown
    assert PROXIES.of("/run/proxy.sock", lines) == (UNIX if shown == "10.0.0.1" else shown)


def test_a_client_of_its_own() -> None:
    """Who connects directly is believed nothing."""
    assert PROXIES.of(("192.0.2.7", 4711), ["203.0.113.9"]) == "192.0.2.7:4711"


def test_a_proxy_on_a_unix_socket_that_is_not_trusted() -> None:
    addresses = ClientAddresses((ip_network("10.0.0.0/8"),))
    assert addresses.of("", ["203.0.113.9"]) == UNIX


def test_very_many_proxies() -> None:
    """Of a long header only its end is looked at."""
    proxies = [f"10.0.1.{number}" for number in range(MAX_PROXIES)]
    assert PROXIES.of(PROXY, [", ".join(["203.0.113.9", *proxies[1:]])]) == "203.0.113.9"
    assert PROXIES.of(PROXY, [", ".join(["203.0.113.9", *proxies])]) == proxies[0]
