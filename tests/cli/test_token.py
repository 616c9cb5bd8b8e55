"""`sanic-chat token`: what it makes is taken, and what is refused is explained."""

from __future__ import annotations

import json
from pathlib import Path

import jwt
import pytest

from ..support.clients import running_server
from ..support.command import run, run_here
from ..support.harness import RedisProcess
from ..support.keys import jwk_of, new_key, running_key_server, set_of, sign

UNVERIFIED = {"verify_signature": False}
SECRET = "a secret of at least thirty-two bytes"


def test_a_server_takes_what_is_made(shared_redis: RedisProcess, tmp_path: Path) -> None:
    """A token of the same secret lets its user in, from a file as well."""
    file = tmp_path / "secret"
    file.write_text(SECRET)
    code, output, errors = run("token", "make", "anna", AUTH_SECRET_FILE=str(file))
    assert (code, errors) == (0, "")
    with running_server(REDIS_URL=shared_redis.url, AUTH_ENABLED="1", AUTH_SECRET=SECRET) as server:
        url = f"http://127.0.0.1:{server.port}"
        assert run("pub", "lobby", "x", CHAT_URL=url, CHAT_TOKEN=output.strip()) == (0, "", "")
        code, _, errors = run("pub", "lobby", "x", CHAT_URL=url)
    assert code == 1
    assert "unauthorized" in errors
    assert errors.endswith(". It is taken from CHAT_TOKEN\n")


def test_no_token() -> None:
    """It is no bad one: where it is taken from is told."""
    code, output, errors = run_here("token", "explain", AUTH_SECRET=SECRET)
    assert (code, output) == (2, "")
    assert errors == "There is no token, neither in CHAT_TOKEN nor on standard input\n"


def test_what_it_holds() -> None:
    """User, times, and the audience and issuer that the settings name."""
    code, output, _ = run(
        "token", "make", "anna", "--hours", "2",
        AUTH_SECRET=SECRET, AUTH_AUDIENCE="chat,other", AUTH_ISSUER="here",
    )  # fmt: skip
    assert code == 0
    _, told, _ = run("token", "make", "anna", "--json", AUTH_SECRET=SECRET)
    made = json.loads(told)
    assert jwt.decode(made["token"], SECRET, algorithms=["HS256"]) == made["claims"]
    claims = jwt.decode(output.strip(), SECRET, algorithms=["HS256"], audience="chat")
    assert (claims["sub"], claims["iss"]) == ("anna", "here")
    assert claims["exp"] - claims["iat"] == 7200


@pytest.mark.parametrize(
    ("secret", "claims", "told"),
    [
        (SECRET, {"sub": "anna"}, "taken: 'anna' may connect"),
        (SECRET, {"sub": "anna", "exp": 1}, "refused: The token has expired"),
        (SECRET, {"sub": "\x1b[2J"}, r"'\x1b[2J'"),
        (SECRET[::-1], {"sub": "anna"}, "refused: The token's signature does not fit"),
        (SECRET, {}, "refused: The token has no sub"),
    ],
)
def test_explained(secret: str, claims: dict[str, object], told: str) -> None:
    """What is in it, and what a server with these settings would make of it."""
    text = jwt.encode(claims, secret, algorithm="HS256")
    code, output, errors = run_here("token", "explain", text=text, AUTH_SECRET=SECRET)
    assert code == ("refused" in output)
    assert errors == ""
    assert told in output
    assert "header alg: 'HS256'" in output
    assert "\x1b" not in output
    code, output, _ = run_here("token", "explain", "--json", CHAT_TOKEN=text, AUTH_SECRET=SECRET)
    assert json.loads(output)["claims"] == claims


def explained(text: str, *arguments: str, **settings: str) -> tuple[int, list[str]]:
    """The lines that explain a token."""
    code, output, errors = run_here("token", "explain", *arguments, text=text, **settings)
    assert errors == ""
    return code, output.splitlines()


def made(*arguments: str, **settings: str) -> str:
    code, output, errors = run_here("token", "make", *arguments, **settings)
    assert (code, errors) == (0, "")
    return output.strip()


def test_what_it_allows() -> None:
    """Rules and rooms are options; they are told in words, and for rooms that one asks for."""
    options = ("--room", "lobby", "--match", "team:*", "--allow", "join, publish", "--global")
    text = made("anna", *options, "--join", "lobby", "--join", "@me", AUTH_SECRET=SECRET)
    code, lines = explained(
        text, "--room", "team:x", "--room", "zoo", "--room", "@me", AUTH_SECRET=SECRET
    )
    assert code == 0
    start = lines.index("taken: 'anna' may connect")
    assert lines[start + 1].startswith("ends: in ")
    assert lines[start + 2 :] == [
        "is in from the start: 'lobby', '@anna'",
        "may join, publish in room 'lobby'",
        "may join, publish in rooms like 'team:*'",
        "may speak to everybody",
        "in 'team:x' it may join, publish",
        "in 'zoo' it may do nothing",
        "in '@anna' it may join, publish, presence",
    ]
    told = json.loads(
        run_here("token", "explain", "--json", "--room", "zoo", text=text, AUTH_SECRET=SECRET)[1]
    )
    assert told["rights"] == {"zoo": []}
    assert told["key"] == {"kid": None, "algorithm": "HS256"}
    assert (told["user"], told["join"], told["global"]) == ("anna", ["lobby", "@anna"], True)
    assert 3000 < told["seconds_left"] <= 3600


