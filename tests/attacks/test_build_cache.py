"""The cache of builds: what was made for another parent, configuration or option is never used (CVE-2024-24557)."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rootless.build.bases import state_of
from rootless.build.cache import key_of
from rootless.build.output import configuration
from rootless.build.state import BuiltLayer, State
from rootless.containerfile.configure import configure
from rootless.containerfile.parse import parse
from rootless.errors import RootlessError
from storage import jsonfast, oci
from storage.build_cache import BuildCache
from storage.errors import StorageError
from storage.layout import Layout as StoreLayout
from tests.support.cli import Cli, new_cli
from tests.support.images import Layout, busybox_tar

FILE = """\
FROM localhost/parent
ENV A=1
WORKDIR /made
COPY file /
CMD ["x"]
"""
SETTINGS: dict[str, Any] = {
    "Healthcheck": {"Test": ["CMD", "evil"]},
    "OnBuild": ["LABEL trigger=1"],
    "User": "1000",
    "Env": ["PATH=/evil", "LD_PRELOAD=/evil.so"],
    "Entrypoint": ["/evil"],
    "Volumes": {"/evil": {}},
    "WorkingDir": "/evil",
    "Labels": {"evil": "1"},
    "StopSignal": "SIGKILL",
    "Shell": ["/evil", "-c"],
    "ExposedPorts": {"666/tcp": {}},
    "ArgsEscaped": True,
    "Unknown": {"of": ["another", "program"]},
}
LAYER = "sha256:" + "1" * 64
BLOB = "sha256:" + "2" * 64


@pytest.fixture(scope="module")
def cli() -> Iterator[Cli]:
    """A store of its own."""
    with new_cli() as made:
        yield made


@pytest.fixture(scope="module")
def parents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Images of the same layer, each with one setting of its own; `plain` has none."""
    layout = Layout(tmp_path_factory.mktemp("parents") / "layout")
    layer = layout.add_layer(busybox_tar())
    layout.add_image("plain", [layer], {})
    for name, value in SETTINGS.items():
        layout.add_image(name.lower(), [layer], {name: value})
    return layout.directory


def build(cli: Cli, directory: Path, *options: str) -> list[str]:
    (directory / "Containerfile").write_text(FILE)
    (directory / "file").write_text("x")
    os.utime(directory / "file", (1, 1))
    return cli.ok("build", "--network=none", *options, str(directory)).splitlines()


def hits(lines: list[str]) -> int:
    return sum("Using cache" in line for line in lines)


def become(cli: Cli, parents: Path, tag: str) -> None:
    """Make the image ``tag`` the parent of the next build."""
    cli.ok("tag", cli.ok("pull", "-q", f"oci:{parents}:{tag}").strip(), "localhost/parent")


@pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")
def test_another_parent_is_another_key_row_34(cli: Cli, parents: Path, tmp_path: Path) -> None:
    """The same text on a parent with the same layers and another health check, trigger, …: nothing is taken over."""
    become(cli, parents, "plain")
    plain = build(cli, tmp_path)
    assert (hits(plain), hits(build(cli, tmp_path))) == (0, 4)
    for name, value in SETTINGS.items():
        become(cli, parents, name.lower())
        lines = build(cli, tmp_path)
        # A parent that differs in its working directory alone is no other one any more after WORKDIR.
        assert hits(lines) == (3 if name == "WorkingDir" else 0), name
        document = json.loads((cli.data / "images/blobs/sha256" / lines[-1]).read_text())["config"]
        if name not in ("OnBuild", "WorkingDir", "Env", "Entrypoint"):
            assert document.get(name) == value, "what the parent has is not lost"
        if name == "OnBuild":
            assert document["Labels"] == {"trigger": "1"}
    become(cli, parents, "plain")
    again = build(cli, tmp_path)
    assert (hits(again), again[-1]) == (4, plain[-1]), "and nothing of theirs has come here"


def test_everything_is_in_the_key_row_34() -> None:
    """A difference in any field of the state, in the instruction or in what it reads makes another key."""
    layers = (BuiltLayer({"mediaType": oci.LAYER_GZIP, "digest": BLOB, "size": 1}, LAYER),)
    state = State({"os": "linux", "architecture": "amd64", "config": {"Env": ["A=1"]}}, layers)
    others = [
        state._replace(config={**state.config, "config": {**state.settings, name: value}})
        for name, value in SETTINGS.items()
    ]
    others += [state._replace(config={**state.config, name: "x"}) for name in ("os", "architecture", "variant")]
    others += [state._replace(layers=()), state._replace(layers=layers * 2)]
    keys = [key_of(each, ["RUN", "x"], {}) for each in (state, *others)]
    keys += [key_of(state, ["RUN", "y"], {}), key_of(state, ["RUN", "x"], {"epoch": 1})]
    assert len(set(keys)) == len(keys)


NO_VALUES: tuple[Any, ...] = (7, 1.5, True, "text", [], [7], [None], [[]], {}, {"a": 7}, {"a": None}, None)
FIELDS = ("User", "ExposedPorts", "Env", "Entrypoint", "Cmd", "Volumes", "WorkingDir", "Labels", "StopSignal",
          "Healthcheck", "ArgsEscaped", "OnBuild", "Shell")  # fmt: skip
