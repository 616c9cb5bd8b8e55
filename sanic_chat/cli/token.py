"""`sanic-chat token`: tokens for tries and for machines, made and explained.

options ─→ claims ─→ make ─→ a token
a token ─→ explain ─→ what a server here would make of it
"""

from __future__ import annotations

import os
import sys
import time
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

import click

from ..config.env_file import with_env_file
from ..config.settings import CLOSE, Config
from ..errors import ConfigError, UpgradeRefused
from .output import (
    NOBODY_THERE,
    REFUSED,
    WRONG_USAGE,
    fail,
    print_json,
    print_line,
    printable,
    read_json,
)
from .server import env_file_option

if TYPE_CHECKING:
    from ..auth.auth import Authenticator

RIGHTS = ("join", "publish", "presence")


@click.group()
def token() -> None:
    """Make and explain tokens, with the settings that a server would have here.

    Keys and tokens are read from the environment, files or standard input, never from options.
    """


@token.command()
@env_file_option
@click.argument("user")
@click.option(
    "--hours", type=click.FloatRange(min=0, min_open=True), default=1.0, show_default=True
)
@click.option("--room", "rooms", multiple=True, help="A room of which it speaks; may be repeated.")
@click.option("--match", "patterns", multiple=True, help="The same, with stars, as 'team:*'.")
@click.option(
    "--allow",
    "rights",
    default=",".join(RIGHTS),
    show_default=True,
    help="What it allows in all these, with commas.",
)
@click.option("--global", "everybody", is_flag=True, help="It allows to speak to everybody.")
@click.option("--join", multiple=True, help="A room to be in from the start; may be repeated.")
@click.option("--info", metavar="JSON", help='An object for others to see, as {"name": "Anna"}.')
@click.option("--json", "as_json", is_flag=True, help="One JSON object, with the claims.")
def make(
    user: str,
    *,
    hours: float,
    rooms: tuple[str, ...],
    patterns: tuple[str, ...],
    rights: str,
    everybody: bool,
    join: tuple[str, ...],
    info: str | None,
    as_json: bool,
) -> None:
    """Print a token for USER, signed with AUTH_SECRET or the first secret of AUTH_KEYS_FILE.

    It names the first of AUTH_AUDIENCE and AUTH_ISSUER, if there are any. Without --room, --match
    and --global it allows everything.
    """
    import jwt  # only here: --help needs none of it

    config = _config()
    authenticator = _authenticator(config)
    now = int(time.time())
    claims: dict[str, Any] = {
        config.auth_user_claim: user,
        "iat": now,
        "exp": now + max(1, round(hours * 3600)),
    }
    if config.auth_audience:
        claims["aud"] = config.auth_audience[0]
    if config.auth_issuer:
        claims["iss"] = config.auth_issuer[0]
    if join:
        claims["join"] = list(join)
    if info is not None:
        claims["info"] = read_json(info, "--info")
    if rooms or patterns or everybody:
        allowed = [right.strip() for right in rights.split(",")]
        claims["rooms"] = [
            *({"room": room, "allow": allowed} for room in rooms),
            *({"match": pattern, "allow": allowed} for pattern in patterns),
            *([{"global": True}] if everybody else []),
        ]
    try:
        authenticator.identity_of(claims)
    except UpgradeRefused as refusal:
        fail(f"no server would take it: {refusal.message}", WRONG_USAGE)
    secret, algorithm, id = _secret(authenticator)
    headers = None if id is None else {"kid": id}
    text = jwt.encode(claims, secret, algorithm=algorithm, headers=headers)
    if as_json:
        print_json({"token": text, "claims": claims})
    else:
        print_line(text)


@token.command()
@env_file_option
@click.option("--room", "rooms", multiple=True, help="Say what it allows there; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object.")
def explain(*, rooms: tuple[str, ...], as_json: bool) -> None:
    """Say what a token holds, and what a server here would make of it.

    The token is CHAT_TOKEN, or the first line of standard input. Ends with 1 if it would be
    refused.
    """
    text = os.environ.get("CHAT_TOKEN", "").strip() or sys.stdin.readline().strip()
    if not text:
        fail("There is no token, neither in CHAT_TOKEN nor on standard input", WRONG_USAGE)
    config = _config()
    authenticator = _authenticator(config)
    header, claims = _parts(text)
    told: dict[str, Any] = {"header": header, "claims": claims}
    told |= _judged(config, authenticator, text, rooms)
    if as_json:
        print_json(told)
    else:
        for line in _lines(config, authenticator, told):
            print_line(printable(line))
    if told["refusal"]:
        raise SystemExit(REFUSED)


