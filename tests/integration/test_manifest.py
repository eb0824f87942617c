"""Image lists: made, filled, changed, run, kept and removed."""

from __future__ import annotations

import json
import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.fakes.registry import layer
from tests.support import schemas
from tests.support.cli import Cli
from tests.support.images import Layout
from tests.support.registry import Registry

pytestmark = pytest.mark.needs("subuid")

PLATFORMS = {"amd64": {"architecture": "amd64", "os": "linux"},
             "arm": {"architecture": "arm", "variant": "v7", "os": "linux"}}  # fmt: skip


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An OCI image layout with an image for each of two platforms, tagged by the architecture."""
    made = Layout(tmp_path_factory.mktemp("images") / "platforms")
    for name, platform in PLATFORMS.items():
        made.add_image(name, [made.add_layer(layer({f"etc/{name}": b"x" * 100}))], {}, platform)
    return made.directory


def pulled(cli: Cli, layout: Path, name: str) -> str:
    """The image for the platform ``name``, in the store as ``localhost/app:NAME``; its id."""
    arch = ["--arch", PLATFORMS[name]["architecture"]]
    image = cli.ok("pull", "-q", *arch, f"oci:{layout}:{name}").strip()
    cli.ok("tag", image, f"app:{name}")
    return image


def document(cli: Cli, name: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(cli.ok("manifest", "inspect", name))
    return found


def digest_of(cli: Cli, name: str) -> str:
    return cli.ok("image", "inspect", "--format", "{{.Digest}}", name).strip()


def test_a_list_of_two_platforms_is_an_oci_index(cli: Cli, layout: Path) -> None:
    pulled(cli, layout, "amd64")
    pulled(cli, layout, "arm")
    made = cli.ok("manifest", "create", "--annotation", "maker=tests", "both", "app:amd64", "app:arm").strip()
    index = document(cli, "both")
    assert len(made) == 64
    assert index["mediaType"] == "application/vnd.oci.image.index.v1+json"
    assert index["annotations"] == {"maker": "tests"}
    assert [entry["platform"] for entry in index["manifests"]] == list(PLATFORMS.values())
    assert [entry["digest"] for entry in index["manifests"]] == [digest_of(cli, f"app:{each}") for each in PLATFORMS]
    assert document(cli, made) == document(cli, made[:12]) == index


def test_the_id_of_a_list_stays_while_it_is_filled(cli: Cli, layout: Path) -> None:
    pulled(cli, layout, "amd64")
    made = cli.ok("manifest", "create", "grows")
    assert document(cli, "grows")["manifests"] == []
    assert cli.ok("manifest", "add", "grows", "app:amd64") == made
    assert cli.ok("manifest", "create", "--amend", "grows") == made
    assert len(document(cli, "grows")["manifests"]) == 1
    assert "that name is in use" in cli.fails(125, "manifest", "create", "grows")
    assert "that name is in use" in cli.fails(125, "manifest", "create", "--amend", "app:amd64")


def test_what_is_said_of_an_entry_can_be_changed(cli: Cli, layout: Path) -> None:
    pulled(cli, layout, "arm")
    cli.ok("manifest", "create", "said")
    cli.ok("manifest", "add", "--os-features", "a,b", "--annotation", "k=v", "said", "app:arm")
    (entry,) = document(cli, "said")["manifests"]
    assert entry["platform"]["os.features"] == ["a", "b"]
    assert entry["annotations"] == {"k": "v"}
    said = ("--arch", "arm64", "--variant", "v8", "--os-version", "1")
    cli.ok("manifest", "annotate", *said, "said", entry["digest"])
    cli.ok("manifest", "annotate", "--index", "--annotation", "own=1", "--subject", "app:arm", "said")
    index = document(cli, "said")
    platform = {"architecture": "arm64", "os": "linux", "variant": "v8", "os.features": ["a", "b"], "os.version": "1"}
    assert index["manifests"][0]["platform"] == platform
    assert index["annotations"] == {"own": "1"}
    assert list(schemas.problems(index, schemas.INDEX)) == []
    assert index["subject"]["digest"] == entry["digest"]
    assert "--index" in cli.fails(125, "manifest", "annotate", "--index", "--arch", "arm", "said")
    assert "not in the image list" in cli.fails(125, "manifest", "annotate", "said", "sha256:" + "0" * 64)


def test_entries_go_by_digest_or_by_name(cli: Cli, layout: Path) -> None:
    pulled(cli, layout, "amd64")
    pulled(cli, layout, "arm")
    cli.ok("manifest", "create", "less", "app:amd64", "app:arm")
    cli.ok("manifest", "remove", "less", digest_of(cli, "app:amd64"))
    assert [entry["digest"] for entry in document(cli, "less")["manifests"]] == [digest_of(cli, "app:arm")]
    cli.ok("manifest", "remove", "less", "app:arm")
    assert document(cli, "less")["manifests"] == []


def test_two_empty_lists_are_two(cli: Cli) -> None:
    first, second = cli.ok("manifest", "create", "one").strip(), cli.ok("manifest", "create", "two").strip()
    assert cli.ok("manifest", "rm", "one") == f"Untagged: localhost/one:latest\nDeleted: {first}\n"
    assert cli.run("manifest", "exists", "one").returncode == 1
    assert cli.run("manifest", "exists", "two").returncode == 0
    assert second in cli.ok("images", "--no-trunc", "-q")


@pytest.mark.needs("busybox", "overlay")
def test_run_takes_the_image_for_this_machine(cli: Cli, layout: Path, busybox_layout: Path) -> None:
    pulled(cli, layout, "arm")
    image = cli.ok("pull", "-q", f"oci:{busybox_layout}:latest").strip()
    cli.ok("manifest", "create", "multi", "app:arm", image)
    assert cli.ok("run", "--rm", "multi", "echo", "here") == "here\n"
    assert cli.ok("image", "inspect", "--format", "{{.Id}}", "multi").strip() == image
    # The list keeps what it names, also when the image has gone by its own name; what only looks at it changes nothing.
    cli.ok("rmi", image)
    assert cli.ok("image", "inspect", "--format", "{{.Id}}", "multi").strip() == image
    cli.ok("save", "-q", "-o", os.devnull, "multi")
    assert image[:12] not in cli.ok("images", "-aq")
    assert cli.ok("system", "check") == ""
    assert cli.ok("run", "--rm", "multi", "echo", "again") == "again\n"
    assert "no image found" in cli.fails(125, "run", "--rm", "--arch", "s390x", "multi", "true")


def test_images_and_names_know_lists(cli: Cli, layout: Path) -> None:
    pulled(cli, layout, "amd64")
    made = cli.ok("manifest", "create", "known", "app:amd64").strip()
    cli.ok("tag", "known", "alias:1")
    rows = json.loads(cli.ok("images", "--format", "json", "known"))
    assert [(row["Id"], row["IsManifestList"]) for row in rows] == [(made, True)]
    assert cli.run("image", "exists", "alias:1").returncode == 0
    assert cli.ok("rmi", "alias:1") == "Untagged: localhost/alias:1\n"
    assert cli.ok("rmi", "known") == f"Untagged: localhost/known:latest\nDeleted: {made}\n"
    assert cli.run("image", "exists", "app:amd64").returncode == 0


def test_nothing_is_left_of_a_list_and_its_images(cli: Cli, layout: Path) -> None:
    image = pulled(cli, layout, "amd64")
    cli.ok("manifest", "create", "kept", "app:amd64")
    cli.ok("rmi", "-f", image)
    assert len(os.listdir(cli.data / "images" / "blobs" / "sha256")) == 4  # list, manifest, configuration, layer
    assert cli.ok("system", "check") == ""
    cli.ok("manifest", "create", "other")
    cli.ok("tag", "other", "kept")  # the list that had the name has none now
    cli.ok("image", "prune", "-f")
    assert len(os.listdir(cli.data / "images" / "blobs" / "sha256")) == 1
    cli.ok("image", "prune", "-a", "-f")
    assert os.listdir(cli.data / "images" / "blobs" / "sha256") == []


def test_many_add_to_one_list_at_once(cli: Cli, layout: Path, tmp_path: Path) -> None:
    made = Layout(tmp_path / "many")
    shared = made.add_layer(layer({"etc/x": b"x"}))
    for number in range(8):
        made.add_image(f"v{number}", [shared], {"Labels": {"number": str(number)}})
        cli.ok("tag", cli.ok("pull", "-q", f"oci:{made.directory}:v{number}").strip(), f"many:{number}")
    cli.ok("manifest", "create", "busy")
    running = [cli.popen("manifest", "add", "busy", f"many:{number}") for number in range(8)]
    for process in running:
        assert process.communicate(timeout=60) and process.returncode == 0
    digests = {entry["digest"] for entry in document(cli, "busy")["manifests"]}
    assert digests == {digest_of(cli, f"many:{number}") for number in range(8)}


@pytest.mark.needs("docker-registry", "skopeo")
def test_an_image_at_a_registry_is_added_without_fetching_it(cli: Cli, layout: Path, registry: Registry) -> None:
    at = f"{registry.address}/multi"
    for tag in PLATFORMS:
        registry.push(layout, "multi", tag)
    digests = [entry["digest"] for entry in json.loads((layout / "index.json").read_bytes())["manifests"]]
    plain = "--tls-verify=false"
    cli.ok("manifest", "create", plain, "remote", *(f"docker://{at}:{tag}" for tag in PLATFORMS))
    assert [entry["digest"] for entry in document(cli, "remote")["manifests"]] == digests
    assert [entry["platform"] for entry in document(cli, "remote")["manifests"]] == list(PLATFORMS.values())
    assert len(os.listdir(cli.data / "images" / "blobs" / "sha256")) <= 6  # no layers
    shown = json.loads(cli.ok("manifest", "inspect", plain, f"{at}:arm"))
    assert "config" in shown
    assert cli.ok("system", "check") == ""
    raw = subprocess.run(
        ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{at}:arm"], capture_output=True, check=True
    ).stdout
    assert shown == json.loads(raw)


def inspected(reference: str) -> Any:
    """What skopeo shows of an index or a manifest at a registry."""
    command = ["skopeo", "inspect", "--raw", "--tls-verify=false", f"docker://{reference}"]
    return json.loads(subprocess.run(command, capture_output=True, check=True).stdout)


@pytest.mark.needs("docker-registry", "skopeo")
def test_push_sends_the_images_of_a_list_and_those_of_another_repository(
    cli: Cli, layout: Path, registry: Registry, tmp_path: Path
) -> None:
    plain = "--tls-verify=false"
    registry.push(layout, "elsewhere", "arm")
    pulled(cli, layout, "amd64")
    cli.ok("manifest", "create", plain, "pushed", "app:amd64", f"docker://{registry.address}/elsewhere:arm")
    target = f"{registry.address}/pushed:1"
    assert "all" in cli.fails(125, "manifest", "push", "-q", plain, "--all=nonsense", "pushed", target)
    told = cli.fails(125, "manifest", "push", "-q", plain, "--all=false", "pushed", target)
    assert "neither in the store nor at the registry" in told
    cli.ok("manifest", "push", "-q", plain, "--digestfile", str(tmp_path / "digest"), "--rm", "pushed", target)
    index = inspected(target)
    cli.ok("manifest", "create", "--all", plain, "again", f"docker://{target}")
    cli.ok("manifest", "push", "-q", plain, "-f", "v2s2", "again", f"{target}-docker")
    cli.ok("manifest", "push", "-q", plain, "--compression-format", "zstd", "again", f"{target}-zstd")
    docker, zstd = inspected(f"{target}-docker"), inspected(f"{target}-zstd")
    assert docker["mediaType"] == "application/vnd.docker.distribution.manifest.list.v2+json"
    assert [entry["platform"] for entry in docker["manifests"] + zstd["manifests"]] == [*PLATFORMS.values()] * 2
    for found, kind in ((docker, "docker.image.rootfs.diff.tar.gzip"), (zstd, "oci.image.layer.v1.tar+zstd")):
        for entry in found["manifests"]:
            assert inspected(f"{registry.address}/pushed@{entry['digest']}")["layers"][0]["mediaType"].endswith(kind)
    assert index["mediaType"] == "application/vnd.oci.image.index.v1+json"
    assert [entry["platform"] for entry in index["manifests"]] == list(PLATFORMS.values())
    for entry in index["manifests"]:
        assert inspected(f"{registry.address}/pushed@{entry['digest']}")["layers"]
    assert cli.run("manifest", "exists", "pushed").returncode == 1
    cli.ok("pull", "-q", plain, "--arch", "arm", f"{registry.address}/pushed@{(tmp_path / 'digest').read_text()}")
    assert cli.ok("system", "check") == ""
