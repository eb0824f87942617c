"""Fixtures that more than one test directory uses."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest

from rootless.runtime.delete import delete_tree
from tests.fakes.token_server import TokenServer
from tests.support import capabilities, images
from tests.support.alone import Alone
from tests.support.canary import Canary
from tests.support.certificates import Authority
from tests.support.cli import Cli, new_cli
from tests.support.figures import Figure, Tell
from tests.support.registry import PASSWORD, USER, Registry


def require(*names: str) -> None:
    """Skip the running test unless the machine gives each capability, as the marker ``needs`` does for a whole test."""
    for name in names:
        finding = capabilities.find(name)
        if not finding.present:
            pytest.skip(f"needs {name}: {finding.detail}")


@pytest.fixture
def figure(request: pytest.FixtureRequest) -> Tell:
    """Tells a figure: see :mod:`tests.support.figures`. Its section is the directory of the test."""

    def tell(what: str, goal: str, reached: float, of: int | None = None) -> None:
        told = Figure(request.path.parent.name, what, goal, reached, of)
        request.node.user_properties.append(("figure", told))
        assert told.met, f"{told.what}: {told.shown}, the goal is {told.goal}"

    return tell


@pytest.fixture
def canary(tmp_path: Path) -> Iterator[Canary]:
    """A tree of the host, ``tmp_path/canary``, that must be as it was when the test ends."""
    made = Canary(tmp_path / "canary")
    yield made
    made.check()


@pytest.fixture
def cli() -> Iterator[Cli]:
    """The program with an empty store."""
    with new_cli() as fresh:
        yield fresh


@pytest.fixture
def context(tmp_path: Path) -> Path:
    """An empty build context."""
    made = tmp_path / "context"
    made.mkdir()
    return made


@pytest.fixture(scope="session")
def busybox_layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The directory of an OCI image layout of busybox, tag ``latest``, two layers."""
    require("busybox")
    return images.busybox_layout(tmp_path_factory.mktemp("images") / "busybox")


@pytest.fixture(scope="session")
def shared_cli(busybox_layout: Path) -> Iterator[Cli]:
    """The program with a store that holds ``localhost/busybox``; for tests that leave it as they found it."""
    with new_cli() as fresh:
        image = fresh.ok("pull", "--quiet", f"oci:{busybox_layout}:latest").strip()
        fresh.ok("tag", image, "localhost/busybox:latest")
        yield fresh


@pytest.fixture
def alone(busybox_layout: Path) -> Iterator[Alone]:
    """A user without a range, with an image of busybox."""
    with new_cli() as made:
        user = Alone(made.home)
        user.ok("tag", user.ok("pull", "--quiet", f"oci:{busybox_layout}:latest").strip(), "localhost/busybox")
        yield user


@pytest.fixture(scope="session")
def registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """An anonymous registry on loopback."""
    require("docker-registry", "skopeo")
    with Registry(tmp_path_factory.mktemp("registry")) as running:
        yield running


@pytest.fixture(scope="session")
def basic_registry(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Registry]:
    """A registry on loopback that wants the user and password of :mod:`tests.support.registry`."""
    require("docker-registry", "skopeo")
    with Registry(tmp_path_factory.mktemp("registry"), authenticated=True) as running:
        yield running


@pytest.fixture(scope="module")
def token_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TokenServer]:
    """Gives tokens to the user of :mod:`tests.support.registry`."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    with TokenServer(tmp_path_factory.mktemp("token"), USER, PASSWORD) as running:
        yield running


@pytest.fixture(scope="module")
def token_registry(tmp_path_factory: pytest.TempPathFactory, token_server: TokenServer) -> Iterator[Registry]:
    """A registry on loopback that wants tokens of ``token_server``."""
    require("docker-registry", "skopeo")
    directory = tmp_path_factory.mktemp("registry")
    with Registry(directory, token=token_server.configuration) as running:
        yield running


@pytest.fixture(scope="module")
def authority(tmp_path_factory: pytest.TempPathFactory) -> Authority:
    """Who signs the certificates of a test's servers."""
    if shutil.which("openssl") is None:
        pytest.skip("needs openssl")
    return Authority(tmp_path_factory.mktemp("authority"))


@pytest.fixture
def no_leftovers(tmp_path: Path) -> Iterator[None]:
    """Delete what a test leaves in its directory to subordinate ids, which pytest itself could not."""
    yield
    delete_tree(str(tmp_path))


@pytest.fixture(scope="session")
def debian_layout() -> Path:
    """The directory of an OCI image layout of a minimal Debian in four layers (cached; made once by debootstrap)."""
    require("debootstrap", "subuid", "newuidmap")
    try:
        return images.debian_layout("debian-minimal", splits=[["usr/lib"], ["usr/share"], ["usr"], ["."]])
    except OSError as error:
        pytest.skip(f"needs a Debian mirror: {error}")
