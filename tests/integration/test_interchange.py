"""Images with all that is odd, made here and by podman, moved in every way, read by the other: nothing is lost.

What is compared: the digests, and of every file its kind, mode, owner, time to the nanosecond, links, content and
attributes, as root of the reader's namespace sees them. The matrix is told at the end.
"""

from __future__ import annotations

import io
import json
import shlex
import struct
import subprocess
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

from tests.support import callers, images
from tests.support.callers import Podman
from tests.support.cli import Cli, new_cli
from tests.support.figures import NIGHTLY, Tell
from tests.support.images import busybox_path
from tests.support.places import OWN
from tests.support.registry import Registry

pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap", "busybox", "podman", "skopeo", "docker-registry")

LONG = "long-" * 40 + "/" + "name-" * 45
CAPABILITY = struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0).decode("latin-1")  # cap_net_bind_service, effective
SCRIPT = "; ".join((
    "cd /odd", "rm gone", "rm -r directory", "mkdir directory", "echo new > directory/new", "rm -r opaque",
    "echo file > opaque", "ln mode mode-too", "chown 7:8 owner", "chmod 2755 sgid", "mkfifo pipe",
    f"ln -s ../nowhere dangling; mkdir {'d' * 200}; touch -d @1234567890 time",
))  # fmt: skip
CONTAINERFILE = f"""
FROM localhost/odd
ADD odd.tar /added/
COPY --chown=9:10 plain /copied
RUN {SCRIPT}
CMD ["/bin/sh"]
"""
# Devices are left out: no user can make them, and podman does not even put a file in their place.
LIST = """
import hashlib, json, os, stat, sys
found, first = {}, {}
top = sys.argv[1]
for parent, directories, files in os.walk(top):
    for name in directories + files:
        path = os.path.join(parent, name)
        status = os.lstat(path)
        place = os.path.relpath(path, top)
        if place.split("/")[0] not in ("odd", "added", "copied") or "device" in name:
            continue
        kind = stat.S_IFMT(status.st_mode)
        entry = [oct(status.st_mode), status.st_uid, status.st_gid, status.st_mtime_ns]
        if kind == stat.S_IFREG:
            entry += [hashlib.sha256(open(path, "rb").read()).hexdigest(), status.st_nlink]
            entry.append(first.setdefault(status.st_ino, place))
        if kind == stat.S_IFLNK:
            entry.append(os.readlink(path))
        else:
            entry.append(sorted(
                (key, os.getxattr(path, key).hex()) for key in os.listxattr(path)
                if key == "security.capability" or key.startswith("user.note")
            ))
        found[place] = entry
print(json.dumps(found))
"""


