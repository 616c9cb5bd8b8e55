"""Where settings come from: variables, files, conf/.env.example; and what looks like a mistake."""

from __future__ import annotations

import re
import subprocess
from collections.abc import Callable
from dataclasses import fields
from pathlib import Path

import pytest

from sanic_chat.config.env_file import read_env_file
from sanic_chat.config.environment import MAX_FILE_BYTES
from sanic_chat.config.settings import Config
from sanic_chat.errors import ConfigError

from ..support.harness import ROOT, RedisProcess
from ..support.settings import PEM, SECRET

EXAMPLE = ROOT / "conf" / ".env.example"
FILES = ("REDIS_URL", "AUTH_SECRET", "AUTH_PUBLIC_KEY", "CHAT_API_KEYS")
VARIABLES = [setting.metadata["variable"] for setting in fields(Config)]
TEXTS = {
    "REDIS_URL": "redis://:p4ss@h:1",
    "AUTH_PUBLIC_KEY": PEM,
    "CHAT_API_KEYS": f"web:read:{SECRET}",
}
"""Their values, but for those that may have any."""


class TestFiles:
    def test_which(self) -> None:
        """Every secret may stand in a file."""
        secret = {s.metadata["variable"] for s in fields(Config) if s.metadata["secret"]}
        assert secret == set(FILES)

    @pytest.mark.parametrize("variable", FILES)
    def test_a_secret_in_a_file(self, tmp_path: Path, variable: str) -> None:
        """It is read without the line break at its end."""
        value = TEXTS.get(variable, SECRET)
        (tmp_path / "secret").write_text(f"{value}\n")
        config = Config.from_environment({f"{variable}_FILE": str(tmp_path / "secret")})
        assert config == Config.from_environment({variable: value}) != Config()
        assert value not in repr(config)

    @pytest.mark.parametrize("variable", FILES)
    def test_both(self, tmp_path: Path, variable: str) -> None:
        """A setting that is given twice is refused, and not shown."""
        (tmp_path / "secret").write_text(SECRET)
        environment = {variable: SECRET, f"{variable}_FILE": str(tmp_path / "secret")}
        with pytest.raises(ConfigError) as refused:
            Config.from_environment(environment)
        assert str(refused.value) == (
            f"{variable} and {variable}_FILE are both set; allowed is one of them"
        )

    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            pytest.param(None, "No such file or directory", id="missing"),
            pytest.param(b"", "it is empty", id="empty"),
            pytest.param(b" \n\n", "it is empty", id="blank"),
            pytest.param(b"\xff" * 40, "it is not UTF-8", id="not UTF-8"),
            pytest.param(
                b"x" * (MAX_FILE_BYTES + 1), f"it has more than {MAX_FILE_BYTES} bytes", id="large"
            ),
        ],
    )
    def test_bad_files(self, tmp_path: Path, content: bytes | None, reason: str) -> None:
        """A file that cannot be used is named, with the reason and what is allowed."""
        path = tmp_path / "secret"
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ConfigError) as refused:
            Config.from_environment({"AUTH_SECRET_FILE": str(path)})
        assert str(refused.value) == (
            f"AUTH_SECRET_FILE is {str(path)!r} ({reason}); allowed is a readable file of at most "
            f"{MAX_FILE_BYTES} bytes, in UTF-8 and not empty"
        )

    @pytest.mark.parametrize("path", ["/", "a\0b", "x" * 5000])
    def test_bad_paths(self, path: str) -> None:
        """What is no file at all is refused in the same words."""
        with pytest.raises(ConfigError, match="allowed is a readable file"):
            Config.from_environment({"AUTH_SECRET_FILE": path})

    def test_a_bad_value_in_a_file(self, tmp_path: Path) -> None:
        """What stands in a file is checked as ever, and not shown."""
        (tmp_path / "secret").write_text("http://:p4ss@h")
        with pytest.raises(ConfigError, match="REDIS_URL cannot be used") as refused:
            Config.from_environment({"REDIS_URL_FILE": str(tmp_path / "secret")})
        assert "p4ss" not in str(refused.value)

    def test_other_settings_have_no_file(self) -> None:
        """Only secrets do: for others the variable is unknown."""
        assert Config.doubts({"CHAT_BACKLOG_FILE": "/x"}) == [
            "CHAT_BACKLOG_FILE is no setting, and does nothing: do you mean CHAT_BACKLOG?"
        ]


