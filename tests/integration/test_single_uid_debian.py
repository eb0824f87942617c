"""Packages of Debian are installed by a user without subordinate ids, with the owners that they have elsewhere."""

from __future__ import annotations

import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from rootless.engine.containers.diff import MADE_BY_THE_ENGINE
from tests.support import packages
from tests.support.alone import Alone
from tests.support.cli import Cli, new_cli
from tests.support.copying import NONE
from tests.support.drivers import DRIVERS

pytestmark = [
    pytest.mark.needs("userns", "subuid", "newuidmap", "debootstrap"), pytest.mark.slow, pytest.mark.timeout(900),
]  # fmt: skip

PACKAGES = ("cron", "dbus", "uuid-runtime")
"""They bring systemd with them, and set-id programs, system users, and directories that belong to these."""

INSTALL = f"""
    rm -rf /etc/apt/sources.list /etc/apt/sources.list.d; echo 'deb [trusted=yes] file:/debs ./' > /etc/apt/sources.list
    apt-get -q update
    DEBIAN_FRONTEND=noninteractive apt-get -q -y --no-install-recommends install {" ".join(PACKAGES)}
    dpkg --audit; useradd --create-home --shell /bin/sh somebody; su somebody -c id
    install -o somebody -g uuidd -m 2750 -d /srv/given; chgrp crontab /home/somebody; chown :messagebus /srv/given
"""
COPIED = {"etc/shadow", "etc/shadow-", "etc/gshadow", "etc/gshadow-"}
"""useradd gives its new files the owner that stat(2) tells of the old ones: root."""

Seen = dict[str, tuple[bytes, int, int, int, str]]


@pytest.fixture(scope="module")
def with_range(debian_layout: Path) -> Iterator[Cli]:
    """A user with a range of subordinate ids, with the image and the packages that it lacks."""
    with new_cli() as made:
        made.ok("tag", made.ok("pull", "--quiet", f"oci:{debian_layout}:latest", timeout=300).strip(), "debian")
        yield made


@pytest.fixture(scope="module")
def repository(with_range: Cli) -> Path:
    """The directory with the packages."""
    status = with_range.ok("run", "--rm", NONE, "debian", "cat", "/var/lib/dpkg/status")
    try:
        return packages.repository("debian-packages", PACKAGES, status)
    except (subprocess.CalledProcessError, OSError) as error:
        pytest.skip(f"needs a Debian mirror: {error}")


def installed(cli: Cli, repository: Path, name: str) -> str:
    """Install the packages in a new container; what is said."""
    words = ("run", NONE, "--name", name, "-v", f"{repository}:/debs:ro", "debian", "sh", "-ec", INSTALL)
    return cli.ok(*words, timeout=600)


def exported(cli: Cli, name: str, target: Path) -> Seen:
    """Kind, mode, owner, group and target of a link of everything in a container."""
    cli.ok("export", "-o", str(target), name, timeout=300)
    with tarfile.open(target) as archive:
        found = {item.name: (item.type, item.mode, item.uid, item.gid, item.linkname) for item in archive}
    target.unlink()
    return {path: seen for path, seen in found.items() if path not in COPIED}


@pytest.fixture(scope="module")
def expected(with_range: Cli, repository: Path, tmp_path_factory: pytest.TempPathFactory) -> Seen:
    """What the installation leaves where every id is real."""
    installed(with_range, repository, "c")
    return exported(with_range, "c", tmp_path_factory.mktemp("export") / "c.tar")


@pytest.mark.parametrize("driver", DRIVERS)
def test_packages_are_installed(
    driver: str, debian_layout: Path, repository: Path, expected: Seen, tmp_path: Path
) -> None:
    with new_cli() as made:
        alone = Alone(made.home, driver)
        alone.ok("tag", alone.ok("pull", "--quiet", f"oci:{debian_layout}:latest", timeout=300).strip(), "debian")
        said = installed(alone, repository, "c")
        assert "uid=1000(somebody) gid=1000(somebody)" in said
        seen = exported(alone, "c", tmp_path / "c.tar")
        assert seen["usr/bin/crontab"][1] == 0o2755 and seen["usr/bin/crontab"][3] > 100
        assert {path: (seen.get(path), expected.get(path)) for path in seen.keys() | expected.keys()
                if seen.get(path) != expected.get(path)} == {}  # fmt: skip
        if driver == "overlay":
            alone.ok("commit", "--quiet", "c", "installed", timeout=300)
            alone.ok("create", NONE, "--name", "again", "installed")
            again = exported(alone, "again", tmp_path / "again.tar")
            kept = seen.keys() - MADE_BY_THE_ENGINE
            assert {path: (seen[path], again.get(path)) for path in kept if seen[path] != again.get(path)} == {}


@pytest.mark.needs("overlay")
def test_packages_are_installed_by_a_build(
    debian_layout: Path, repository: Path, expected: Seen, tmp_path: Path
) -> None:
    """The image has the owners that it would have elsewhere."""
    (tmp_path / "context").mkdir()
    file = tmp_path / "Containerfile"
    file.write_text(f"FROM localhost/debian\nRUN <<EOF\nset -e\n{INSTALL}EOF\nRUN test -u /usr/bin/crontab || id\n")
    with new_cli() as made:
        alone = Alone(made.home)
        alone.ok("tag", alone.ok("pull", "--quiet", f"oci:{debian_layout}:latest", timeout=300).strip(), "debian")
        words = ("-t", "installed", "-v", f"{repository}:/debs:ro", "-f", str(file), str(tmp_path / "context"))
        said = alone.ok("build", NONE, *words, timeout=600)
        assert "uid=1000(somebody) gid=1000(somebody)" in said
        alone.ok("create", NONE, "--name", "c", "installed", timeout=300)
        seen = exported(alone, "c", tmp_path / "c.tar")
        kept = expected.keys() - MADE_BY_THE_ENGINE - {"debs"}  # places of mounts
        assert {path: (expected[path], seen.get(path)) for path in kept if expected[path] != seen.get(path)} == {}