def odd_tar(prefix: str, *, busybox: bool) -> bytes:
    """An archive of everything that is odd."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.PAX_FORMAT) as tar:

        def add(name: str, data: bytes = b"", xattrs: dict[str, str] | None = None, **fields: Any) -> None:
            member = tarfile.TarInfo(prefix + name)
            member.size, member.mode, member.mtime = len(data), 0o644, 1_000_000_000
            for key, value in fields.items():
                setattr(member, key, value)
            headers = {f"SCHILY.xattr.{key}": value for key, value in (xattrs or {}).items()}
            member.pax_headers = headers if isinstance(member.mtime, int) else {**headers, "mtime": str(member.mtime)}
            member.mtime = int(float(member.mtime))
            tar.addfile(member, io.BytesIO(data))

        if busybox:
            path = busybox_path()
            assert path is not None
            for name in ("bin", "etc", "proc", "sys", "dev", "tmp"):
                tar.addfile(_directory(name))
            tool = tarfile.TarInfo("bin/busybox")
            data = Path(path).read_bytes()
            tool.size, tool.mode = len(data), 0o755
            tar.addfile(tool, io.BytesIO(data))
            for name in ("sh", "rm", "mkdir", "ln", "chown", "chmod", "mkfifo", "touch", "echo", "cat"):
                link = tarfile.TarInfo(f"bin/{name}")
                link.type, link.linkname = tarfile.SYMTYPE, "busybox"
                tar.addfile(link)
        if prefix:
            tar.addfile(_directory(prefix.rstrip("/")))
        for name in ("directory", "opaque"):
            tar.addfile(_directory(prefix + name))
            add(f"{name}/inside", b"x")
        add("gone", b"x")
        add("owner", b"x", uid=33, gid=60000)
        add("mode", b"x", mode=0o4755, uid=1)
        add("sgid", b"x", mode=0o2711)
        add("time", b"x", mtime="1500000000.123456789")
        add("early", b"x", mtime=1)
        add("capable", b"\x7fELF", mode=0o755, xattrs={"security.capability": CAPABILITY})
        add("noted", b"x", xattrs={"user.note": "of Zo\u00eb"})
        add("hard", b"linked")
        add("link-to-hard", type=tarfile.LNKTYPE, linkname=f"{prefix}hard")
        add("symlink", type=tarfile.SYMTYPE, linkname="../etc/passwd", uid=5, mtime="1400000000.5")
        add("fifo", type=tarfile.FIFOTYPE)
        add("device", type=tarfile.CHRTYPE, devmajor=1, devminor=3, mode=0o666)
        tar.addfile(_directory(prefix + LONG.partition("/")[0]))
        add(LONG, b"x")
        add("na\u00efve name\twith\nmore", b"x")
        add("hole", bytes(300_000) + b"x")
    return out.getvalue()


def _directory(name: str) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.mode, member.mtime = tarfile.DIRTYPE, 0o1777, 900_000_000
    return member


class Seen(NamedTuple):
    """An image as a program tells of it: its id, the digest of its manifest, its DiffIDs, and its files."""

    id: str
    digest: str
    diff_ids: list[str]
    files: dict[str, Any]


class Ours:
    """This program, with a store of its own."""

    name = "rootless"

    def __init__(self, cli: Cli) -> None:
        self.cli = cli

    def ok(self, *words: str) -> str:
        return self.cli.ok(*words, timeout=120).strip()

    def see(self, image: str) -> Seen:
        """Read an image."""
        box = self.ok("create", image, "true")
        listed = self.ok("unshare", "sh", "-euc", f'{_python()} "$({shlex.join(self.cli.command("mount", box))})"')
        self.ok("rm", box)
        found = json.loads(self.ok("inspect", "--type=image", image))[0]
        return Seen(found["Id"], found["Digest"], found["RootFS"]["Layers"], json.loads(listed))

    def run(self, image: str) -> str:
        """What a container of the image says."""
        return self.ok("run", "--rm", "--network=none", image, "cat", "/odd/hard")


class Theirs:
    """podman."""

    name = "podman"

    def __init__(self, podman: Podman) -> None:
        self.podman = podman

    def ok(self, *words: str) -> str:
        return self.podman.ok(*words)

    def see(self, image: str) -> Seen:
        """Read an image."""
        mount = shlex.join(map(str, self.podman.words("image", "mount", image)))
        listed = self.ok("unshare", "sh", "-euc", f'{_python()} "$({mount})"')
        found = json.loads(self.ok("image", "inspect", image))[0]
        return Seen(found["Id"], found["Digest"], found["RootFS"]["Layers"], json.loads(listed))

    def run(self, image: str) -> str:
        """What a container of the image says."""
        return self.ok("run", "--rm", "--network=none", image, "cat", "/odd/hard")


def _python() -> str:
    return f"/usr/bin/python3 -c {shlex.quote(LIST)}"


class Site(NamedTuple):
    """All programs, and the place where they meet."""

    ours: Ours
    theirs: Theirs
    registry: Registry
    place: Path


@pytest.fixture(scope="module")
def site(registry: Registry, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    """Both programs, each with the image ``localhost/odd`` and the images that it made of it."""
    place = tmp_path_factory.mktemp("interchange")
    place.chmod(0o755)
    with new_cli() as cli, callers.podman(OWN) as podman:
        site = Site(Ours(cli), Theirs(podman), registry, place)
        base, context = place / "base.tar", place / "context"
        base.write_bytes(odd_tar("odd/", busybox=True))
        context.mkdir()
        (context / "odd.tar").write_bytes(odd_tar("", busybox=False))
        (context / "plain").write_text("plain")
        (context / "Containerfile").write_text(CONTAINERFILE)
        site.ours.ok("import", "--change=CMD=[\"/bin/sh\"]", str(base), "localhost/odd")
        layout = images.Layout(place / "layout")
        layout.add_image("odd", [layout.add_layer(odd_tar("odd/", busybox=True))], {"Cmd": ["/bin/sh"]})
        site.theirs.ok("tag", site.theirs.ok("pull", "-q", f"oci:{place}/layout:odd"), "localhost/odd")
        for program in (site.ours, site.theirs):
            program.ok("run", "--name", "changed", "--network=none", "localhost/odd", "sh", "-ec", SCRIPT)
            program.ok("commit", "-q", "changed", "localhost/committed")
            program.ok("rm", "changed")
            program.ok("build", "-q", "--network=none", "-t", "localhost/built", str(context))
        yield site


WAYS = ("registry", "oci-archive", "docker-archive", "dir")
MADE = [
    ("rootless", "import", "localhost/odd"), ("rootless", "commit", "localhost/committed"),
    ("rootless", "build", "localhost/built"), ("podman", "commit", "localhost/committed"),
    ("podman", "build", "localhost/built"),
]  # fmt: skip


def reference(site: Site, way: str, name: str) -> str:
    """Where an image is put, and taken from."""
    if way == "registry":
        return f"docker://{site.registry.address}/{name}:1"
    suffix = f":localhost/{name}:1" if way == "docker-archive" else ""
    return f"{way}:{site.place}/{name}-{way}{suffix}"


def skopeo(site: Site, where: str) -> dict[str, Any]:
    """What skopeo tells of the image there."""
    words = ["skopeo", "--insecure-policy", "inspect", "--tls-verify=false", where]
    environment = {"PATH": "/usr/bin:/bin", "HOME": str(site.place), "XDG_RUNTIME_DIR": str(site.place)}
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def differences(made: Seen, seen: Seen, way: str) -> list[str]:
    """What is not as the image's maker sees it."""
    found = [
        f"{path}: {made.files.get(path)} is {seen.files.get(path)}"
        for path in sorted(made.files.keys() | seen.files.keys()) if made.files.get(path) != seen.files.get(path)
    ]  # fmt: skip
    if made.diff_ids != seen.diff_ids:
        found.append(f"DiffIDs: {made.diff_ids} are {seen.diff_ids}")
    if way != "docker-archive" and made.id != seen.id:  # the one way that makes another configuration of an OCI one
        found.append(f"id: {made.id} is {seen.id}")
    return found