def _judged(
    config: Config, authenticator: Authenticator, text: str, rooms: tuple[str, ...]
) -> dict[str, Any]:
    """Return the verdict of a server on a token, and what it would let it do."""
    from ..protocol.personal_room import resolve
    from ..protocol.room_name import ROOM_NAME_RULE, normalise_room_name
    from ..tokens import make_access

    told: dict[str, Any] = {"user": None, "code": None, "refusal": None}
    try:
        verified = authenticator.verify(text)
        told["key"] = {"kid": verified.key.id, "algorithm": verified.algorithm}
        identity = authenticator.identity_of(verified.claims)
    except UpgradeRefused as refusal:
        return told | {"code": refusal.code, "refusal": refusal.message}
    access, user = make_access(config), identity.user
    told |= {"user": user, "join": [resolve(room, user) for room in identity.rooms]}
    told["rights"] = {}
    for room in rooms:
        name = normalise_room_name(room)
        if name is None:
            fail(f"{room!r} is no room: {ROOM_NAME_RULE}", WRONG_USAGE)
        name = resolve(name, user)
        told["rights"][name] = [
            right
            for right in RIGHTS
            if access.may(right, name, user=user, identity=identity)  # type: ignore[arg-type]
        ]
    told["global"] = access.may_speak_to_everybody(identity)
    for room in told["join"]:
        if not access.may("join", room, user=user, identity=identity):
            told["code"] = "forbidden_room"
            told["refusal"] = f"Its join names {room!r}, into which it is not allowed"
            break
    if identity.expires_at is not None:
        told["seconds_left"] = round(identity.expires_at - time.time())
    return told


def _lines(config: Config, authenticator: Authenticator, told: dict[str, Any]) -> Iterator[str]:
    for name, part in (("header", told["header"]), ("claims", told["claims"])):
        for claim, value in part.items():
            moment = _moment(value) if claim in ("exp", "iat", "nbf") else ""
            yield f"{name} {claim}: {value!r}{moment}"
    if "key" in told:
        kid, algorithm = told["key"]["kid"], told["key"]["algorithm"]
        yield f"signed: {algorithm}, with {'the key' if kid is None else f'key {kid!r}'}"
    elif told["header"]:
        yield f"signed: with none of the keys here, which are {authenticator.keys.current}"
    if told["refusal"]:
        yield f"refused: {told['refusal']}"
        return
    yield f"taken: {told['user']!r} may connect"
    yield from _ends(config, told.get("seconds_left"))
    if told["join"]:
        yield f"is in from the start: {', '.join(map(repr, told['join']))}"
    if "rooms" not in told["claims"]:
        yield "may do everything in every room"
    for rule in told["claims"].get("rooms", []):
        if "global" not in rule:
            where = f"room {rule['room']!r}" if "room" in rule else f"rooms like {rule['match']!r}"
            yield f"may {', '.join(rule['allow'])} in {where}"
    yield f"may {'' if told['global'] else 'not '}speak to everybody"
    for room, rights in told["rights"].items():
        yield f"in {room!r} it may {', '.join(rights) or 'do nothing'}"


def _ends(config: Config, seconds: int | None) -> Iterator[str]:
    if seconds is None:
        yield "ends: never"
    elif config.auth_expiry == CLOSE:
        late = seconds + config.auth_leeway
        yield f"ends: in {seconds} s; its connections are closed with 4401 in {late:g} s"
    else:
        yield f"ends: in {seconds} s; its connections stay open (AUTH_EXPIRY is ignore)"


def _config() -> Config:
    """The settings, as if tokens were asked for."""
    try:
        return Config.from_environment({**with_env_file(os.environ), "AUTH_ENABLED": "1"})
    except ConfigError as error:
        fail(str(error), WRONG_USAGE)


def _authenticator(config: Config) -> Authenticator:
    """Make the reader of tokens that a server here would have, with its keys."""
    from ..auth.key_refresh import Keys
    from ..tokens import make_authenticator

    try:
        authenticator = make_authenticator(config)
        assert authenticator is not None  # `_config` sees to it
        authenticator.keys.load()
        authenticator.keys = Keys(authenticator.keys.current)  # which log nothing
    except ConfigError as error:
        fail(str(error), NOBODY_THERE if config.auth_jwks_url is not None else WRONG_USAGE)
    return authenticator


def _secret(authenticator: Authenticator) -> tuple[bytes, str, str | None]:
    """The first shared secret among the keys, an algorithm for it, and its ID."""
    keys = authenticator.keys.current
    assert keys is not None  # they are loaded
    for key in keys.keys:
        for algorithm in key.algorithms:
            if (secret := key.secret(algorithm)) is not None:
                return secret, algorithm, key.id
    fail(
        "there is no shared secret (AUTH_SECRET, or one in AUTH_KEYS_FILE); only who holds the "
        "private key can make a token",
        WRONG_USAGE,
    )


def _parts(text: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """Header and claims of a token, unverified; nothing of what is none."""
    import jwt

    try:
        found = jwt.decode_complete(text, options={"verify_signature": False})
    except (jwt.PyJWTError, ValueError, RecursionError):
        return {}, {}
    return found["header"], found["payload"]


def _moment(value: Any) -> str:
    try:
        return time.strftime(" (%Y-%m-%d %H:%M:%S UTC)", time.gmtime(value))
    except (TypeError, ValueError, OverflowError, OSError):
        return ""
