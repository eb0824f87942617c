"""Every manifest, index and configuration that is written is what image-spec 1.1 says: by its schemas, walked through.

Made by commit, import, build, manifest, save and push; found in the store, in archives and at a registry.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support import schemas
from tests.support.cli import Cli, new_cli
from tests.support.layers import archive, directory, file
from tests.support.registry import Registry
from tests.support.schemas import Checked

pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")

IMAGE = "localhost/busybox"
CONTAINERFILE = """
FROM localhost/busybox
ARG VERSION=1
ENV A=b NAME="with blanks"
LABEL org.example.version=$VERSION
RUN echo x > /made
COPY context-file /
WORKDIR /srv
VOLUME /data
EXPOSE 80 53/udp
USER 5:6
STOPSIGNAL 15
HEALTHCHECK --interval=5s --timeout=3s --retries=2 CMD true
SHELL ["/bin/sh", "-ec"]
ONBUILD RUN true
ENTRYPOINT ["/bin/sh"]
CMD ["-c", "true"]
"""
CHANGES = [
    "ENV=X=y", 'CMD=["a"]', "LABEL=l=m", "EXPOSE=8080/tcp", "VOLUME=/v", "USER=7", "WORKDIR=/w", "STOPSIGNAL=9",
]  # fmt: skip
NAMES = [
    "committed", "committed-docker", "squashed", "imported", "built", "built-docker", "built-squashed",
    "built-whole", "built-annotated",
]  # fmt: skip


@pytest.fixture(scope="module")
def made(busybox_layout: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """A store with images of every maker: committed, imported, built, and lists of them."""
    with new_cli() as cli:
        cli.ok("tag", cli.ok("pull", "-q", f"oci:{busybox_layout}:latest").strip(), IMAGE)
        cli.ok("run", "--name", "box", "--network=none", IMAGE, "sh", "-c", "echo changed > /changed; rm -r /srv")
        options = [f"--change={change}" for change in CHANGES]
        cli.ok("commit", "-q", "--author", "Nobody <n@example.org>", *options, "box", "committed")
        cli.ok("commit", "-q", "--format", "docker", "-m", "a message", *options, "box", "committed-docker")
        cli.ok("commit", "-q", "--squash", "box", "squashed")
        tar = cli.home / "root.tar"
        tar.write_bytes(archive([directory("etc"), file("etc/f", "text")]))
        cli.ok("import", *options, "-m", "imported", str(tar), "imported")
        context = tmp_path_factory.mktemp("context")
        (context / "context-file").write_text("x")
        (context / "Containerfile").write_text(CONTAINERFILE)
        for name, more in {
            "built": (), "built-docker": ("--format=docker",), "built-squashed": ("--squash",),
            "built-whole": ("--squash-all",), "built-annotated": ("--annotation=a=b", "--label=c=d", "--timestamp=0"),
        }.items():  # fmt: skip
            cli.ok("build", "-q", "--network=none", "-t", name, *more, str(context), timeout=120)
        cli.ok("manifest", "create", "listed", "containers-storage:localhost/committed")
        cli.ok("manifest", "add", "listed", "containers-storage:localhost/built")
        cli.ok("manifest", "annotate", "--annotation=k=v", "--arch=arm64", "--variant=v8", "listed", "localhost/built")
        yield cli


def assert_right(checked: Checked, manifests: int, indexes: int = 0) -> None:
    assert checked.wrong == []
    assert checked.seen["manifest"] >= manifests
    assert checked.seen["config"] >= manifests
    assert checked.seen["index"] >= indexes


def test_the_store(made: Cli) -> None:
    assert_right(schemas.of_layout(made.data / "images"), len(NAMES), 2)


@pytest.mark.parametrize("form", ["oci-archive", "docker-archive", "oci-dir"])
def test_saved_images(made: Cli, tmp_path: Path, form: str) -> None:
    for name in NAMES:
        output = tmp_path / name
        made.ok("save", "-q", "--format", form, "-o", str(output), name)
        assert_right(schemas.of_layout(output) if form == "oci-dir" else schemas.of_archive(output), 1)


def test_images_saved_as_plain_directories(made: Cli, tmp_path: Path) -> None:
    for name in ("committed", "built-docker"):
        output = tmp_path / name
        made.ok("save", "-q", "--format", "docker-dir", "-o", str(output), name)
        manifest = json.loads((output / "manifest.json").read_bytes())
        assert list(schemas.problems(manifest, schemas.DOCKER_MANIFEST)) == []
        for descriptor in (manifest["config"], *manifest["layers"]):
            assert (output / descriptor["digest"].partition(":")[2]).stat().st_size == descriptor["size"]


def test_several_images_in_one_archive(made: Cli, tmp_path: Path) -> None:
    output = tmp_path / "saved"
    made.ok("save", "-q", "-m", "-o", str(output), *NAMES)
    assert_right(schemas.of_archive(output), len(NAMES) - 1)  # two have one configuration


@pytest.mark.needs("docker-registry", "skopeo")
def test_pushed_images(made: Cli, tmp_path: Path) -> None:
    with Registry(tmp_path / "registry") as registry:
        for name in NAMES:
            made.ok("push", "-q", "--tls-verify=false", name, f"{registry.address}/{name}")
        for number, options in enumerate((
            ("--format=v2s2",), ("--format=oci",), ("--compression-format=zstd",),
            ("--compression-format=zstd:chunked",), ("--compression-format=gzip", "--compression-level=9"),
        )):  # fmt: skip
            made.ok("push", "-q", "--tls-verify=false", *options, "built", f"{registry.address}/formats:{number}")
        made.ok("manifest", "push", "--all", "--tls-verify=false", "listed", f"docker://{registry.address}/listed:1")
        assert_right(schemas.of_registry(tmp_path / "registry/data"), len(NAMES) + 2, 1)


CONFIG: dict[str, Any] = {
    "architecture": "amd64", "os": "linux", "created": "2024-01-01T00:00:00Z",
    "config": {"Env": ["A=b"], "ExposedPorts": {"80/tcp": {}}, "Labels": {"a": "b"}},
    "rootfs": {"type": "layers", "diff_ids": ["sha256:" + "a" * 64]}, "history": [{"created": "2024-01-01T00:00:00Z"}],
}  # fmt: skip


@pytest.mark.parametrize(
    ("place", "value"),
    [
        (("created",), "yesterday"), (("os",), ""), (("config", "Env"), ["A"]), (("config", "Labels", "a"), 1),
        (("config", "ExposedPorts"), {"http": {}}), (("rootfs", "type"), "other"), (("config", "Cmd"), "true"),
        (("rootfs", "diff_ids"), ["sha256:abc"]), (("history", 0), None), (("config", "WorkingDir"), "srv"),
    ],
)  # fmt: skip
def test_the_schemas_refuse_what_is_wrong(place: tuple[str | int, ...], value: object) -> None:
    assert list(schemas.problems(CONFIG, schemas.CONFIG)) == []
    broken: Any = copy.deepcopy(CONFIG)
    inner = broken
    for key in place[:-1]:
        inner = inner[key]
    inner[place[-1]] = value
    assert list(schemas.problems(broken, schemas.CONFIG)) != []
