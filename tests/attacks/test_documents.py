"""Documents of images that are two things at once, that name what is no digest, or that hold the wrong kinds of values.

Each is offered as a directory (`oci:`), and where it matters by a registry and as an archive of `docker save`.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from storage import reference
from tests.fakes.registry import INDEX, MANIFEST, FakeRegistry, layer
from tests.integration.test_run_flags import IMAGE
from tests.support.cli import Cli
from tests.support.figures import Tell, amount
from tests.support.refusal import refused

pytestmark = pytest.mark.needs("userns", "busybox")
PLAIN = "--tls-verify=false"
BLOB = hashlib.sha256(b"").hexdigest()
NO_DIGESTS = (
    "sha256:../../x", "sha256:../../../../../../etc/passwd", f"sha256:{BLOB.upper()}", f"sha256:{BLOB[:-1]}",
    f"sha256:{BLOB}0", "sha256:", BLOB, "md5:d41d8cd98f00b204e9800998ecf8427e", f"sha256:{BLOB[:-1]}\0",
    f"sha256:{BLOB}/..", f"SHA256:{BLOB}", f"sha256+x:{BLOB}", "", ":", f"sha256:{'g' * 64}", f"sha256:{BLOB}\n",
    f"sha256:{BLOB[:32]}\u0661{BLOB[33:]}", "/etc/passwd", "..",
)  # fmt: skip
NO_VALUES: tuple[Any, ...] = (7, 1.5, True, "text", [], [7], [None], [[]], {}, {"a": 7}, {"a": None}, None)


def digest_of(data: bytes) -> str:
    """The digest of a blob."""
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


class Written:
    """An OCI image layout of one image whose documents a test changes before they are written."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "blobs" / "sha256").mkdir(parents=True)
        (directory / "oci-layout").write_text('{"imageLayoutVersion": "1.0.0"}')
        archive = layer({"file": b"data"})
        self.layer = self.descriptor(archive, "layer.v1.tar")
        diff = digest_of(archive)
        self.config: dict[str, Any] = {
            "architecture": "amd64", "os": "linux", "config": {"Cmd": ["true"]},
            "rootfs": {"type": "layers", "diff_ids": [diff]}, "history": [{"created_by": "test"}],
        }  # fmt: skip
        self.manifest: dict[str, Any] = {
            "schemaVersion": 2, "mediaType": MANIFEST, "config": self.write_config(), "layers": [self.layer],
        }  # fmt: skip

    def descriptor(self, data: bytes, kind: str) -> dict[str, Any]:
        """Write a blob; what names it."""
        digest = digest_of(data)
        (self.directory / "blobs" / "sha256" / digest[7:]).write_bytes(data)
        return {"mediaType": f"application/vnd.oci.image.{kind}", "digest": digest, "size": len(data)}

    def write_config(self) -> dict[str, Any]:
        """Write the configuration as it is now; its descriptor."""
        return self.descriptor(json.dumps(self.config).encode(), "config.v1+json")

    def name(self, changed: dict[str, Any] | None = None) -> str:
        """Write manifest and index, with ``changed`` in the index's descriptor; the image's name for ``pull``."""
        told = {**self.descriptor(json.dumps(self.manifest).encode(), "manifest.v1+json"), **(changed or {})}
        index = {"schemaVersion": 2, "manifests": [told]}
        (self.directory / "index.json").write_text(json.dumps(index))
        return f"oci:{self.directory}"


@pytest.fixture
def written(tmp_path: Path) -> Written:
    return Written(tmp_path / "layout")


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    with FakeRegistry() as running:
        running.add_image("app", [layer({"file": b"data"})])
        yield running


