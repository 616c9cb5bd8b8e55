"""The environment file: what a line may hold, and who precedes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from sanic_chat.config.env_file import (
    MAX_BYTES,
    change,
    differences,
    find_hidden,
    read_env_file,
    source_in_env_file,
    with_env_file,
)
from sanic_chat.config.settings import Config
from sanic_chat.errors import ConfigError


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "chat.env"


class TestLines:
    @pytest.mark.parametrize(
        ("line", "value"),
        [
            ("A=1", "1"),
            ("  A = 1  ", "1"),
            ("export A=1", "1"),
            ("A=", ""),
            ("A=''", ""),
            ("A=x=y", "x=y"),
            ("A='a b # c'", "a b # c"),
            ('A="a b"', "a b"),
            ("A=it's", "it's"),
            ("A='say \"hi\"'", 'say "hi"'),
            (r"A='\n$HOME\'", r"\n$HOME" + "\\"),
            (r"A=redis://u:p$4\w%23@h", r"redis://u:p$4\w%23@h"),
            ("A=a#b", "a#b"),
            ("A=ä\u2028b", "ä\u2028b"),
            ("A=1\r", "1"),
        ],
    )
    def test_a_value(self, path: Path, line: str, value: str) -> None:
        """It is what stands there, without blanks and one pair of quotes around it."""
        path.write_bytes(f"\ufeff# a comment\n; one of systemd's\n\n{line}\n".encode())
        assert read_env_file(str(path)) == {"A": (4, value)}

    def test_the_last_of_several(self, path: Path) -> None:
        """A name that stands there twice has its last value, as all loaders have it."""
        path.write_text("A=1\nA=2")
        assert read_env_file(str(path)) == {"A": (2, "2")}

    @pytest.mark.parametrize(
        ("line", "told"),
        [
            ("A", "this is no variable; allowed are lines like CHAT_BACKLOG=4096"),
            ("se cret", "this is no variable"),
            ("1A=x", "'1A' is no name"),
            ("A B=x", "'A B' is no name"),
            ("A='x", "the value of A begins with a quote; allowed is one more of them, at its end"),
            ("A='x'y'", "the value of A begins with a quote"),
            ("A='x' # note", "the value of A begins with a quote"),
            ("A='", "the value of A begins with a quote"),
            ("A=x # note", "is the # in the value of A a comment? Put the value in single quotes"),
            ("A=x \\", "the value of A goes on in the next line"),
            ("A=x\0y", "the value of A has a zero byte"),
            ("Ä=x", "'Ä' is no name"),
            ("a+b/c==", "this is no variable"),
        ],
    )
    def test_a_line_that_is_refused(self, path: Path, line: str, told: str) -> None:
        """What loaders read in different ways is an error that names the line."""
        path.write_text(f"OK=1\n\n{line}\n")
        with pytest.raises(ConfigError) as refused:
            read_env_file(str(path))
        assert str(refused.value).startswith(f"{path}, line 3: {told}")

    def test_a_secret_is_not_shown(self, path: Path) -> None:
        """No error repeats a value, nor a line that is none."""
        for line in ("AUTH_SECRET='geheim", "geheim", "AUTH_SECRET=geheim # x"):
            path.write_text(line)
            with pytest.raises(ConfigError) as refused:
                read_env_file(str(path))
            assert "geheim" not in str(refused.value)


class TestFiles:
    @pytest.mark.parametrize(
        ("content", "reason"),
        [
            (None, "No such file or directory"),
            (b"A=\xff", "it is not UTF-8"),
            (b"#" * (MAX_BYTES + 1), f"it has more than {MAX_BYTES} bytes"),
        ],
        ids=["missing", "not UTF-8", "too large"],
    )
    def test_a_file_that_is_refused(self, path: Path, content: bytes | None, reason: str) -> None:
        if content is not None:
            path.write_bytes(content)
        with pytest.raises(ConfigError) as refused:
            Config.from_environment(with_env_file({"CHAT_ENV_FILE": str(path)}))
        assert str(refused.value) == (
            f"CHAT_ENV_FILE is {str(path)!r} ({reason}); allowed is a file in UTF-8"
        )

    def test_a_pipe(self, path: Path) -> None:
        """What can be read only once could not be read anew; nobody waits for a writer."""
        os.mkfifo(path)
        with pytest.raises(ConfigError, match="it is no regular file"):
            with_env_file({"CHAT_ENV_FILE": str(path)})

    def test_a_path_that_is_none(self) -> None:
        with pytest.raises(ConfigError, match="null"):
            with_env_file({"CHAT_ENV_FILE": "a\0b"})

    def test_an_empty_file(self, path: Path) -> None:
        path.write_text("")
        assert with_env_file({"CHAT_ENV_FILE": str(path)})["CHAT_ENV_FILE"] == str(path)


class TestPrecedence:
    def test_the_environment_precedes(self, path: Path) -> None:
        """A variable that is set, and not empty, is not the file's."""
        path.write_text("A=file\nB=file\nC=file\n")
        environment = {"CHAT_ENV_FILE": str(path), "A": "own", "B": " ", "D": "own"}
        found = with_env_file(environment)
        assert {name: found[name] for name in "ABCD"} == {
            "A": "own", "B": "file", "C": "file", "D": "own",
        }  # fmt: skip
        assert source_in_env_file(found, "A") is None
        assert source_in_env_file(found, "B") == f"{path}, line 2"
        assert source_in_env_file(found, "E") is None

    def test_a_line_that_does_nothing_is_told(self, path: Path) -> None:
        """Unless it says the same."""
        path.write_text("A=file\nB=same\nAUTH_SECRET=geheim\n")
        environment = {"CHAT_ENV_FILE": str(path), "A": "own", "B": "same", "AUTH_SECRET": "other"}
        assert find_hidden(environment) == [
            f"{name} stands in {path}, line {line}, which does nothing: the environment, or an "
            "option, has another value, and precedes"
            for name, line in (("A", 1), ("AUTH_SECRET", 3))
        ]

    def test_read_anew(self, path: Path) -> None:
        """What the file gave before is taken back, also in a process that inherited it."""
        own = {"CHAT_ENV_FILE": str(path), "A": "own"}
        path.write_text("B=1\nC=1\n")
        before = with_env_file(own)
        path.write_text("A=2\nC=2\nD=2\n")
        after = with_env_file(before)
        assert after == with_env_file(own)
        assert "B" not in after
        assert (after["A"], after["C"], after["D"]) == ("own", "2", "2")
        inherited = dict(before)
        change(inherited, differences(before, after))
        assert inherited == after

    def test_the_default_environment(self, path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """`Config` reads the file that the process's environment names, and no other's."""
        path.write_text("CHAT_BACKLOG=77\nCHAT_BACKLOGS=1\n")
        monkeypatch.setenv("CHAT_ENV_FILE", str(path))
        assert Config.from_environment().backlog == 77
        assert Config.from_environment({"CHAT_ENV_FILE": str(path)}).backlog == 4096
        assert Config.doubts() == [
            "CHAT_BACKLOGS is no setting, and does nothing: do you mean CHAT_BACKLOG?"
        ]
        assert "CHAT_BACKLOG" not in os.environ