class TestDoubts:
    def test_nothing_to_say(self) -> None:
        """An environment in order gives none, whatever else is in it."""
        environment = dict.fromkeys([*VARIABLES, "AUTH_SECRET_FILE"], "x")
        environment |= {"PATH": "/bin", "SANIC_CHAT_X": "1", "chat_backlogg": "1", "CHATTER": "1"}
        assert Config.doubts(environment) == []

    @pytest.mark.parametrize(
        ("name", "nearest"),
        [
            ("CHAT_MAX_CONNECTION", "CHAT_MAX_CONNECTIONS"),
            ("CHAT_MAX_MESSAGE_SIZE", "CHAT_MAX_MESSAGE_BYTES"),
            ("CHAT_ORIGINS", "CHAT_ALLOWED_ORIGINS"),
            ("CHAT_DRAIN_TIME_OUT", "CHAT_DRAIN_TIMEOUT"),
            ("AUTH_ENABLE", "AUTH_ENABLED"),
            ("AUTH_PUBLIC_KEY_FIL", "AUTH_PUBLIC_KEY_FILE"),
        ],
    )
    def test_a_name_that_is_nearly_one(self, name: str, nearest: str) -> None:
        """A name that nobody reads is told with the nearest one, and without its value."""
        assert Config.doubts({name: SECRET}) == [
            f"{name} is no setting, and does nothing: do you mean {nearest}?"
        ]

    def test_a_name_like_no_other(self) -> None:
        """One that is like none is told alone; an empty one too: somebody meant something."""
        assert Config.doubts({"CHAT_ZZZZZZ": ""}) == ["CHAT_ZZZZZZ is no setting, and does nothing"]

    def test_what_kubernetes_sets(self) -> None:
        """The variables for a Service that happens to be called `chat` are no mistake."""
        names = [
            f"CHAT_{name}"
            for name in (
                "SERVICE_HOST", "SERVICE_PORT", "SERVICE_PORT_HTTP", "PORT", "PORT_8000_TCP",
                "PORT_8000_TCP_ADDR", "PORT_8000_TCP_PORT", "PORT_8000_TCP_PROTO",
                "API_SERVICE_HOST", "API_PORT",
            )
        ]  # fmt: skip
        assert Config.doubts(dict.fromkeys([*names, "AUTH_SERVICE_HOST"], "x")) == []
        assert len(Config.doubts({"CHAT_SERVICE": "x", "CHAT_PORTS": "x"})) == 2

    @pytest.mark.parametrize(
        ("environment", "sentence"),
        [
            ({"AUTH_SECRET": SECRET}, "AUTH_SECRET is set, but AUTH_ENABLED is not: everybody"),
            (
                {"AUTH_PUBLIC_KEY_FILE": "/x", "AUTH_ISSUER": "i", "AUTH_ENABLED": " "},
                "AUTH_PUBLIC_KEY_FILE and AUTH_ISSUER are set, but AUTH_ENABLED is not: everybody",
            ),
        ],
    )
    def test_keys_without_auth(self, environment: dict[str, str], sentence: str) -> None:
        """Who sets a key means to have tokens checked."""
        (doubt,) = Config.doubts(environment)
        assert doubt.startswith(sentence)
        assert SECRET not in doubt

    @pytest.mark.parametrize("word", ["1", "0", "off"])
    def test_auth_that_is_on_or_off(self, word: str) -> None:
        """Who says which is not asked again."""
        assert Config.doubts({"AUTH_SECRET": SECRET, "AUTH_ENABLED": word}) == []

    def test_a_secret_in_quotes(self) -> None:
        """Quotes that some loader has left may not be meant."""
        environment = {"AUTH_SECRET": f"'{SECRET}'", "AUTH_ENABLED": "1"}
        assert Config.doubts(environment) == [
            "AUTH_SECRET stands in quotes, which count as part of it"
        ]

    def test_the_keys_of_a_provider(self) -> None:
        """It signs for others with the same keys: an audience tells them apart."""
        environment = {"AUTH_JWKS_URL": "https://id.example.com/keys", "AUTH_ENABLED": "1"}
        [told] = Config.doubts(environment)
        assert "tokens that the same provider makes for other services are taken" in told
        assert Config.doubts({**environment, "AUTH_AUDIENCE": "chat"}) == []

    @pytest.mark.parametrize("arguments", [(), ("--single-process",)], ids=["workers", "single"])
    def test_told_once(self, start_server, shared_redis: RedisProcess, arguments) -> None:
        """The server starts, and says it once, however many workers it has."""
        server = start_server(
            *arguments,
            workers=1 if arguments else 2,
            REDIS_URL=shared_redis.url,
            CHAT_MAX_CONNECTION="5",
            AUTH_SECRET=SECRET,
        )
        for sentence in ("CHAT_MAX_CONNECTION is no setting", "AUTH_SECRET is set, but"):
            assert server.log.count(sentence) == 1
        assert SECRET not in server.log


