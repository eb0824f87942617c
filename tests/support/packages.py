"""Debian packages for containers: downloaded with the machine's own settings of apt, offered as a local repository."""

from __future__ import annotations

import hashlib
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from tests.support.images import cache, remove_tree

SUITE = "stable"
"""That of `tests.support.images.debian_layout`."""

_KEYRING = "/usr/share/keyrings/debian-archive-keyring.gpg"


def repository(name: str, packages: Sequence[str], status: str) -> Path:
    """A directory with ``packages``, what they depend on beyond ``status``, and an index; made once, then cached.

    ``status`` is the text of an image's /var/lib/dpkg/status. Raises OSError or CalledProcessError
    where no mirror is reached.
    """
    target = cache() / name
    if (target / "Packages").exists():
        return target
    work = cache() / f"{name}.tmp"
    remove_tree(work)
    for directory in ("lists/partial", "archives/partial"):
        (work / directory).mkdir(parents=True)
    (work / "status").write_text(status)
    (work / "sources").write_text(f"deb [signed-by={_KEYRING}] {_mirror()} {SUITE} main\n")
    settings = {
        "Dir::State": work, "Dir::State::status": work / "status", "Dir::Cache": work, "Debug::NoLocking": 1,
        "Dir::Etc::sourcelist": work / "sources", "Dir::Etc::sourceparts": "/dev/null",
    }  # fmt: skip
    command = ["apt-get", "-q", *(f"-o{key}={value}" for key, value in settings.items())]
    _run([*command, "update"])
    _run([*command, "-y", "--no-install-recommends", "--download-only", "install", *packages])
    archives = work / "archives"
    (archives / "Packages").write_text("\n".join(_entry(deb) for deb in sorted(archives.glob("*.deb"))))
    remove_tree(target)
    archives.rename(target)
    remove_tree(work)
    return target


def _mirror() -> str:
    """The first repository that the machine's apt knows for Debian itself."""
    lines = _run(["apt-get", "indextargets", "--format", "$(REPO_URI)", "Created-By: Packages"]).split()
    found = [line for line in lines if "security" not in line]
    if not found:
        raise OSError("apt knows no repository")
    return found[0]


def _entry(deb: Path) -> str:
    fields = _run(["dpkg-deb", "--field", str(deb)]).rstrip("\n")
    plain = deb.with_name(deb.name.replace("%", "_"))
    deb.rename(plain)
    data = plain.read_bytes()
    return f"{fields}\nFilename: ./{plain.name}\nSize: {len(data)}\nSHA256: {hashlib.sha256(data).hexdigest()}\n"


def _run(command: Sequence[str]) -> str:
    environment = {**os.environ, "PATH": os.environ.get("PATH", "") + ":/usr/sbin:/sbin", "LC_ALL": "C.UTF-8"}
    done = subprocess.run(command, env=environment, check=True, capture_output=True, text=True, timeout=300)
    return done.stdout
