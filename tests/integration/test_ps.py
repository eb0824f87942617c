"""``ps``, ``port`` and ``rename``: every state, filter, order and shape, as podman has them."""

from __future__ import annotations

import json
import os
import re
from collections.abc import Iterator

import pytest

from tests.integration.test_run_flags import IMAGE
from tests.support.cli import Cli

pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")
NONE = "--network=none"

# Of `podman ps --format json`, 5.8.
KEYS = set(
    "AutoRemove CIDFile Command Created CreatedAt ExitCode Exited ExitedAt ExposedPorts Id Image ImageID IsInfra Labels"
    " Mounts Names Namespaces Networks Pid Pod PodName Ports Restarts Size StartedAt State Status".split()
)


@pytest.fixture(scope="module")
def listed(shared_cli: Cli) -> Iterator[Cli]:
    """Three containers: ``made`` is created, ``up`` runs, ``ended`` has exited with 3."""
    shared_cli.ok("rm", "-af", "-t0")
    flags = ["--label=tier=front", "--label=x=", "--annotation=note=1", "-vvol:/data"]
    flags += ["--expose=5000-5002", "--expose=53/udp"]
    shared_cli.ok("create", NONE, "--name=made", *flags, IMAGE, "sh", "-c", "true # and more words")
    shared_cli.ok("run", "-d", NONE, "--name=up", "--restart=always", "--label=tier=back", IMAGE, "sleep", "1000")
    shared_cli.run("run", NONE, "--name=ended", IMAGE, "sh", "-c", "exit 3")
    yield shared_cli
    shared_cli.ok("rm", "-af", "-t0")
    shared_cli.ok("volume", "rm", "-af")


def names(cli: Cli, *arguments: str) -> list[str]:
    return cli.ok("ps", *arguments, "--format", "{{.Names}}").split()


@pytest.mark.parametrize(
    ("word", "expected"),
    [
        ("status=created", "made"), ("status=running", "up"), ("status=exited", "ended"), ("status=stopped", "ended"),
        ("status=paused", ""), ("status=initialized", ""), ("status=restarting", ""), ("name=^u", "up"),
        ("name=/up", "up"), ("name=e", "made ended"), ("label=tier", "made up"), ("label=tier=front", "made"),
        ("label!=tier", "ended"), ("annotation=note=1", "made"), ("exited=3", "ended"), ("exited=0", ""),
        ("before=up", "made"), ("since=up", "ended"), ("until=0", ""), ("until=1h", ""), ("volume=vol", "made"),
        ("volume=/data", "made"), ("volume=vol:/data", "made"), ("volume=vol:/other", ""),
        ("network=none", "made up ended"), ("network=host", ""), ("restart-policy=always", "up"),
        ("restart-policy=no", "made ended"), ("restart-policy=none", "made ended"),
        ("should-start-on-boot=true", "up"), ("command=^sl", "up"),
        (f"ancestor={IMAGE}", "made up ended"), ("ancestor=busybox", "made up ended"),
        ("ancestor=box", ""),
        ("health=healthy", ""), ("pod=x", ""),
    ],
)  # fmt: skip
def test_filters(listed: Cli, word: str, expected: str) -> None:
    assert names(listed, "-a", "--filter", word) == expected.split()


def test_filters_together(listed: Cli) -> None:
    assert names(listed, "-a", "--filter", "name=made", "--filter", "name=up") == ["made", "up"]
    assert names(listed, "-a", "--filter", "label=tier", "--filter", "label=x") == ["made"]
    assert names(listed, "-a", "--filter", "label=tier", "--filter", "status=running") == ["up"]
    assert names(listed, "--filter", "label=tier") == ["up"]
    found = listed.ok("ps", "-aq", "--no-trunc", "--filter", "name=made").strip()
    assert names(listed, "-a", "--filter", f"id={found[:10]}") == ["made"]
    image = listed.ok("inspect", "--format", "{{.Image}}", "made").strip()
    assert len(names(listed, "-a", "--filter", f"ancestor={image[:12]}")) == 3
    assert names(listed, "-a", "--filter", "before=up", "--filter", "before=ended") == ["made"]


@pytest.mark.parametrize(
    "arguments",
    ["--filter=colour=red", "--filter=status=tired", "--filter=restart-policy=often", "--filter=name", "--sort=colour",
     "--filter=exited=x", "--filter=before=nobody", "--last=1 --latest", "--quiet --size", "--quiet --ns",
     "--size --ns", "--watch=1 --latest", "--watch=-1", "--last=x", "--format={{.Colour}}", "--filter=name=("],
)  # fmt: skip
def test_bad_questions(listed: Cli, arguments: str) -> None:
    listed.fails(125, "ps", "-a", *arguments.split())


def test_order(listed: Cli) -> None:
    assert names(listed, "-a") == ["made", "up", "ended"]
    assert names(listed, "-a", "--sort=names") == ["ended", "made", "up"]
    assert names(listed, "-a", "--sort=status")[0] == "made"
    assert names(listed, "-a", "--sort=command")[-1] == "up"
    assert names(listed, "--last=2") == ["up", "ended"] and names(listed, "--latest") == ["ended"]
    ids = listed.ok("ps", "-aq", "--sort=id").split()
    assert ids == sorted(ids) and all(len(each) == 12 for each in ids)


