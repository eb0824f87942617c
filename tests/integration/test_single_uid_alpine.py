"""A package in Alpine's format is installed by the build of a user without subordinate ids, and pushed to a registry.

There is no `apk` on Debian. What it does with a package is done by a script: the scripts around the installation, and
the archive unpacked by root, who gives each file to its owner, as busybox's `tar` does.
"""

from __future__ import annotations

import gzip
import io
import tarfile
from pathlib import Path

import pytest

from tests.support.alone import Alone
from tests.support.cli import Cli, new_cli
from tests.support.registry import Registry

pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap", "busybox", "docker-registry")

BEFORE = "#!/bin/sh\necho www:x:80: >> /etc/group\necho web:x:800:80::/var/www:/bin/sh >> /etc/passwd\n"
AFTER = "#!/bin/sh\nchown -R web:www /var/www\nchmod 2750 /var/www\nchown -h web /var/www/link\n"
FILES = {
    "usr/bin/server": (0o4755, 0, 80, b"#!/bin/sh\n"), "etc/server.conf": (0o640, 0, 80, b"port 80\n"),
    "var/www/index.html": (0o644, 0, 0, b"<p>\n"), "var/lib/server/state": (0o600, 800, 80, b""),
}  # fmt: skip
INSTALL = """\
set -e
mkdir -p /tmp/p /var /usr
cat /package.apk | gunzip > /tmp/all
tar -xf /tmp/all -C /tmp/p .pre-install .post-install
sh /tmp/p/.pre-install
rm /tmp/all
gunzip -c /package.data.gz | tar -xf - -C /
ln -s index.html /var/www/link
sh /tmp/p/.post-install
rm -r /tmp/p
id web
"""
EXPECTED = """\
/usr/bin/server 4755 0 80
/etc/server.conf 640 0 80
/var/www 2750 800 80
/var/www/index.html 644 800 80
/var/www/link 777 800 0
/var/lib/server/state 600 800 80
"""


def archive(files: dict[str, tuple[int, int, int, bytes]]) -> bytes:
    """A compressed archive of files with mode, owner and group."""
    plain = io.BytesIO()
    with tarfile.open(fileobj=plain, mode="w") as tar:
        for name, (mode, owner, group, data) in files.items():
            member = tarfile.TarInfo(name)
            member.mode, member.uid, member.gid, member.size = mode, owner, group, len(data)
            tar.addfile(member, io.BytesIO(data))
    return gzip.compress(plain.getvalue(), mtime=0)


@pytest.mark.needs("overlay")
def test_a_package_is_installed_and_pushed(busybox_layout: Path, tmp_path: Path) -> None:
    context = tmp_path / "context"
    context.mkdir()
    scripts = {".pre-install": BEFORE, ".post-install": AFTER}
    control = {name: (0o755, 0, 0, text.encode()) for name, text in scripts.items()}
    (context / "package.apk").write_bytes(archive(control))
    (context / "package.data.gz").write_bytes(archive(FILES))
    (context / "Containerfile").write_text(
        f"FROM localhost/busybox\nCOPY package.* /\nRUN <<EOF\n{INSTALL}EOF\nRUN rm /package.*\n"
    )
    with Registry(tmp_path / "registry") as registry, new_cli() as made, new_cli() as other:
        name = f"{registry.address}/packaged:1"
        _pull_busybox(alone := Alone(made.home), busybox_layout)
        said = alone.ok("build", "--network=none", "-t", name, str(context), timeout=300)
        assert "uid=800(web) gid=80(www)" in said
        alone.ok("push", "--quiet", "--tls-verify=false", name)
        other.ok("pull", "--quiet", "--tls-verify=false", name)
        paths = [line.split()[0] for line in EXPECTED.splitlines()]
        assert other.ok("run", "--rm", "--network=none", name, "stat", "-c", "%n %a %u %g", *paths) == EXPECTED


def _pull_busybox(cli: Cli, layout: Path) -> None:
    cli.ok("tag", cli.ok("pull", "--quiet", f"oci:{layout}:latest").strip(), "localhost/busybox")
