"""Which pages may connect: spelling, the own host, the list, and headers that lie."""

from __future__ import annotations

import pytest

from sanic_chat.websocket.origin import OriginPolicy, normalise_origin


@pytest.mark.parametrize(
    ("text", "normal"),
    [
        ("https://chat.example.com", "https://chat.example.com"),
        ("HTTPS://Chat.EXAMPLE.com", "https://chat.example.com"),
        ("https://chat.example.com:443", "https://chat.example.com"),
        ("https://chat.example.com:0443", "https://chat.example.com"),
        ("http://chat.example.com:80", "http://chat.example.com"),
        ("https://chat.example.com:80", "https://chat.example.com:80"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("http://127.0.0.1", "http://127.0.0.1"),
        ("http://[::1]:8000", "http://[::1]:8000"),
        ("http://[0:0:0:0:0:0:0:1]", "http://[::1]"),
        ("https://[2001:DB8::0:1]:443", "https://[2001:db8::1]"),
        ("http://my_host", "http://my_host"),
        ("https://xn--bcher-kva.example", "https://xn--bcher-kva.example"),
        ("capacitor://localhost", "capacitor://localhost"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ("null", "null"),
    ],
)
def test_one_spelling(text: str, normal: str):
    """Case, default ports and ways to write an address make no difference."""
    assert normalise_origin(text) == normal
    assert normalise_origin(normal) == normal


@pytest.mark.parametrize(
    "text",
    [
        "", " ", "*", "nul", "chat.example.com", "//chat.example.com", "https:", "https://",
        "https:///", "https://chat.example.com/", "https://chat.example.com?x", "https://a b",
        "https://a.example https://b.example", "https://a.example, https://b.example",
        "https://u@chat.example.com", "https://u:p@chat.example.com", "https://chat.example.com:",
        "https://chat.example.com:x", "https://chat.example.com:65536", "https://h:0",
        "https://h:-1", "https://h:443443", "https://[::1", "https://::1", "https://[1.2.3.4]",
        "https://[::1%25eth0]", "https://[:::1]", "https://[]", "https://*.example.com",
        "https://b\u00fccher.example", "http\u017f://chat.example.com", "https://\u212a.example",
        "https://h:\u0664\u0664\u0663", "https://h\n", "\nhttps://h", "https://h\r\nX: y", "1a://h",
    ],
)  # fmt: skip
def test_no_origin(text: str):
    """What is not exactly an origin is none."""
    assert normalise_origin(text) is None


OWN_HOST = OriginPolicy(())


@pytest.mark.parametrize(
    ("origin", "host"),
    [
        ("http://localhost:8000", "localhost:8000"),
        ("https://chat.example.com", "chat.example.com"),
        ("http://chat.example.com", "chat.example.com"),
        ("https://chat.example.com", "chat.example.com:443"),
        ("https://chat.example.com:443", "chat.example.com"),
        ("http://chat.example.com", "chat.example.com:80"),
        ("https://Chat.example.com", "cHAT.example.com"),
        ("https://chat.example.com:8443", "chat.example.com:8443"),
        ("http://[::1]:8000", "[::1]:8000"),
        ("http://[::1]:8000", "[0:0::1]:8000"),
        ("http://[::1]", "[::1]:80"),
    ],
)
def test_the_own_host(origin: str, host: str):
    """A page of the host that is connected to may connect; proxies may have taken TLS off."""
    assert OWN_HOST.admits([origin], [host], secure=False)


@pytest.mark.parametrize(
    ("origins", "hosts"),
    [
        (["https://evil.example"], ["chat.example.com"]),
        (["https://chat.example.com.evil.example"], ["chat.example.com"]),
        (["https://evil.example.chat.example.com"], ["chat.example.com"]),
        (["https://evilchat.example.com"], ["chat.example.com"]),
        (["https://chat.example.com:8443"], ["chat.example.com"]),
        (["https://chat.example.com"], ["chat.example.com:8443"]),
        (["https://chat.example.com"], ["chat.example.com:80"]),
        (["http://localhost:3000"], ["localhost:8000"]),
        (["http://127.0.0.1:8000"], ["localhost:8000"]),
        (["http://[::1]:8000"], ["[::2]:8000"]),
        (["http://[::1"], ["[::1"]),
        (["http://[::g]"], ["[::g]"]),
        (["null"], ["null"]),
        (["null"], ["localhost"]),
        ([""], [""]),
        (["https://"], [""]),
        (["chat.example.com"], ["chat.example.com"]),
        (["https://chat.example.com/"], ["chat.example.com"]),
        (["https://chat.example.com@evil.example"], ["chat.example.com"]),
        (["https://chat.example.com evil"], ["chat.example.com"]),
        (["https://chat.example.com"], []),
        (["https://chat.example.com"], ["chat.example.com", "chat.example.com"]),
        (["https://chat.example.com"], ["evil.example", "chat.example.com"]),
        (["https://chat.example.com"] * 2, ["chat.example.com"]),
        (["https://evil.example", "https://chat.example.com"], ["chat.example.com"]),
        (["https://h:99999"], ["h:99999"]),
        (["ftp://h"], ["h:21"]),
    ],
)
def test_foreign_hosts(origins: list[str], hosts: list[str]):
    """Any other page may not, nor one whose headers cannot be understood."""
    assert not OWN_HOST.admits(origins, hosts, secure=False)


def test_over_tls_a_page_without_is_foreign():
    """When the connection is TLS up to here, a page of the same host without TLS is another."""
    assert OWN_HOST.admits(["https://chat.example.com"], ["chat.example.com"], secure=True)
    assert not OWN_HOST.admits(["http://chat.example.com"], ["chat.example.com"], secure=True)


@pytest.mark.parametrize("allowed", [(), ("*",), ("https://a.example",)])
@pytest.mark.parametrize("hosts", [[], ["chat.example.com"]])
def test_who_is_no_browser(allowed: tuple[str, ...], hosts: list[str]):
    """Without an Origin header there is no page to refuse."""
    assert OriginPolicy(allowed).admits([], hosts, secure=False)


def test_the_list():
    """With a list, what stands in it may connect, in any spelling, and nothing else."""
    policy = OriginPolicy(("https://a.example", "http://localhost:3000"))
    for origin in ("https://a.example", "https://A.example:443", "http://localhost:3000"):
        assert policy.admits([origin], ["other.example"], secure=False)
    for origin in (
        "http://a.example",
        "https://a.example:444",
        "https://sub.a.example",
        "http://localhost",
        "null",
        "",
        "*",
        "https://other.example",
    ):
        assert not policy.admits([origin], ["other.example"], secure=False), origin


def test_pages_that_are_files():
    """What web views say of files is refused by default, and may be listed."""
    assert normalise_origin("FILE://") == "file://"
    assert normalise_origin("file:///index.html") is None
    for allowed, admitted in ((), False), (("null",), False), (("file://",), True):
        policy = OriginPolicy(allowed)
        assert policy.admits(["file://"], ["file://"], secure=False) is admitted


def test_pages_without_an_origin():
    """`null` is admitted only by a list that names it, or by all."""
    for allowed, admitted in (((), False), (("null",), True), (("*",), True)):
        assert OriginPolicy(allowed).admits(["null"], ["null"], secure=False) is admitted


@pytest.mark.parametrize("origin", ["https://evil.example", "null", "nonsense", ""])
def test_all(origin: str):
    """`*` admits everybody."""
    assert OriginPolicy(("*",)).admits([origin, origin], [], secure=True)
