"""The two programs under comparison, each with a home of its own and set up as well as it can be."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path

from tests.bench.measure import CommandFailed, run
from tests.support.cli import entry_point

IMAGE = "localhost/busybox:latest"


class Program:
    """A program of podman's command line with its own home, store and runtime directory below ``home``."""

    def __init__(self, name: str, prefix: Sequence[str], home: Path) -> None:
        self.name = name
        self.prefix = list(prefix)
        self.home = home
        self.environment: Mapping[str, str] = {
            "HOME": str(home),
            "LANG": "C.UTF-8",
            "PATH": os.environ["PATH"],
            "XDG_CACHE_HOME": str(home / "cache"),
            "XDG_CONFIG_HOME": str(home / "config"),
            "XDG_DATA_HOME": str(home / "data"),
            "XDG_RUNTIME_DIR": str(home / "run"),
        }
        for directory in ("cache", "config/containers", "data", "run"):
            (home / directory).mkdir(mode=0o700, parents=True, exist_ok=True)

    def command(self, *arguments: str) -> list[str]:
        """The whole command line."""
        return [*self.prefix, *arguments]

    def run(self, *arguments: str) -> None:
        """Run a command that must succeed. Raises CommandFailed."""
        run(self.command(*arguments), self.environment)

    def output(self, *arguments: str) -> str:
        """The standard output of a command that must succeed. Raises CommandFailed."""
        done = subprocess.run(
            self.command(*arguments), env=dict(self.environment), capture_output=True, text=True, check=False
        )
        if done.returncode != 0:
            raise CommandFailed(f"{self.name} {' '.join(arguments)} exits {done.returncode}: {done.stderr}")
        return done.stdout.strip()

    def add_image(self, layout: Path, tag: str, name: str = "") -> None:
        """Take the image ``tag`` of an OCI image layout into the store, under ``name`` if there is one."""
        identity = self.output("pull", "--quiet", f"oci:{layout}:{tag}").splitlines()[-1]
        if name:
            self.run("tag", identity, name)


def podman(home: Path) -> Program:
    """podman with the kernel's overlay and crun, which are faster than its own choices on an old machine."""
    program = Program("podman", ["podman"], home)
    containers = home / "config" / "containers"
    places = f'graphroot = "{home}/data/containers"\nrunroot = "{home}/run/containers"\n'
    (containers / "storage.conf").write_text(f'[storage]\ndriver = "overlay"\n{places}')
    engine = '[engine]\nruntime = "crun"\ncgroup_manager = "cgroupfs"\nevents_logger = "file"\n'
    (containers / "containers.conf").write_text(engine)
    (containers / "policy.json").write_text('{"default": [{"type": "insecureAcceptAnything"}]}')
    return program


def rootless(home: Path) -> Program:
    """This program, as it is installed in the environment that runs the benchmark."""
    return Program("rootless", entry_point(), home)


def end_podman(program: Program) -> None:
    """End the pause process that podman leaves behind."""
    subprocess.run(
        program.command("system", "migrate"), env=dict(program.environment), capture_output=True, check=False
    )
