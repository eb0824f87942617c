"""How a case is built: by this program, and by buildah."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from tests.build_cases import bases, trees
from tests.build_cases.case import Case
from tests.support.cli import Cli

_UNNAMED = "locating new copy of image"
"""What buildah says when it has written an image that is that of the base, and looks for it in its storage."""
PATIENCE = 120.0
"""Seconds of one build."""


class Built:
    """What came of a build: an exit code, what was said, and the image."""

    def __init__(self, code: int, said: str, image: trees.Image | None) -> None:
        self.code = code
        self.said = said
        self.image = image


class Ours:
    """This program with a store that has the bases."""

    def __init__(self, cli: Cli, layout: Path, tags: Sequence[str] = bases.TAGS) -> None:
        self._cli = cli
        for tag in tags:
            cli.ok("tag", cli.ok("pull", "--quiet", f"oci:{layout}:{tag}").strip(), f"localhost/{tag}")
        if "python" in tags:
            cli.ok("tag", "localhost/python", "localhost/python:3")

    def build(self, case: Case, directory: Path) -> Built:
        """Build it; the context is in ``directory``."""
        for flags in _before(case, directory):
            done = self._run(flags, case, directory)
            if done.returncode:
                return Built(done.returncode, done.stderr, None)
        name = f"localhost/case-{case.name}:latest"
        done = self._run([*_flags(case, directory), "-t", name], case, directory)
        image = None
        if done.returncode == 0:
            image = trees.read(self._cli.data / "images", name)
        return Built(done.returncode, done.stderr, image)

    def _run(self, flags: Sequence[str], case: Case, directory: Path) -> subprocess.CompletedProcess[str]:
        words = self._cli.command("build", *flags, str(directory / case.at))
        return _run(words, directory, {**self._cli.environment, **case.environment})


class Buildah:
    """buildah with storage of its own below ``home``, whose path must have no capital letters."""

    def __init__(self, home: Path, environment: Mapping[str, str], layout: Path, tags: Sequence[str]) -> None:
        self._home = home
        self._environment = dict(environment)
        self._program = [
            "buildah", "--root", str(home / "storage"), "--runroot", str(home / "run"), "--storage-driver", "overlay"]
        for tag in tags:
            image = self._ok("pull", "--quiet", f"oci:{layout}:{tag}").strip()
            self._ok("tag", image, f"localhost/{tag}")
            if tag == "python":
                self._ok("tag", image, "localhost/python:3")

    def build(self, case: Case, directory: Path) -> Built:
        """As `Ours.build`."""
        for flags in _before(case, directory):
            done = self._run(flags, case, directory)
            if done.returncode:
                return Built(done.returncode, done.stderr, None)
        target = self._home / "images" / case.name
        target.mkdir(parents=True)
        kind = f"dir:{target}" if case.docker else f"oci:{target}:case"
        done = self._run([*_flags(case, directory), "-t", kind], case, directory)
        image = None
        if _UNNAMED in done.stderr:  # it is written nevertheless
            done = subprocess.CompletedProcess(done.args, 0, done.stdout, done.stderr)
        if done.returncode == 0 and case.docker:
            image = trees.of_parts(target, json.loads((target / "manifest.json").read_bytes()))
        elif done.returncode == 0:
            image = trees.read(target, "case")
        return Built(done.returncode, done.stderr, image)

    def _run(self, flags: Sequence[str], case: Case, directory: Path) -> subprocess.CompletedProcess[str]:
        words = [*self._program, "bud", "--isolation", "chroot", "-q", *flags, str(directory / case.at)]
        return _run(words, directory, {**self._environment, **case.environment})

    def _ok(self, *words: str) -> str:
        done = _run([*self._program, *words], self._home, self._environment)
        assert done.returncode == 0, f"buildah {words}: {done.stderr}"
        return done.stdout


def _before(case: Case, directory: Path) -> Iterator[list[str]]:
    """Flags of the builds of the images that the case is made from; the Containerfile is beside the context."""
    path = directory.with_name(directory.name + ".before")
    for name, text in case.before.items():
        path.write_text(text)
        yield ["--format", "docker", "-t", name, "-f", str(path)]


def _flags(case: Case, directory: Path) -> list[str]:
    flags = [flag.replace("{context}", str(directory)) for flag in case.flags]
    return [*flags, *(["--format", "docker"] if case.docker else [])]


def _run(words: Sequence[str], directory: Path, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        list(words), cwd=directory, env=dict(environment), stdin=subprocess.DEVNULL, capture_output=True, text=True,
        errors="surrogateescape", timeout=PATIENCE, check=False)  # fmt: skip