def test_info() -> None:
    """It is in the token as given, and refused as a server would refuse it."""
    info = {"name": "Anna", "n": 1}
    claims = jwt.decode(
        made("anna", "--info", json.dumps(info), AUTH_SECRET=SECRET), options=UNVERIFIED
    )
    assert claims["info"] == info
    for text, told in (("{", "'{' is no JSON"), ("[]", "info"), ('{"a": [1]}', "info")):
        code, output, errors = run_here("token", "make", "anna", "--info", text, AUTH_SECRET=SECRET)
        assert (code, output) == (2, "")
        assert told in errors


def test_without_rules() -> None:
    """Everything is allowed, but for what the settings forbid everybody."""
    settings = {"AUTH_SECRET": SECRET, "CHAT_GLOBAL_PUBLISH": "server", "AUTH_EXPIRY": "ignore"}
    _, lines = explained(made("anna", **settings), **settings)
    assert lines[-2:] == ["may do everything in every room", "may not speak to everybody"]
    assert "its connections stay open" in lines[-3]
    _, lines = explained(jwt.encode({"sub": "anna", "rooms": []}, SECRET), **settings)
    assert lines[-2:] == ["ends: never", "may not speak to everybody"]


def test_a_room_that_the_token_itself_forbids() -> None:
    """The server would answer 403, whatever the signature."""
    text = jwt.encode({"sub": "anna", "rooms": [], "join": ["zoo"]}, SECRET)
    code, lines = explained(text, AUTH_SECRET=SECRET)
    assert code == 1
    assert lines[-1] == "refused: Its join names 'zoo', into which it is not allowed"


def test_the_key(tmp_path: Path) -> None:
    """It is told which key has signed, or which keys have not; the first secret of a set signs."""
    path, key = tmp_path / "keys.json", new_key()
    jwks = jwk_of(key, kid="a"), jwk_of(SECRET, kid="b", alg="HS256")
    path.write_bytes(set_of(*jwks))
    settings = {"AUTH_KEYS_FILE": str(path)}
    _, lines = explained(sign(key, "ES256", kid="a"), **settings)
    assert "signed: ES256, with key 'a'" in lines
    _, lines = explained(made("anna", **settings), **settings)
    assert "signed: HS256, with key 'b'" in lines
    code, lines = explained(sign(key, "ES256", kid="c"), **settings)
    assert code == 1
    assert lines[-2:] == [
        "signed: with none of the keys here, which are 2 ('a' for ES256; 'b' for HS256)",
        "refused: The token's key (kid) is not known here, or not yet",
    ]
    with running_key_server(*jwks) as server:
        code, lines = explained(sign(key, "ES256", kid="a"), AUTH_JWKS_URL=server.url)
    assert code == 0
    assert "signed: ES256, with key 'a'" in lines
    code, _, errors = run_here("token", "explain", text="x", AUTH_JWKS_URL=server.url)
    assert code == 3
    assert errors.startswith(f"AUTH_JWKS_URL {server.url} gives no keys: ")


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["server"], "no server would take it: The token's name is 'server', which is the name"),
        (["anna", "--room", "a b "], "no server would take it: The token's rooms cannot be read"),
        (["anna", "--match", "a"], "no server would take it: The token's rooms cannot be read"),
        (["anna", "--room", "a", "--allow", "sing"], "Invalid enum value 'sing'"),
        (["anna", "--join", ".."], "no server would take it: The token's join names what is no"),
    ],
)
def test_what_no_server_would_take(arguments: list[str], told: str) -> None:
    """Nobody gets a token that no server takes; the user's claim is that of the settings."""
    settings = {"AUTH_SECRET": SECRET, "AUTH_USER_CLAIM": "name"}
    code, output, errors = run_here("token", "make", *arguments, **settings)
    assert (code, output) == (2, "")
    assert told in errors


@pytest.mark.parametrize("text", ["nonsense", "a.b.c"])
def test_what_is_none(text: str) -> None:
    code, output, errors = run_here("token", "explain", text=text, AUTH_SECRET=SECRET)
    assert (code, errors) == (1, "")
    assert output.startswith("refused: ")


def test_without_a_key() -> None:
    code, output, errors = run_here("token", "make", "anna")
    assert (code, output) == (2, "")
    assert "AUTH_SECRET" in errors
