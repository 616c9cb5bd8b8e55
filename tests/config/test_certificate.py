"""The certificate of the server: what can be shown, what clients refuse, each in a sentence."""

from __future__ import annotations

import re
import ssl
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from sanic_chat.config.certificate import ServerCertificate, check_tls
from sanic_chat.errors import ConfigError

from ..support.tls import Certificate, self_signed_certificate


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Certificate:
    return self_signed_certificate(tmp_path_factory.mktemp("good"))


def doubts_about(certificate: Certificate) -> list[str]:
    return list(ServerCertificate.read(str(certificate.pem), str(certificate.key)).doubts())


def test_a_good_one(good: Certificate) -> None:
    """Its names and its time are known, and there are no doubts."""
    found = ServerCertificate.read(str(good.pem), str(good.key))
    assert found.names == ("127.0.0.1",)
    assert found.begins < datetime.now(UTC) < found.ends
    assert list(found.doubts()) == []


def test_certificate_and_key_in_one_file(good: Certificate, tmp_path: Path) -> None:
    """In whatever order, as HAProxy has them."""
    for parts in ((good.pem, good.key), (good.key, good.pem)):
        both = tmp_path / "both.pem"
        both.write_bytes(b"".join(part.read_bytes() for part in parts))
        assert ServerCertificate.read(str(both), str(both)).names


def test_without_a_name(tmp_path: Path) -> None:
    """It can be shown, though browsers refuse it."""
    [doubt] = doubts_about(self_signed_certificate(tmp_path, named=False))
    assert "has no subjectAltName" in doubt


@pytest.mark.parametrize(
    ("begun", "left", "told"),
    [
        (timedelta(days=90), timedelta(seconds=-1), "has ended at"),
        (timedelta(days=-1), timedelta(days=90), "begins only at"),
        (timedelta(days=85), timedelta(days=5), "ends at"),
        (timedelta(days=80), timedelta(days=10), None),
    ],
    ids=["ended", "not begun", "nearly over", "a while left"],
)
def test_its_time(tmp_path: Path, begun: timedelta, left: timedelta, told: str | None) -> None:
    """Before and after it clients refuse it; when a tenth is left, that is worth a word."""
    doubts = doubts_about(self_signed_certificate(tmp_path, begun=begun, left=left))
    assert len(doubts) == (told is not None)
    assert told is None or told in doubts[0]


def wrong_files(good: Certificate, directory: Path) -> dict[str, tuple[Path, Path]]:
    """What is wrong, and the files of certificate and key."""
    (directory / "other").mkdir()
    (directory / "locked").mkdir()
    other = self_signed_certificate(directory / "other")
    locked = self_signed_certificate(directory / "locked", password=b"geheim")
    der, cut, empty = directory / "der", directory / "cut", directory / "empty"
    der.write_bytes(ssl.PEM_cert_to_DER_cert(good.pem.read_text()))
    cut.write_bytes(good.pem.read_bytes()[:200])
    empty.write_bytes(b"")
    return {
        r"The certificate .* cannot be read: No such file": (directory / "none", good.key),
        r"The key .* cannot be read: No such file": (good.pem, directory / "none"),
        r"The certificate .* cannot be read: Is a directory": (directory, good.key),
        r"The certificate .* cannot be read: .*null": (Path("a\0b"), good.key),
        r"key.pem holds no certificate in PEM": (good.key, good.key),
        r"der holds no certificate in PEM": (der, good.key),
        r"cut holds no certificate in PEM": (cut, good.key),
        r"empty holds no certificate in PEM": (empty, good.key),
        r"OpenSSL does not take the certificate .* with the key .*empty": (good.pem, empty),
        r"OpenSSL does not take .* with the key .*certificate.pem": (good.pem, good.pem),
        r"The key .* is not the key of the certificate": (good.pem, other.key),
        r"The key .* is encrypted, and nobody is there": (locked.pem, locked.key),
    }


def test_what_is_wrong(good: Certificate, tmp_path: Path) -> None:
    """It is said in a sentence that names the file, and no password is asked for."""
    for told, (path, key) in wrong_files(good, tmp_path).items():
        with pytest.raises(ConfigError) as refusal:
            ServerCertificate.read(str(path), str(key))
        assert re.search(told, str(refusal.value)), refusal.value
        assert "\n" not in str(refusal.value)


def test_a_password(tmp_path: Path) -> None:
    """Who starts the server from a program may give one."""
    locked = self_signed_certificate(tmp_path, password=b"geheim")
    tls = {"cert": str(locked.pem), "key": str(locked.key), "password": "geheim"}
    assert check_tls(tls) == ({"names": ["127.0.0.1"], **tls}, [])


def test_what_sanic_takes(good: Certificate, tmp_path: Path) -> None:
    """Files, a folder, several of them; what is no certificate of ours to read goes through."""
    (tmp_path / "fullchain.pem").write_bytes(good.pem.read_bytes())
    (tmp_path / "privkey.pem").write_bytes(good.key.read_bytes())
    files = {"cert": str(good.pem), "key": str(good.key)}
    folder = {"cert": f"{tmp_path}/fullchain.pem", "key": f"{tmp_path}/privkey.pem"}
    names = {"names": ["127.0.0.1"]}
    assert check_tls(files) == (names | files, [])
    assert check_tls(str(tmp_path)) == (names | folder, [])
    assert check_tls([None, files, str(tmp_path)]) == ([None, names | files, names | folder], [])
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    assert check_tls(context) == (context, [])
    with pytest.raises(ConfigError, match="belong together"):
        check_tls({"cert": str(good.pem), "key": None})


def test_several_without_names(tmp_path: Path) -> None:
    """They could not be told apart."""
    nameless = self_signed_certificate(tmp_path, named=False)
    with pytest.raises(ConfigError, match="None of several"):
        check_tls([None, {"cert": str(nameless.pem), "key": str(nameless.key)}])
