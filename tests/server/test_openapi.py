"""`openapi.json` and the server that it describes: schemathesis looks for what does not fit."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import httpx
import pytest

from ..support.backend import WITH_API, bearer
from ..support.clients import running_server
from ..support.harness import DEADLINE, NO_TLS, RedisProcess

EXAMPLES = 15
"""The requests to each operation in each way of making some: enough for each field to be wrong."""

CHECKS = [
    "not_a_server_error",
    "status_code_conformance",
    "content_type_conformance",
    "response_headers_conformance",
    "response_schema_conformance",
    "negative_data_rejection",
    "missing_required_header",
    "unsupported_method",
    "ignored_auth",
]
"""All that there are but `positive_data_acceptance`: no schema says which texts name a room."""


@pytest.fixture(scope="module")
def server(own_redis: RedisProcess):
    """A server that takes the longest query that is allowed."""
    with running_server(
        REDIS_URL=own_redis.url, **WITH_API, CHAT_MAX_HEADER_BYTES="65536"
    ) as server:
        yield server


def test_what_is_described_is_what_there_is(server, tmp_path: Path) -> None:
    """No request makes an answer that is not described, is wrong, or ignores the key."""
    [key] = [f"{name}: {value}" for name, value in bearer().items()]
    done = subprocess.run(
        [
            sys.executable, "-m", "schemathesis.cli", "run", f"{server.http}/openapi.json",
            "--header", key, "--checks", ",".join(CHECKS), "--max-examples", str(EXAMPLES),
            "--phases", "examples,coverage,fuzzing", "--seed", "15", "--workers", "1",
            "--no-color", "--warnings", "off",
        ],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=4 * DEADLINE,
    )  # fmt: skip
    assert done.returncode == 0, (done.stdout + done.stderr)[-5000:]
    assert server.pod()["ready"]


def test_the_description_takes_no_key(server) -> None:
    """It is where the API is, and nowhere else."""
    answer = httpx.get(f"{server.http}/openapi.json", verify=NO_TLS)
    assert answer.status_code == 200
    assert answer.headers["content-type"] == "application/json"
    assert httpx.get(f"http://127.0.0.1:{server.port}/openapi.json", verify=NO_TLS).is_error
