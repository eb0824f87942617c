"""An image has owners beyond the user's range: they are nobody in its containers, and true in what leaves them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support import images
from tests.support.cli import Cli, new_cli
from tests.support.copying import NONE, bytes_of, members
from tests.support.drivers import DRIVERS
from tests.support.layers import archive, directory, file

pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")

FAR = 172761424


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """A user with a range of some ten thousand ids, and the image ``far``."""
    entries = [
        directory("x"), file("x/far", "far", 0o640, uid=FAR, gid=FAR + 1), file("x/su", "su", 0o6755, uid=FAR, gid=5),
        directory("x/dir", 0o2770, uid=7, gid=FAR), file("x/near", "near", 0o644, uid=7, gid=8),
        file("x/given", "given", 0o644, uid=FAR, gid=FAR), file("x/changed", "before", 0o600, uid=FAR, gid=9),
    ]  # fmt: skip
    layout = images.Layout(tmp_path_factory.mktemp("layout"))
    parts = [layout.add_layer(images.busybox_tar()), layout.add_layer(archive(entries))]
    layout.add_image("far", parts, {"Cmd": ["sh"]})
    with new_cli() as made:
        made.ok("tag", made.ok("pull", "--quiet", f"oci:{layout.directory}:far").strip(), "far")
        yield made


@pytest.mark.parametrize("driver", DRIVERS)
def test_ids_beyond_the_range(cli: Cli, driver: str) -> None:
    words = ("--storage-driver", driver)
    script = f"stat -c '%u %g %a' /x/far /x/su /x/dir; chown 3:4 /x/given; echo x >> /x/changed; chown {FAR} /x/near"
    try:
        done = cli.run(*words, "run", NONE, "--name", "c", "far", "sh", "-c", script)
        assert done.stdout == "65534 65534 640\n65534 5 2755\n7 65534 2770\n"
        assert "Invalid argument" in done.stderr and done.returncode == 1
        cli.ok(*words, "commit", "--quiet", "c", "changed")
        cli.ok(*words, "create", NONE, "--name", "again", "changed")
        for name in ("c", "again"):
            found = members(bytes_of(cli, *words, "export", name))
            assert {path: (item.uid, item.gid, item.mode) for path, item in found.items() if path.startswith("x/")} == {
                "x/far": (FAR, FAR + 1, 0o640), "x/su": (FAR, 5, 0o6755), "x/dir": (7, FAR, 0o2770),
                "x/near": (7, 8, 0o644), "x/given": (3, 4, 0o644), "x/changed": (FAR, 9, 0o600),
            }  # fmt: skip
            assert found["x/changed"].size == len("before" "x\n")
    finally:
        cli.ok("rm", "-f", "c", "again")
        cli.run("rmi", "-f", "changed")