def test_a_document_is_one_thing_row_32(shared_cli: Cli, fake: FakeRegistry, written: Written) -> None:
    """CVE-2021-41190: manifest and index in one, another type in the header than inside, a configuration as a layer."""
    body, _ = fake.manifests[("app", "latest")]
    manifest = json.loads(body)
    entry = {"mediaType": MANIFEST, "digest": digest_of(body), "size": len(body)}
    both = {**manifest, "manifests": [entry]}
    cases: list[tuple[dict[str, Any], str]] = [
        (both, MANIFEST), (both, INDEX), ({**both, "mediaType": MANIFEST}, MANIFEST),
        ({**both, "mediaType": INDEX}, INDEX),
        ({**both, "layers": [], "config": None}, INDEX), ({**both, "manifests": []}, MANIFEST),
        ({**manifest, "mediaType": INDEX}, MANIFEST), ({**manifest, "mediaType": MANIFEST}, INDEX),
        ({"schemaVersion": 2, "mediaType": MANIFEST, "manifests": [entry]}, INDEX),
        ({"schemaVersion": 2, "mediaType": INDEX, "manifests": [entry]}, MANIFEST),
        ({**manifest, "layers": [manifest["config"]]}, MANIFEST),
        ({**manifest, "config": manifest["layers"][0]}, MANIFEST),
        ({**manifest, "fsLayers": [], "schemaVersion": 1}, MANIFEST),
    ]  # fmt: skip
    for number, (document, content_type) in enumerate(cases):
        fake.put_manifest(f"odd-{number}", document, media_type=content_type)
        # One that lies about its size or its kind is found out at the latest when its layer is read.
        refused(shared_cli, 125, "pull", "-q", PLAIN, f"{fake.host}/odd-{number}")
    for changes in ({"manifests": [entry]}, {"mediaType": INDEX}, {"layers": [written.manifest["config"]]}):
        written.manifest.update(changes)
        refused(shared_cli, 125, "pull", "-q", written.name())
    assert shared_cli.ok("images", "-q", "--filter", f"reference={fake.host}/*") == ""


@pytest.mark.parametrize("digest", NO_DIGESTS, ids=range(len(NO_DIGESTS)))
def test_what_is_no_digest_is_no_path_row_33(
    shared_cli: Cli, fake: FakeRegistry, tmp_path: Path, digest: str
) -> None:
    """CVE-2024-3727, CVE-2014-9358: in an index, in a manifest, in a configuration, as an image's name; unread."""
    places: dict[str, Callable[[Written], str]] = {
        "index": lambda one: one.name({"digest": digest}),
        "config": lambda one: (one.manifest["config"].update(digest=digest), one.name())[1],
        "layer": lambda one: (one.manifest["layers"][0].update(digest=digest), one.name())[1],
    }
    for place, change in places.items():
        error = refused(shared_cli, 125, "pull", "-q", change(Written(tmp_path / place)))
        assert "No such file" not in error and "no such file" not in error, error
    one = Written(tmp_path / "diff")
    one.config["rootfs"]["diff_ids"] = [digest]
    one.manifest["config"] = one.write_config()
    refused(shared_cli, 125, "pull", "-q", one.name())
    body, _ = fake.manifests[("app", "latest")]
    for key in ("config", "layers") if amount(0, 1) or digest in NO_DIGESTS[:3] else ():
        document = json.loads(body)
        (document[key] if key == "config" else document[key][0])["digest"] = digest
        fake.put_manifest("app-odd", document)
        seen = len(fake.seen)
        refused(shared_cli, 125, "pull", "-q", PLAIN, f"{fake.host}/app-odd")
        assert not [one for one in fake.seen[seen:] if "/blobs/" in one.path and digest and digest in one.path]
    if "\0" not in digest:
        for command in (("pull",), ("run", "--rm", "--network=none", "--pull=never"), ("rmi",)):
            done = shared_cli.run(*command, f"localhost/x@{digest}", timeout=30)
            assert done.returncode in (1, 125) and "Traceback" not in done.stderr


@pytest.mark.parametrize("text", ["../../x", f"{BLOB[:-1]}", "/etc/passwd", BLOB + "/../../x", "x\0y", ""])
def test_archives_of_docker_save_row_33(shared_cli: Cli, tmp_path: Path, text: str) -> None:
    """CVE-2014-9358: paths and ids in manifest.json and in `repositories`, by which docker named directories."""
    config = json.dumps({"rootfs": {"type": "layers", "diff_ids": [f"sha256:{BLOB}"]}, "config": {}}).encode()
    for key in ("Config", "Layers", "repositories", "parent"):
        entry: dict[str, Any] = {"Config": "config.json", "RepoTags": ["localhost/evil:1"], "Layers": ["layer.tar"]}
        files: dict[str, bytes] = {"config.json": config, "layer.tar": bytes(10240)}
        if key in entry:
            entry[key] = text if key == "Config" else [text]
        elif key == "repositories":
            files["repositories"] = json.dumps({"localhost/evil": {"1": text}, "../../evil": {"..": text}}).encode()
        else:
            entry["Parent"] = text
        if key != "repositories":
            files["manifest.json"] = json.dumps([entry]).encode()
        path = tmp_path / f"{key}.tar"
        with tarfile.open(path, "w") as archive:
            for name, data in files.items():
                info = tarfile.TarInfo(name)
                info.size = len(data)
                archive.addfile(info, io.BytesIO(data))
        refused(shared_cli, 125, "load", "-i", str(path))
    assert "evil" not in shared_cli.ok("images", "--format", "{{.Repository}}")


