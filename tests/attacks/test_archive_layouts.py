"""Every published layout of a hostile image, by the commands that take images, on each driver and with both id maps.

The images that can be used are loaded by one `load` and looked at by each driver; those that must be refused are given
one by one to `load`, `import` and `pull`.
"""

from __future__ import annotations

import os
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from rootless import idmaps, userns
from storage import drivers
from storage.store import Store
from tests.support import attacks, layers, matrix, mounting
from tests.support.attacks import Attack
from tests.support.canary import Canary
from tests.support.figures import Tell
from tests.support.fixtures import require
from tests.support.images import Layout
from tests.support.matrix import USERS, User
from tests.support.saved import saved

pytestmark = [pytest.mark.needs("userns", "subuid", "newuidmap", "libseccomp"), pytest.mark.timeout(600)]
NEEDS = {"overlay": ["overlay"], "fuse-overlayfs": ["fuse", "fuse-overlayfs"], "copy": []}
MAPS = ["user", "user-alone"]
USED = [attack for attack in attacks.ALL if attack.expected is not None]
REFUSED = [attack for attack in attacks.ALL if attack.expected is None]
PUBLISHED = [attack for attack in attacks.ALL if attack.row <= 13]

class Host:
    """A user whose store holds all layouts that can be used, and the tree beside it that none may change."""

    def __init__(self, user: User, base: Path) -> None:
        self.user = user
        self.base = base
        self.canary = Canary(base / "canary")
        self.neighbours = self.names()
        self.idmap = idmaps.default_map() if user.kind.ranged else idmaps.single_map()
        self.tags = {attack.name: f"layout:{number}" for number, attack in enumerate(USED)}
        self.trees: dict[str, dict[str, Any]] = {}
        self.answers: dict[str, subprocess.CompletedProcess[bytes]] = {}
        self.reached: set[str] = set()

    def names(self) -> list[str]:
        """What is beside the canary and in the user's home."""
        return sorted(os.listdir(self.base)) + sorted(os.listdir(self.user.home))

    def archives(self, attack: Attack) -> list[bytes]:
        """The layers of an image, base first."""
        return [layers.archive(items) for items in attacks.aimed(attack, str(self.canary)).layers]

    def check(self, attack: Attack) -> None:
        """Assert that nothing outside has changed."""
        try:
            self.canary.check()
            assert self.names() == self.neighbours
        except AssertionError:
            self.reached.add(attack.name)
            raise

    def load(self) -> None:
        """Load all that can be used at once."""
        data = saved({self.tags[attack.name]: self.archives(attack) for attack in USED})
        done = subprocess.run(
            self.user.command("load", "-q"), input=data, capture_output=True, timeout=500, env=self.user.environment,
            check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stderr

    def give(self, attack: Attack) -> subprocess.CompletedProcess[bytes]:
        """What the program says to an image. Each of three ways has a third of them with either map, not the same."""
        if attack.name not in self.answers:
            archives = self.archives(attack)
            how = (REFUSED.index(attack) + MAPS.index(self.user.kind.name)) % 3
            command, data = ["load", "-q"], saved({"refused:1": archives})
            if how == 1 and len(archives) == 1:
                command, data = ["import", "-q", "-"], archives[0]
            elif how == 2:
                layout = Layout(self.user.home / "looks" / attack.name.replace(" ", "-"))
                layout.add_image("latest", [layout.add_layer(tar) for tar in archives], {})
                command, data = ["pull", "-q", f"oci:{layout.directory}:latest"], b""
            self.answers[attack.name] = subprocess.run(
                self.user.command(*command), input=data, capture_output=True, timeout=60, env=self.user.environment,
                check=False,
            )  # fmt: skip
            self.check(attack)
        return self.answers[attack.name]

    def look(self, name: str) -> dict[str, Any]:
        """What a container of each image sees, with the driver ``name``."""
        if name not in self.trees:

            def in_userns(function: Callable[[], bytes]) -> bytes:
                return userns.run_in_userns(function, self.idmap)

            def run(function: Callable[[], Any], mount_ns: bool = False) -> Any:
                return layers.evaluate(function, mount_ns, self.idmap)

            store = Store.open(str(self.user.data), str(self.user.home / "run" / "rootless"), self.idmap.key())
            driver = drivers.choose(store.layout, lambda root: mounting.probe(root, run), in_userns, name)
            roots = {}
            for layout, tag in self.tags.items():
                image = store.images.find(tag)
                assert image is not None
                work = self.user.home / "looks" / f"{name}-{tag.partition(':')[2]}"
                work.mkdir(parents=True, mode=0o700)
                roots[layout] = driver.prepare(str(work), store.layers.paths(image.diff_ids))
            found = run(lambda: [mounting.seen(root, layers.listing) for root in roots.values()], mount_ns=True)
            self.trees[name] = dict(zip(roots, found, strict=True))
        return self.trees[name]


@pytest.fixture(scope="module", params=MAPS)
def host(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    """A user of each id map."""
    with matrix.new_user(USERS[request.param]) as user:
        (user.home / "looks").mkdir()
        (user.home / "host").mkdir(exist_ok=True)
        made = Host(user, tmp_path_factory.mktemp("outside"))
        made.load()
        yield made


@pytest.mark.parametrize("attack", USED, ids=str)
@pytest.mark.parametrize("driver", drivers.NAMES)
def test_layout_that_is_used(host: Host, driver: str, attack: Attack) -> None:
    require(*NEEDS[driver])
    found = host.look(driver)[attack.name]
    aimed = attacks.aimed(attack, str(host.canary))
    host.check(attack)
    assert aimed.expected is not None
    assert {path: found.get(path) for path in aimed.expected} == aimed.expected
    assert not [path for path in aimed.absent if path in found]
    assert "hidden" not in found.values()


@pytest.mark.parametrize("attack", REFUSED, ids=str)
def test_layout_that_is_refused(host: Host, attack: Attack) -> None:
    places = {name: sorted(os.listdir(host.user.data / name)) for name in ("layers", "tmp", "l")}
    done = host.give(attack)
    assert done.returncode == 125, done.stderr
    error = done.stderr.decode()
    assert error.startswith("Error: cannot ") and "Traceback" not in error
    assert all(line.isprintable() for line in error.splitlines())
    assert {name: sorted(os.listdir(host.user.data / name)) for name in places} == places


def test_published_layouts_rows_1_2_3_4_5_6_7_8_13(host: Host, figure: Tell) -> None:
    """The figures of the tests above."""
    for attack in PUBLISHED:
        if attack.expected is None:
            host.give(attack)
        host.check(attack)
    for driver in drivers.NAMES:
        require(*NEEDS[driver])
        host.look(driver)
    host.check(PUBLISHED[0])
    figure("published layouts of hostile archives", "≥ 120", len(PUBLISHED))
    figure("published layouts that reached outside", "= 0", len(host.reached), of=len(PUBLISHED))
