"""The endpoint on its own: files that a URL names, and what of it may be shown."""

from __future__ import annotations

from pathlib import Path

import pytest

from sanic_chat.broker.endpoint import Endpoint
from sanic_chat.errors import ConfigError

from ..support.tls import self_signed_certificate


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("rediss://h?ssl_ca_certs={}/none.pem", "/none.pem' cannot be used: No such file"),
        ("rediss://h?ssl_ca_certs={}", "' cannot be used: Is a directory"),
        ("rediss://h?ssl_ca_certs={}/file", "ssl_ca_certs '{}/file' cannot be used: "),
        ("rediss://h?ssl_ca_path={}/file", "ssl_ca_path '{}/file' cannot be used: Not a directory"),
        ("rediss://h?ssl_certfile={}/file", "ssl_certfile '{}/file' cannot be used: "),
        ("rediss://h?ssl_ca_data=none", "ssl_ca_data cannot be used: "),
        ("rediss://h?ssl_ciphers=none", "ssl_ciphers cannot be used: No cipher"),
        ("unix://{}/file", "'{}/file' is no Unix socket"),
    ],
)
def test_files_of_no_use(tmp_path: Path, url: str, sentence: str) -> None:
    """Files that a URL names are looked at, and the sentence says which is wrong, and why."""
    (tmp_path / "file").write_text("nothing of use")
    with pytest.raises(ConfigError, match="REDIS_URL cannot be used: ") as raised:
        Endpoint(url.format(tmp_path)).check()
    assert sentence.format(tmp_path) in str(raised.value)


def test_files_of_use(tmp_path: Path) -> None:
    """Nothing is said of certificates that can be read, nor of a socket that is not there yet."""
    certificate = self_signed_certificate(tmp_path)
    files = f"ssl_ca_certs={certificate.pem}&ssl_certfile={certificate.pem}"
    Endpoint(f"rediss://h?{files}&ssl_keyfile={certificate.key}").check()
    Endpoint(f"unix://{tmp_path}/redis.sock").check()


@pytest.mark.parametrize(
    ("refusal", "logged"),
    [
        ("WRONGPASS invalid username-password pair", "WRONGPASS invalid username-password pair"),
        (
            "ERR unknown command 'AUTH', with args beginning with: 'p@ss' ",
            "ERR unknown command 'AUTH'",
        ),
        ("ERR unknown command 'AUTH', with args beginning with: 'p@", "ERR unknown command 'AUTH'"),
        ("ERR AUTH p@ss: no such user", "ERR AUTH ***: no such user"),
    ],
)
def test_what_a_refusal_repeats(refusal, logged):
    """Some servers repeat in their refusal what they were told; the log must not."""
    assert Endpoint("redis://:p%40ss@localhost").without_secrets(refusal) == logged
