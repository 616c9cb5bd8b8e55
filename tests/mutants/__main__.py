"""Runs the mutants; see the package."""

from __future__ import annotations

import argparse
import os
import resource
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..support.harness import ROOT
from . import Mutant
from .every import MUTANTS

SECONDS = 600.0
"""A mutant whose tests take longer is noticed by that."""

MAX_BYTES = 4 * 1024**3
"""Memory that each process of a run may have."""

TEST_SECONDS = 300
"""The same for a single test; the usual bound is too low for a machine on which others work."""

TESTS_FAILED = 1
"""pytest's exit code; every other one but 0 says that nothing was tested."""


def main() -> None:
    options = _options()
    chosen = [mutant for mutant in MUTANTS if _is_chosen(mutant, options.words)]
    if not chosen:
        sys.exit("no mutant has one of these words")
    bad = 0
    with copy_of(ROOT) as root:
        tests = sorted({test for mutant in chosen for test in mutant.tests})
        code, told = run(root, tests, seconds=None)
        if code != 0:
            print(told)
            sys.exit("these tests fail without any mutant")
        for mutant in chosen:
            verdict = try_out(mutant, root)
            print(f"{verdict or 'killed':9} {mutant.file}: {mutant.promise}", flush=True)
            bad += bool(verdict)
    print(f"{len(chosen)} mutants, {len(chosen) - bad} killed")
    sys.exit(bool(bad))


def try_out(mutant: Mutant, root: Path) -> str:
    """Nothing if one of its tests fails; else what became of the mutant, which is put back."""
    file = root / mutant.file
    try:
        source = file.read_text()
        file.write_text(mutant.mutated(source))
    except (OSError, SyntaxError, ValueError) as error:
        print(error)
        return "STALE"
    try:
        code, told = run(root, mutant.tests)
    finally:
        file.write_text(source)
    if code == 0:
        return "SURVIVED"
    if code != TESTS_FAILED:
        print(told)
        return "BROKEN"
    return ""


def run(
    root: Path, tests: list[str] | tuple[str, ...], *, seconds: float | None = SECONDS
) -> tuple[int, str]:
    """pytest's exit code and output; what takes too long has failed."""
    # The next mutant of a file may have its size and its second: no compiled file is to be trusted.
    environment = {
        **os.environ, "PYTHONDONTWRITEBYTECODE": "1", "HYPOTHESIS_PROFILE": "first_failure"
    }  # fmt: skip
    command = [sys.executable, "-m", "pytest", "-x", "-q", "-p", "no:cacheprovider"]
    command += [f"--timeout={TEST_SECONDS}", *tests]
    process = subprocess.Popen(
        command,
        cwd=root,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        preexec_fn=_bound_memory,
    )
    try:
        told, _ = process.communicate(timeout=seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        told, _ = process.communicate()
        return TESTS_FAILED, told
    return process.returncode, told


def _bound_memory() -> None:
    """Let a mutant that takes memory without end fail, and leave the machine alone."""
    resource.setrlimit(resource.RLIMIT_DATA, (MAX_BYTES, MAX_BYTES))


@contextmanager
def copy_of(root: Path) -> Iterator[Path]:
    """The files of a checkout that git knows, or would add, as they are now, in another place."""
    listed = subprocess.run(
        ["git", "ls-files", "--cached", "--others", "--exclude-standard", "-z"],
        cwd=root,
        check=True,
        capture_output=True,
        text=True,
    ).stdout
    with tempfile.TemporaryDirectory(prefix="mutants-") as directory:
        copy = Path(directory)
        for name in filter(None, listed.split("\0")):
            if (root / name).is_file():  # it may be gone, and git not told
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(root / name, copy / name)
        yield copy


def _is_chosen(mutant: Mutant, words: list[str]) -> bool:
    about = f"{mutant.file} {mutant.promise} {' '.join(mutant.tests)}"
    return not words or any(word in about for word in words)


def _options() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="Are the promises tested? Runs mutants.")
    parser.add_argument("words", nargs="*", help="only those that have one of them")
    return parser.parse_args()


if __name__ == "__main__":
    main()