FIELDS = (
    "User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "StopSignal", "Healthcheck",
    "ArgsEscaped", "OnBuild", "Shell",
)  # fmt: skip
WHOLE = ("architecture", "os", "variant", "os.version", "os.features", "created", "author", "config", "rootfs",
         "history")  # fmt: skip


@pytest.mark.parametrize("field", [*FIELDS, *WHOLE, "rootfs.diff_ids", "history.0", "Healthcheck.Test"])
def test_every_field_has_its_kind_row_34(shared_cli: Cli, tmp_path: Path, field: str) -> None:
    """CVE-2024-36620: a null, a number, a list in any field of a configuration: an image that works, or one line."""
    turn = [*FIELDS, *WHOLE].index(field) if field in (*FIELDS, *WHOLE) else 0
    for number, value in enumerate(NO_VALUES if amount(0, 1) else NO_VALUES[turn % 4 :: 4]):
        one = Written(tmp_path / str(number))
        if field in WHOLE:
            one.config[field] = value
        elif field == "rootfs.diff_ids":
            one.config["rootfs"]["diff_ids"] = value
        elif field == "history.0":
            one.config["history"] = [value]
        elif field == "Healthcheck.Test":
            one.config["config"]["Healthcheck"] = {"Test": value, "Interval": value}
        else:
            one.config["config"][field] = value
        one.manifest["config"] = one.write_config()
        done = shared_cli.run("pull", "-q", one.name())
        assert done.returncode in (0, 125), (value, done)
        assert "Traceback" not in done.stderr and "internal error" not in done.stderr, (value, done)
        if done.returncode:
            assert done.stderr.startswith("Error: cannot ") and len(done.stderr.splitlines()) <= 2, (value, done)
            continue
        image = done.stdout.strip()
        for words in (("inspect", image), ("history", image), ("create", "--network=none", image)):
            done = shared_cli.run(*words)
            assert done.returncode in (0, 125), (value, words, done)
            assert "Traceback" not in done.stderr and "internal error" not in done.stderr, (value, words, done)
        shared_cli.ok("rmi", "-f", image)


def no_names() -> dict[str, str]:
    """Texts that are no reference, and how one might choke on each."""
    return {
        "1 MiB": "x" * (1 << 20), "1 MiB of components": "a/" * (1 << 19), "10,000 components": "a/" * 10_000 + "a",
        "at signs": "@" * (1 << 20), "colons": ":" * (1 << 20), "digests": f"a@sha256:{BLOB}" * 10_000,
        "underscores": "a" + "_" * (1 << 20) + "a", "dashes": "a" + "-" * (1 << 20) + "a", "dots": "a." * (1 << 19),
        "Cyrillic": "\u0430pp", "mixed": "ap\u0440/\u0391lpine", "full width": "\uff41pp", "digits": "app:\u0661",
        "right to left": "app\u202egpj", "no letters": "\u200b", "tag of 1 MiB": "app:" + "t" * (1 << 20),
        "ports": "h:" + "9" * (1 << 20) + "/x", "dots of a path": "../" * 10_000, "spaces": " " * (1 << 20),
    }  # fmt: skip


def test_names_that_are_none_row_100(shared_cli: Cli, figure: Tell) -> None:
    """Long ones, floods and other scripts are refused, in one line, at once."""
    longest = 0.0
    for text in no_names().values():
        for _ in range(3):
            begun = time.process_time()
            with pytest.raises(reference.InvalidReferenceError) as caught:
                reference.parse(text)
            longest = max(longest, (time.process_time() - begun) * 1000)
        assert len(str(caught.value)) < 400
        short = text[:100_000]  # an argument may have 128 KiB
        for words in (("pull",), ("tag", IMAGE)):
            error = refused(shared_cli, 125, *words, short)
            assert len(error) < 1000 and "reference" in error, error
    figure("refusing a text that is no reference", "≤ 50 ms", longest)
