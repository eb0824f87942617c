"""The store on a disk without a free byte, and as other tools see it."""

from __future__ import annotations

import errno
import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from storage import reserve
from tests.support import storage as support
from tests.support.cli import CHECKOUT

# Run as root of a user namespace, on a tmpfs of a few MiB.
ON_A_FULL_DISK = """
import os, sys
sys.path[:0] = %(path)r
from storage import check, gc
from storage.errors import NoSpaceError
from storage.store import Store
from tests.support import storage as support

store = Store.open(os.getcwd() + "/data", %(run)r)
images = [support.add_image(store, f"localhost/x:{n}", content=b"%%d" %% n * 1000) for n in range(20)]
container = store.containers.create({}, "web")
store.volumes.create("data")

def fill():
    with open("filler", "ab", buffering=0) as file:
        for size in (65536, 4096, 1):
            try:
                while True:
                    file.write(b"x" * size)
            except OSError:
                pass
    if %(inodes)d:
        try:
            while True:
                open(f"inode-{len(os.listdir())}", "x").close()
        except OSError:
            pass

fill()
for refused in (lambda: store.containers.create({}, "other"), lambda: store.volumes.create("other"),
                lambda: support.add_image(store, "localhost/y:1", content=b"y" * 9000)):
    try:
        refused()
    except NoSpaceError as error:
        assert "prune" in error.hint, error.hint
    else:
        raise SystemExit("there was space left")
assert not os.listdir(store.layout.tmp)

def removing(what):
    fill()
    what()

removing(lambda: gc.remove_image(store, images[0]))
removing(lambda: store.containers.remove(container))
removing(lambda: store.volumes.remove("data"))
removing(lambda: store.images.untag("localhost/x:1"))
assert len(store.images.list()) == 19
assert store.containers.ids() == store.volumes.list() == []
for name in os.listdir():
    if name != "data":
        os.unlink(name)
assert gc.sweep(store) == 0
assert os.path.getsize(store.layout.reserve) == %(reserve)d
left = [finding for finding in check.run(store) if "not unpacked" not in finding["problem"]]
assert left == [], left
"""


@pytest.mark.needs("userns")
@pytest.mark.parametrize("inodes", [0, 300])
def test_a_full_disk_can_be_emptied(tmp_path: Path, inodes: int) -> None:
    """rm, rmi, untag and volume rm with 0 bytes free; what needs space is refused in one line and leaves nothing."""
    program = ON_A_FULL_DISK % {
        "path": [str(CHECKOUT), *sys.path], "run": str(tmp_path / "run"), "reserve": reserve.SIZE,
        "inodes": inodes}
    (tmp_path / "disk").mkdir()
    script = f'mount -t tmpfs -o size=4m,nr_inodes={inodes} none "$1" && cd "$1" && exec "$2" -c "$3"'
    subprocess.run(
        ["unshare", "--user", "--map-root-user", "--mount", "sh", "-c", script, "sh", str(tmp_path / "disk"),
         sys.executable, program], check=True, timeout=60)


@pytest.mark.needs("skopeo")
def test_skopeo_reads_the_layout(tmp_path: Path) -> None:
    with support.store_at(tmp_path) as store:
        names = ("docker.io/library/x:latest", "localhost:5000/a/b:1.0")
        image = support.add_image(store, *names, config={"Env": ["A=b"]})
        support.add_image(store, "localhost/other:latest", content=b"other")
        for name in image.names:
            done = subprocess.run(
                ["skopeo", "inspect", f"oci:{store.layout.images}:{name}"], check=True, capture_output=True)
            answer = json.loads(done.stdout)
            assert answer["Digest"] == image.digest
            assert answer["Env"] == ["A=b"]


@pytest.mark.needs("skopeo")
def test_an_image_that_skopeo_put_in(tmp_path: Path) -> None:
    with support.store_at(tmp_path / "from") as source, support.store_at(tmp_path / "to") as store:
        image = support.add_image(source, "docker.io/library/x:latest")
        kept = support.add_image(store, "localhost/kept:latest", content=b"kept")
        subprocess.run(
            ["skopeo", "copy", "--quiet", "--insecure-policy", f"oci:{source.layout.images}:docker.io/library/x:latest",
             f"oci:{store.layout.images}:docker.io/library/y:latest"], check=True, capture_output=True)
        found = store.images.find("y")
        assert found is not None
        assert found.id == image.id
        assert found.config["rootfs"] == image.config["rootfs"]
        again = store.images.find("kept")
        assert again is not None
        assert again.digest == kept.digest


def test_a_read_only_store_says_so(tmp_path: Path) -> None:
    with support.store_at(tmp_path) as store:
        code = support.failing_at(1, lambda: store.containers.create({}, "x"), errno.EROFS)
        assert code == support.REFUSED
        assert os.listdir(store.layout.containers) == []
