"""What the listing commands show of the engine's values: the columns and template fields that scripts rely on."""

from __future__ import annotations

from typing import Any

import pytest

from rootless.cli import containers, df, history, images, many, system
from rootless.cli.gotemplate import Template
from rootless.errors import InUseError, NotFoundError, RootlessError

NOW = 1_800_000_000

CONTAINER: dict[str, Any] = {
    "Id": "e" * 64, "Image": "localhost/foo:1", "ImageID": "c" * 64, "Command": ["/bin/sh", "-c", "echo hello world"],
    "Created": NOW - 5, "Names": ["c1"], "Labels": {"a": "b", "c": "d"}, "Mounts": ["/xx"], "Networks": [],
    "Ports": [{"host_ip": "", "host_port": 8080, "container_port": 80, "range": 1, "protocol": "tcp"}],
    "Status": "Up 5 seconds", "State": "running", "Pid": 7, "ExitCode": 0, "Size": None, "Namespaces": {},
}  # fmt: skip

IMAGE: dict[str, Any] = {
    "Id": "c" * 64, "Names": ["docker.io/library/a:1", "localhost:5000/b@sha256:" + "d" * 64], "Size": 1_987_655,
    "Created": NOW - 60, "Digest": "sha256:" + "d" * 64, "Labels": None, "History": None,
}  # fmt: skip


@pytest.mark.parametrize(
    ("template", "text"),
    [
        ("{{.ID}}", "e" * 12),
        ("{{.Command}}", "/bin/sh -c echo h..."),
        ("{{.RunningFor}}", "5 seconds ago"),
        ("{{.Names}}|{{.Status}}|{{.State}}|{{.Image}}", "c1|Up 5 seconds|running|localhost/foo:1"),
        ("{{.Ports}}", "0.0.0.0:8080->80/tcp"),
        ("{{.Labels}}", "map[a:b c:d]"),
        ('{{.Label "a"}}', "b"),
        ("{{.Mounts}}", "[/xx]"),
    ],
)
def test_fields_of_a_container(template: str, text: str) -> None:
    assert Template(template).render(containers.fields(CONTAINER, False, NOW)) == text


def test_nothing_is_truncated_on_demand() -> None:
    row = containers.fields(CONTAINER, True, NOW)
    assert (row["ID"], row["Command"]) == ("e" * 64, "/bin/sh -c echo hello world")


@pytest.mark.parametrize(
    ("mapping", "text"),
    [
        ({"container_port": 80}, "80/tcp"),
        ({"container_port": 80, "protocol": "udp"}, "80/udp"),
        ({"host_port": 9000, "container_port": 9000, "range": 3}, "0.0.0.0:9000-9002->9000-9002/tcp"),
        ({"host_ip": "127.0.0.1", "host_port": 1, "container_port": 2}, "127.0.0.1:1->2/tcp"),
        ({"host_ip": "::1", "host_port": 1, "container_port": 2}, "[::1]:1->2/tcp"),
    ],
)
def test_ports(mapping: dict[str, Any], text: str) -> None:
    assert containers.ports_text([mapping]) == text


def test_an_image_has_a_row_for_each_name() -> None:
    first, second = images.fields(IMAGE, False, NOW)
    assert (first["Repository"], first["Tag"], first["ID"]) == ("docker.io/library/a", "1", "c" * 12)
    assert (second["Repository"], second["Tag"]) == ("localhost:5000/b", "<none>")
    assert (first["Size"], first["CreatedSince"]) == ("1.99 MB", "About a minute ago")


def test_an_image_without_a_name_has_one_row() -> None:
    (row,) = images.fields({**IMAGE, "Names": None}, True, NOW)
    assert (row["Repository"], row["Tag"], row["ID"]) == ("<none>", "<none>", "sha256:" + "c" * 64)


def test_history(capfd: pytest.CaptureFixture[str]) -> None:
    step = {"id": "f" * 64, "created": NOW, "createdBy": "x" * 60, "size": 1000, "comment": "c", "tags": []}
    history.show([step, {**step, "id": "<missing>"}], {"format": "{{.ID}} {{.CreatedBy}} {{.Size}}", "human": False})
    assert capfd.readouterr().out.splitlines() == [f"{'f' * 12} {'x' * 42}... 1000", f"<missing> {'x' * 42}... 1000"]


def test_disk_usage(capfd: pytest.CaptureFixture[str]) -> None:
    summary = [{"Type": "Images", "Total": 2, "Active": 1, "RawSize": 2_000_000, "RawReclaimable": 500_000}]
    df.show({"summary": summary}, {})
    heading, row = capfd.readouterr().out.splitlines()
    assert heading.split() == ["TYPE", "TOTAL", "ACTIVE", "SIZE", "RECLAIMABLE"]
    assert row.split(maxsplit=4) == ["Images", "2", "1", "2MB", "500kB (25%)"]


def test_yaml() -> None:
    report = {"host": {"arch": "amd64", "cpus": 2, "empty": {}, "maps": [{"id": 0, "size": 1}], "names": ["a", "yes"]}}
    assert system._yaml(report) == (
        "host:\n  arch: amd64\n  cpus: 2\n  empty: {}\n  maps:\n    - id: 0\n      size: 1\n  names:\n"
        '    - a\n    - "yes"\n'
    )


@pytest.mark.parametrize(
    ("error", "code"),
    [(NotFoundError("no such"), 1), (InUseError("in use"), 2), (RootlessError("else"), 125), (OSError(5, "io"), 125)],
)
def test_exit_codes_of_removals(error: Exception, code: int, capfd: pytest.CaptureFixture[str]) -> None:
    def remove(name: str) -> list[str]:
        if name == "bad":
            raise error
        return [name]

    assert many.remove_each(["a", "bad", "b"], remove) == code
    out, err = capfd.readouterr()
    assert out == "a\nb\n"
    assert err.startswith("Error: ")


def test_inspect_of_a_missing_object_prints_an_empty_list(capfd: pytest.CaptureFixture[str]) -> None:
    def look(name: str) -> object:
        raise NotFoundError(f"no such object: {name}")

    assert many.inspect_each(["x"], look, None) == 125
    assert capfd.readouterr() == ("[]\n", "Error: no such object: x\n")


def test_exists() -> None:
    def missing(name: str) -> object:
        raise NotFoundError("no such")

    assert many.exists("x", lambda name: True) == 0
    assert many.exists("x", lambda name: None) == many.exists("x", missing) == 1