WHOLE = ("architecture", "os", "variant", "os.version", "os.features", "created", "author", "config", "history")
EVERY_INSTRUCTION = b"""\
FROM x
ENV A=1
LABEL b=c
EXPOSE 80
VOLUME /v
USER u
WORKDIR w
CMD c
ENTRYPOINT e
SHELL ["s"]
STOPSIGNAL 9
HEALTHCHECK CMD true
ONBUILD RUN x
MAINTAINER m
"""


@pytest.mark.parametrize("field", [*FIELDS, *WHOLE, "history.0"])
def test_a_parent_whose_fields_are_of_another_kind_row_34(field: str) -> None:
    """CVE-2024-36620: null, a list or a number in each field is refused in words, or every instruction works on it."""
    instructions = parse(EVERY_INSTRUCTION, "Containerfile").stages[0].instructions
    refused = 0
    for value in NO_VALUES:
        document: dict[str, Any] = {
            "architecture": "amd64", "os": "linux", "config": {}, "rootfs": {"type": "layers", "diff_ids": []},
            "history": [],
        }  # fmt: skip
        if field == "history.0":
            document["history"] = [value]
        elif field in WHOLE:
            document[field] = value
        else:
            document["config"][field] = value
        try:
            config = oci.check_config(jsonfast.loads_strict(json.dumps(document)))
        except StorageError:
            refused += 1
            continue
        state = state_of_config(config)
        for step in instructions:
            try:
                key_of(state, repr(step), {})
                state = state._replace(config=configure(state.config, step, cmd_is_own=False))
                oci.check_config(jsonfast.loads(configuration(state)))
            except (RootlessError, StorageError) as error:
                assert field == "os.features", (value, step, error)
    assert refused >= 5 or field == "os.features"


def state_of_config(config: dict[str, Any]) -> State:
    class Stored:
        layers: list[Any] = []
        diff_ids: list[str] = []
        names: list[str] = []
        manifest: dict[str, Any] = {}
        digest = BLOB

    stored = Stored()
    stored.config = config  # type: ignore[attr-defined]
    return state_of(stored, "localhost/x")  # type: ignore[arg-type]


@pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")
def test_a_record_that_is_none_is_not_believed_row_34(cli: Cli, parents: Path, tmp_path: Path) -> None:
    """Every kind of damage to a record, with and without a right checksum: the step is done again."""
    become(cli, parents, "plain")
    build(cli, tmp_path)
    steps = cli.data / "steps"
    good = {path.name: path.read_bytes() for path in steps.iterdir()}
    one = json.loads(next(data for data in good.values() if b'"layer"' in data))
    one.pop("crc32")
    name = next(iter(good))
    cache = BuildCache(StoreLayout(str(cli.data), str(cli.home / "run" / "x")))

    def believed(data: bytes) -> bool:
        (steps / name).write_bytes(data)
        return cache.get(name) is not None

    sealed = jsonfast.seal(jsonfast.dump_bytes(one))
    assert believed(sealed)
    assert not believed(jsonfast.dump_bytes(one)), "without a checksum"
    place = sealed.index(b"sha256:") + 10
    assert not believed(sealed[:place] + bytes([sealed[place] ^ 1]) + sealed[place + 1 :]), "a turned bit"
    right = {("below", "[]"), ("made", "7"), ("history", "{}"), ("history", "{'a': [None]}")}
    for key in one:
        for value in (None, 7, "x", [], [None], [7], {}, {"a": [None]}, 1.5, True):
            document = jsonfast.seal(jsonfast.dump_bytes({**one, key: value}))
            assert believed(document) == ((key, str(value)) in right), (key, value)
    odd = {**one, "layer": {**one["layer"], "digest": "sha256:../../x"}}
    assert not believed(jsonfast.seal(jsonfast.dump_bytes(odd)))
    for text in (b"", b"[]", b"null", b"{}", b"\0" * 100, sealed[:-20]):
        assert not believed(text)
    for name, data in good.items():
        (steps / name).write_bytes(data[: len(data) // 2] if len(name) % 2 else data.replace(b"a", b"b", 1))
    assert hits(build(cli, tmp_path)) == 0


@pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")
def test_a_layer_that_is_gone_is_made_again_row_34(cli: Cli, parents: Path, tmp_path: Path) -> None:
    become(cli, parents, "plain")
    first = build(cli, tmp_path)
    assert hits(build(cli, tmp_path)) == 4
    manifest = json.loads(cli.ok("image", "inspect", first[-1]))[0]
    layer = cli.data / "layers" / manifest["RootFS"]["Layers"][-1].partition(":")[2]
    shutil.rmtree(layer, ignore_errors=True)
    if not layer.exists():
        assert hits(build(cli, tmp_path)) < 4
    assert layer.exists()
    assert cli.ok("system", "check") == ""
    assert os.listdir(cli.data / "tmp") == []
