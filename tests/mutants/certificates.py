"""The certificate that a server shows, looked at before anything starts."""

from __future__ import annotations

from . import Mutant

FILE = "sanic_chat/config/certificate.py"
READING = ("tests/config/test_certificate.py",)

MUTANTS = (
    Mutant(
        "a certificate without a subjectAltName is served",
        FILE,
        'return {"names": list(found.names), **tls}, list(found.doubts())',
        "return tls, list(found.doubts())",
        ("tests/server/test_certificates.py::test_several_and_one_without_a_name",),
    ),
    Mutant(
        "a key that belongs to another certificate is told as that",
        FILE,
        "if error.reason in _MISMATCHES:",
        "if not error.reason:",
        READING,
    ),
    Mutant(
        "that a certificate is nearly over is told",
        FILE,
        "elif is_soon_over(self.begins, self.ends, now):",
        "elif False:",
        READING,
    ),
    Mutant(
        "workers get several certificates as files",
        "sanic_chat/upgrade/sanic_http.py",
        "copyreg.pickle(CertSelector, _as_files)",
        "",
        ("tests/server/test_certificates.py::test_several_and_one_without_a_name",),
    ),
)