# -- conf/.env.example, as it says that it can be loaded ------------------------------------------


def by_shell(path: Path) -> dict[str, str]:
    """`set -a; . ./.env; set +a`"""
    script = 'set -eu; set -a; . "$1"; set +a; exec env -0'
    output = subprocess.run(
        ["sh", "-c", script, "sh", str(path)], check=True, capture_output=True, env={}, text=True
    ).stdout
    return dict(line.partition("=")[::2] for line in output.split("\0") if line)


def by_systemd(path: Path) -> dict[str, str]:
    """`EnvironmentFile=`, as systemd.exec(5) tells it of lines like ours.

    Comments begin with `#` or `;`. Of unquoted values blanks at the end are dropped, and so is a
    backslash; single quotes keep all that is in them.
    """
    found = {}
    for line in path.read_text().splitlines():
        if line.strip() and line.lstrip()[0] not in "#;":
            name, _, value = line.partition("=")
            if value.startswith("'"):
                value, _, rest = value[1:].partition("'")
                assert not rest
            else:
                value = re.sub(r"\\(.)", r"\1", value.strip())
            found[name.strip()] = value
    return found


def by_docker(path: Path) -> dict[str, str]:
    """`docker run --env-file`: everything behind the first `=` is the value, quotes too."""
    found = {}
    for line in path.read_text().splitlines():
        if line.strip() and not line.startswith("#"):
            name, _, value = line.lstrip().partition("=")
            assert re.fullmatch(r"\w+", name), line
            found[name] = value
    return found


def by_env_file(path: Path) -> dict[str, str]:
    """`CHAT_ENV_FILE`"""
    return {name: line.value for name, line in read_env_file(str(path)).items()}


LOADERS = [by_shell, by_systemd, by_docker, by_env_file]
Load = Callable[[Path], dict[str, str]]


@pytest.mark.parametrize("load", LOADERS)
class TestExample:
    def test_as_it_is(self, tmp_path: Path, load: Load) -> None:
        """Copied and not changed it sets nothing."""
        (tmp_path / ".env").write_text(EXAMPLE.read_text())
        loaded = load(tmp_path / ".env")
        assert not loaded.keys() & set(VARIABLES)

    def test_everything_uncommented(self, tmp_path: Path, load: Load) -> None:
        """With every line that sets something made one, it gives the defaults."""
        text = re.sub(r"^#(?=[A-Z_]+=)", "", EXAMPLE.read_text(), flags=re.MULTILINE)
        (tmp_path / ".env").write_text(text)
        loaded = load(tmp_path / ".env")
        assert set(VARIABLES) <= loaded.keys()
        assert Config.from_environment(loaded) == Config()
        assert Config.doubts(loaded) == []

    def test_values_in_quotes(self, tmp_path: Path, load: Load) -> None:
        """Values with blanks and signs that mean something to a shell work in single quotes."""
        values = {
            "REDIS_URL": "rediss://u:p$4;w%23d@h:6379/0?ssl_password=a&ssl_ciphers=b",
            "CHAT_ALLOWED_ORIGINS": "https://a.example, https://b.example",
            "AUTH_PUBLIC_KEY": PEM.replace("\n", "\\n"),
            "AUTH_AUDIENCE": "a b, #c",
            "CHAT_SLOW_CONSUMER": "drop_oldest",
        }
        text = EXAMPLE.read_text()
        for variable, value in values.items():
            line = f"\n#{variable}="
            assert text.count(line) == 1
            before, _, behind = text.partition(line)
            text = f"{before}\n{variable}='{value}'\n{behind.partition(chr(10))[2]}"
        (tmp_path / ".env").write_text(text)
        config = Config.from_environment(load(tmp_path / ".env"))
        assert config.redis_url == values["REDIS_URL"]
        assert config.allowed_origins == ("https://a.example", "https://b.example")
        assert config.auth_public_key == PEM
        assert config.auth_audience == ("a b", "#c")
        assert config.slow_consumer == "drop_oldest"


def test_the_example_names_every_variable() -> None:
    """conf/.env.example has exactly the variables there are, each once."""
    names = re.findall(r"^#?([A-Z_]+)=", EXAMPLE.read_text(), re.MULTILINE)
    assert sorted(names) == sorted(VARIABLES)


def test_every_setting_says_what_it_means() -> None:
    """Every setting has a sentence for the user."""
    assert all(setting.metadata["doc"].endswith(".") for setting in fields(Config))
