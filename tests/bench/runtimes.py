"""The cases of the OCI runtime: a bundle's start and end, side by side with runc and crun."""

from __future__ import annotations

import itertools
import json
import os
from collections.abc import Callable
from pathlib import Path

from tests.bench import measure
from tests.bench.cases import Bench
from tests.bench.measure import Times
from tests.bench.programs import Program
from tests.support import bundles
from tests.support.cli import entry_point


def bundle(directory: Path) -> Path:
    """A bundle of busybox for this user alone, as ``runc spec --rootless`` has it, whose program is true."""
    bundles.make_root(directory / "rootfs")
    document = bundles.spec("/bin/true")
    document["ociVersion"] = "1.0.2"  # as far as older peers know
    for mount in document["mounts"]:
        mount["options"] = [option for option in mount["options"] if not option.startswith("gid=")]  # one id is mapped
    linux = document["linux"]
    for kind, identity in (("uid", os.getuid()), ("gid", os.getgid())):
        linux[f"{kind}Mappings"] = [{"containerID": 0, "hostID": identity, "size": 1}]
    (directory / "config.json").write_text(json.dumps(document))
    return directory


def run_bundle(bench: Bench, name: str) -> Times:
    """``run`` of the same bundle by the runtime ``name`` and by this project's."""
    made = bundle(bench.work / f"bundle-{name}")
    peer = Program(name, (name,), bench.work / name)
    own = Program("rootless-oci", entry_point("rootless-oci"), bench.work / f"beside-{name}")
    names = (f"bundle-{number}" for number in itertools.count())

    def start(program: Program) -> Callable[[], None]:
        state = str(program.home / "state")
        return lambda: program.run("--root", state, "run", "--bundle", str(made), next(names))

    return measure.in_turn(start(peer), start(own), bench.rounds)


def beside_runc(bench: Bench) -> Times:
    """A bundle by runc and by this project's runtime."""
    return run_bundle(bench, "runc")


def beside_crun(bench: Bench) -> Times:
    """A bundle by crun and by this project's runtime."""
    return run_bundle(bench, "crun")