def test_shape(listed: Cli) -> None:
    rows = json.loads(listed.ok("ps", "-a", "--format=json"))
    assert [set(row) for row in rows] == [KEYS] * 3
    made, up, ended = rows
    assert (made["State"], made["Status"], made["StartedAt"]) == ("created", "Created", -62135596800)
    assert made["ExposedPorts"] == {"5000": ["tcp"], "5001": ["tcp"], "5002": ["tcp"], "53": ["udp"]}
    assert made["Mounts"] == ["/data"] and made["Command"] == ["sh", "-c", "true # and more words"]
    assert up["State"] == "running" and up["Status"].startswith("Up ") and os.path.exists(f"/proc/{up['Pid']}")
    assert (ended["Exited"], ended["ExitCode"], ended["Pid"]) == (True, 3, 0)
    assert ended["Status"].startswith("Exited (3)")
    assert json.loads(listed.ok("ps", "--filter", "name=nobody", "--format=json")) == []


def test_columns(listed: Cli) -> None:
    table = listed.ok("ps", "-a").splitlines()
    assert table[0].split("  ")[0] == "CONTAINER ID" and table[0].endswith("NAMES")
    assert "sh -c true # and ..." in table[1] and "5000-5002/tcp, 53/udp" in table[1]
    assert listed.ok("ps", "--noheading").splitlines()[0].endswith("up")
    header, row = listed.ok("ps", "--ns").splitlines()
    expected = "CONTAINER ID NAMES PID CGROUPNS IPC MNT NET PIDNS USERNS UTS"
    assert header.replace("CONTAINER ID", "CONTAINER_ID").split() == expected.replace("R ID", "R_ID").split()
    pid = row.split()[2]
    assert row.split()[5] == os.readlink(f"/proc/{pid}/ns/mnt").removeprefix("mnt:[").rstrip("]")
    assert listed.ok("ps", "--ns", "--format", "{{.Namespaces.MNT}}").strip() == row.split()[5]
    header, row = listed.ok("ps", "--pod", "--size").splitlines()
    assert header.split("  ")[-1].strip() == "SIZE" and "POD ID" in header and "PODNAME" in header
    assert re.search(r" \d+(\.\d+)?k?B \(virtual \d+(\.\d+)?MB\)", row)
    template = "table {{.ID}} {{.Restarts}} {{.Pod}} {{.ImageID}} {{.Created}}"
    assert "{{" not in listed.ok("ps", "-a", "--format", template)
    assert listed.ok("ps", "--sync", "-q") == listed.ok("ps", "-q")


def test_watching(listed: Cli) -> None:
    child = listed.popen("ps", "--watch=1", "--noheading", "--format", "{{.Names}}")
    assert child.stdout is not None
    assert [child.stdout.readline() for _ in range(2)] == [b"up\n", b"up\n"]
    child.kill()
    child.communicate()


def test_rename(listed: Cli) -> None:
    identity = listed.ok("inspect", "--format", "{{.Id}}", "up")
    assert listed.ok("rename", "up", "higher") == ""
    try:
        assert names(listed) == ["higher"]
        assert listed.ok("inspect", "--format", "{{.Name}} {{.Id}}", "higher") == f"higher {identity}"
        listed.fails(125, "inspect", "up")
        assert "in use" in listed.fails(125, "rename", "made", "higher")
        assert "name" in listed.fails(125, "rename", "made", "../x")
        listed.fails(125, "rename", "nobody", "x")
        assert set(os.listdir(listed.data / "names")) >= {"made", "higher", "ended"}
        assert "up" not in os.listdir(listed.data / "names")
    finally:
        listed.ok("rename", identity.strip(), "up")


def test_ports_of_containers_that_do_not_run(listed: Cli) -> None:
    assert listed.ok("port", "made") == "" == listed.ok("port", "made", "80")
    assert listed.ok("port", "--all") == ""
    for arguments in ("", "--all made", "--all --latest", "up 80/tcp/x", "up x", "nobody"):
        listed.fails(125, "port", *arguments.split())


@pytest.mark.needs("pasta", "tun")
def test_ports(shared_cli: Cli) -> None:
    flags = ("-p", "18000-18001:80-81", "-p", "127.0.0.1:18002:53/udp")
    shared_cli.ok("run", "-d", "--name=published", *flags, IMAGE, "sleep", "1000")
    try:
        lines = shared_cli.ok("port", "published").splitlines()
        assert lines == ["80/tcp -> 0.0.0.0:18000", "81/tcp -> 0.0.0.0:18001", "53/udp -> 127.0.0.1:18002"]
        assert shared_cli.ok("port", "published", "81") == "0.0.0.0:18001\n"
        assert shared_cli.ok("port", "published", "53/udp") == "127.0.0.1:18002\n"
        assert 'failed to find published port "53"' in shared_cli.fails(125, "port", "published", "53")
        short = shared_cli.ok("ps", "-q", "--filter", "name=published").strip()
        assert f"{short}\t80/tcp -> 0.0.0.0:18000" in shared_cli.ok("port", "-a").splitlines()
        row = json.loads(shared_cli.ok("ps", "--filter", "name=published", "--format=json"))[0]
        assert [port["range"] for port in row["Ports"]] == [2, 1]
        text = shared_cli.ok("ps", "--filter", "name=published", "--format", "{{.Ports}}")
        assert text == "0.0.0.0:18000-18001->80-81/tcp, 127.0.0.1:18002->53/udp\n"
    finally:
        shared_cli.ok("rm", "-f", "-t0", "published")