TOLD: list[tuple[str, str, str, str]] = []


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize(("maker", "how", "image"), MADE, ids=[f"{maker}-{how}" for maker, how, _ in MADE])
def test_moved_images_are_the_same(site: Site, maker: str, how: str, image: str, way: str) -> None:
    own, other = (site.ours, site.theirs) if maker == "rootless" else (site.theirs, site.ours)
    made = own.see(image)
    name = f"{maker}-{how}-{way}"
    where = reference(site, way, name)
    tls = ["--tls-verify=false"] if way == "registry" else []
    own.ok("push", "-q", *tls, image, where)
    told = skopeo(site, where)
    assert len(told["Layers"]) == len(made.diff_ids)
    for reader in (other, own) if NIGHTLY or way == "registry" else (other,):
        got = reader.ok("pull", "-q", *tls, where).splitlines()[-1]
        if way == "registry":
            got = where.removeprefix("docker://")  # an image may have several manifests, a name has one
        seen = reader.see(got)
        wrong = differences(made, seen, way)
        known = reader is own and maker == "podman"  # which tells of the digest that it had before
        if way == "registry" and seen.digest != told["Digest"] and not known:
            wrong.append(f"digest: {told['Digest']} is {seen.digest}")
        if reader.run(got) != "linked":
            wrong.append("it does not run")
        TOLD.append((f"{maker} {how}", way, reader.name, "equal" if not wrong else f"{len(wrong)} differences"))
        assert not wrong, "\n".join(wrong)


def test_the_matrix(figure: Tell, capsys: pytest.CaptureFixture[str]) -> None:
    if not TOLD:
        pytest.skip("needs the tests above in the same run")
    equal = sum(result == "equal" for *_, result in TOLD)
    with capsys.disabled():
        print(f"\n{'made by':<16} {'moved by':<15} {'read by':<9} result")
        for made, way, reader, result in TOLD:
            print(f"{made:<16} {way:<15} {reader:<9} {result}")
    figure("images that another program reads as their maker does", f"= {len(TOLD)}", equal, len(TOLD))
