"""Who a client is: the JSON Web Token it brings (RFC 7519), or an ID of our own making.

Knows tokens; must not know sockets or rooms. A token never becomes part of an error's text.
"""

from __future__ import annotations

from collections.abc import Sequence

import jwt

from .errors import ConfigError, UpgradeRefused
from .message import MAX_SENDER_CHARACTERS


class Authenticator:
    """Checks tokens with one key.

    `key` is a shared secret or a public key in PEM, and `algorithms` are the only ones a token
    may be signed with. Raises ConfigError if the key does not fit them.
    """

    def __init__(self, *, key: str, algorithms: Sequence[str]) -> None:
        self._algorithms = list(algorithms)
        try:
            self._keys = {
                name: jwt.get_algorithm_by_name(name).prepare_key(key) for name in algorithms
            }
        except (jwt.exceptions.InvalidKeyError, ValueError, TypeError, NotImplementedError):
            raise ConfigError(
                "AUTH_SECRET or AUTH_PUBLIC_KEY does not fit AUTH_ALGORITHMS "
                f"({', '.join(algorithms)}); a public key is allowed in PEM, of the type that "
                "every one of them needs"
            ) from None

    def client_id(self, *, authorization: str | None, token: str | None) -> str:
        """The `sub` of the token in an Authorization header or, without one, of `token`.

        Raises UpgradeRefused 401 if there is no token, or if it is malformed, forged, expired or
        without a `sub` of 1 to 256 characters.
        """
        if authorization is not None:
            scheme, _, credentials = authorization.partition(" ")
            if scheme.lower() != "bearer":
                raise _unauthorized("The Authorization header must be: Bearer and a token")
            token = credentials.strip()
        if not token:
            raise _unauthorized("A token is needed: Authorization: Bearer, or ?token=")
        return self._subject(token)

    def _subject(self, token: str) -> str:
        try:
            algorithm = jwt.get_unverified_header(token).get("alg")
            if not isinstance(algorithm, str) or algorithm not in self._keys:
                raise jwt.InvalidAlgorithmError
            claims = jwt.decode(
                token,
                self._keys[algorithm],
                algorithms=[algorithm],
                options={"require": ["sub"], "verify_aud": False},
            )
        except jwt.ExpiredSignatureError:
            raise _unauthorized("The token has expired", "token_expired") from None
        except jwt.MissingRequiredClaimError:
            raise _unauthorized("The token has no sub") from None
        except jwt.InvalidAlgorithmError:
            raise _unauthorized(
                "The token's algorithm is not allowed; allowed is " + ", ".join(self._algorithms)
            ) from None
        except (jwt.PyJWTError, ValueError, RecursionError):
            raise _unauthorized("The token is not valid") from None
        subject = claims["sub"]
        if not _is_sender(subject):
            raise _unauthorized(
                f"The token's sub must be text of 1 to {MAX_SENDER_CHARACTERS} characters"
            )
        return str(subject)


def _is_sender(subject: object) -> bool:
    if not isinstance(subject, str) or not 1 <= len(subject) <= MAX_SENDER_CHARACTERS:
        return False
    try:
        subject.encode()
    except UnicodeEncodeError:  # half a surrogate pair, which JSON can escape
        return False
    return True


def _unauthorized(message: str, code: str = "unauthorized") -> UpgradeRefused:
    return UpgradeRefused(401, code, message, {"WWW-Authenticate": "Bearer"})
