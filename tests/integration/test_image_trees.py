"""`image tree`, `image mount` and `image unmount`."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.fakes.registry import layer
from tests.support.cli import Cli
from tests.support.images import Layout

pytestmark = pytest.mark.needs("subuid", "newuidmap")


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An OCI image layout of ``base`` and of two images above it."""
    made = Layout(tmp_path_factory.mktemp("images") / "family")
    base = made.add_layer(layer({"etc/base": b"b" * 1000}))
    left, right = (made.add_layer(layer({f"etc/{name}": name.encode()})) for name in ("left", "right"))
    top = made.add_layer(layer({"etc/top": b"t"}))
    made.add_image("base", [base], {})
    made.add_image("left", [base, left, top], {})
    made.add_image("right", [base, right], {})
    return made.directory


def pull(cli: Cli, layout: Path, name: str) -> str:
    image = cli.ok("pull", "-q", f"oci:{layout}:{name}").strip()
    cli.ok("tag", image, name)
    return image


def in_namespace(cli: Cli, script: str) -> str:
    """What a shell inside `unshare` prints, where $R is the program."""
    return cli.ok("unshare", "sh", "-ec", script.replace("$R", " ".join(cli.command())))


def test_the_tree_of_layers(cli: Cli, layout: Path) -> None:
    image = pull(cli, layout, "left")
    lines = cli.ok("image", "tree", "left").splitlines()
    assert lines[0] == f"Image ID: {image[:12]}"
    assert lines[1].startswith("Tags:     [") and "localhost/left:latest" in lines[1]
    assert lines[2].startswith("Size:     ")
    assert lines[3] == "Image Layers"
    assert [line[:7] for line in lines[4:]] == ["├── ID:", "├── ID:", "└── ID:"]
    assert "Top Layer of: [" in lines[4]
    assert "Top Layer of" not in lines[5] + lines[6]
    assert "1kB" in lines[6]
    assert "image not known" in cli.fails(125, "image", "tree", "nope")


def test_what_requires_a_layer(cli: Cli, layout: Path) -> None:
    for name in ("base", "left", "right"):
        pull(cli, layout, name)
    lines = cli.ok("image", "tree", "--whatrequires", "base").splitlines()[4:]
    assert "localhost/base:latest" in lines[0]
    assert [line.partition("ID")[0] for line in lines] == ["└── ", "    ├── ", "    ├── ", "    └── "]
    assert "localhost/left:latest" in lines[2]
    assert "localhost/right:latest" in lines[3]


@pytest.mark.parametrize("driver", ["overlay", "fuse-overlayfs", "vfs"])
def test_an_image_is_mounted_for_the_programs_of_a_namespace(cli: Cli, layout: Path, driver: str) -> None:
    cli.environment["STORAGE_DRIVER"] = driver
    image = pull(cli, layout, "left")
    pull(cli, layout, "base")
    told = cli.fails(125, "image", "mount", "left")
    assert "must execute `rootless unshare` first" in told
    out = in_namespace(cli, 'm=$($R image mount left); cat $m/etc/left; echo; ls $m/etc; $R image mount --format json')
    content, *rest = out.partition("[")[0].split()
    assert (content, rest) == ("left", ["base", "left", "top"])
    (row,) = json.loads(out[out.index("[") :])
    assert row["id"] == image
    assert "localhost/left:latest" in row["Repositories"]
    out = in_namespace(
        cli,
        f"m=$($R image mount left); test $($R image mount left) = $m; $R image mount base >/dev/null;"
        f" test $($R image mount | wc -l) = 2; (echo x >$m/etc/new) 2>/dev/null || true;"
        f" test $($R image unmount left) = {image}; test ! -e $m/etc/left;"
        f" $R image unmount --all >/dev/null; $R image mount; ! $R image unmount left 2>/dev/null",
    )
    assert out == ""
    assert cli.ok("system", "check") == ""
