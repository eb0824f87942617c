"""What `diff` tells of containers and images is the same whatever the storage driver, and what the container did."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from tests.support.cli import Cli
from tests.support.copying import IMAGE, NONE
from tests.support.drivers import DRIVERS

pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")

SCRIPT = """
echo x > /new; ln /new /linked; ln -s /etc /link; mkfifo /pipe; mkdir -p /opt/a/b; touch /opt/a/b/c
rm /srv/second-layer
echo more >> /etc/group; touch -d @1 /etc/group
chmod 700 /usr; chown 5 /etc/os-release
rm -r /home; mkdir /home; mkdir /home/other
rm -r /var; echo file > /var
mkdir /emptied; rmdir /emptied
cat /etc/passwd > /dev/null
"""
EXPECTED = [
    "C /etc", "C /etc/group", "C /etc/os-release", "C /home", "A /home/other", "D /home/user", "A /link", "A /linked",
    "A /new", "A /opt", "A /opt/a", "A /opt/a/b", "A /opt/a/b/c", "A /pipe", "C /srv", "D /srv/second-layer", "C /usr",
    "C /var",
]  # fmt: skip


@pytest.fixture(autouse=True)
def _clean(shared_cli: Cli) -> Iterator[None]:
    yield
    shared_cli.ok("rm", "-af", "-t0")


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_container(shared_cli: Cli, driver: str) -> None:
    shared_cli.ok("--storage-driver", driver, "run", NONE, "--name", "c", IMAGE, "sh", "-ec", SCRIPT)
    found = shared_cli.ok("diff", "c").splitlines()
    assert [line for line in found if not line.startswith("C /run")] == EXPECTED
    assert shared_cli.ok("container", "diff", "-l").splitlines() == found
    document = json.loads(shared_cli.ok("diff", "--format", "json", "c"))
    assert sorted(f"{kind[0].upper()} {path}" for kind in document for path in document[kind]) == sorted(found)
    assert list(document) == ["changed", "added", "deleted"]


@pytest.mark.parametrize("driver", DRIVERS)
def test_one_that_runs_with_volumes(shared_cli: Cli, driver: str) -> None:
    """What is in a volume or a tmpfs is no change; the places of the engine's own mounts are none either."""
    script = "echo x > /data/in; echo x > /t/in; mkdir /srv/made; sleep 1000"
    options = ("-d", NONE, "--name", "c", "-v", "vol:/data", "--tmpfs", "/t")
    shared_cli.ok("--storage-driver", driver, "run", *options, IMAGE, "sh", "-ec", script)
    for _ in range(100):
        if "A /srv/made" in shared_cli.ok("diff", "c").splitlines():
            break
    found = shared_cli.ok("diff", "c").splitlines()
    assert [line for line in found if line not in ("C /etc", "C /run")] == ["A /data", "C /srv", "A /srv/made", "A /t"]
    shared_cli.ok("rm", "-f", "-t0", "c")
    shared_cli.ok("volume", "rm", "vol")


def test_one_that_was_never_started(shared_cli: Cli) -> None:
    shared_cli.ok("create", NONE, "--name", "c", IMAGE)
    assert shared_cli.ok("diff", "c") == ""
    assert shared_cli.ok("diff", "--format", "json", "c") == "{}\n"


def test_images(shared_cli: Cli) -> None:
    assert shared_cli.ok("diff", IMAGE).splitlines() == ["A /srv", "A /srv/second-layer"]
    assert shared_cli.ok("image", "diff", IMAGE, IMAGE) == ""
    shared_cli.ok("run", NONE, "--name", "c", IMAGE, "sh", "-c", "rm -r /srv; echo x > /etc/passwd")
    image = shared_cli.ok("commit", "-q", "c").strip()
    try:
        assert shared_cli.ok("diff", image, IMAGE).splitlines() == ["C /etc", "C /etc/passwd", "D /srv"]
        assert shared_cli.ok("diff", image).splitlines() == ["C /etc", "C /etc/passwd", "D /srv"]
        assert shared_cli.ok("diff", "c", image).splitlines()[:1] != ["D /srv"]
    finally:
        shared_cli.ok("rmi", "-f", image)


def test_what_is_refused(shared_cli: Cli) -> None:
    assert "json" in shared_cli.fails(125, "diff", "--format", "table", IMAGE)
    assert "no such container or image: nope" in shared_cli.fails(125, "diff", "nope")
    assert "nope" in shared_cli.fails(125, "container", "diff", "nope")
    assert "image not known" in shared_cli.fails(125, "image", "diff", "nope")
    shared_cli.fails(125, "diff")
    shared_cli.fails(125, "diff", "--latest", IMAGE)


def test_a_tree_that_is_too_deep(shared_cli: Cli) -> None:
    script = "i=0; while [ $i -lt 810 ]; do mkdir d && cd d; i=$((i+1)); done; true"
    shared_cli.ok("run", NONE, "--name", "c", "-w", "/tmp", IMAGE, "sh", "-c", script)
    assert "deeper than" in shared_cli.fails(125, "diff", "c")
    assert "deeper than" in shared_cli.fails(125, "commit", "c")


def test_unusual_names(shared_cli: Cli) -> None:
    script = "cd /srv; touch \"$(printf 'a\\nb')\" \"$(printf '\\377')\""
    shared_cli.ok("run", NONE, "--name", "n", IMAGE, "sh", "-c", script)
    found = shared_cli.ok("diff", "n")
    assert "A /srv/a\\nb\n" in found
    assert "A /srv/\udcff\n" in found
