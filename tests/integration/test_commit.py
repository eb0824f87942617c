"""`commit`: the image of a container has what the container had, whatever the storage driver and the id map."""

from __future__ import annotations

import io
import json
import struct
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import Cli
from tests.support.copying import IMAGE, NONE, bytes_of, members
from tests.support.drivers import DRIVERS

pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")

SCRIPT = """
echo x > /new; ln /new /linked; chown 33:34 /new; ln -s /etc /link; mkfifo /pipe; mkdir -p /opt/a/b; echo y > /opt/a/b/c
rm /srv/second-layer; chmod 1711 /usr
rm -r /home; mkdir /home; mkdir /home/other; rm -r /var; echo file > /var
dd if=/dev/zero of=/hole bs=1 seek=2M count=1 2>/dev/null
"""
LOOK = """
cat /new /opt/a/b/c /var; stat -c '%n %u:%g %a %h %F %s' /new /linked /link /pipe /usr /home /home/other /hole
ls /home /srv; ls -a /etc
"""
SEEN = """x
y
file
/new 33:34 644 2 regular file 2
/linked 33:34 644 2 regular file 2
/link 0:0 777 1 symbolic link 4
/pipe 0:0 644 1 fifo 0
"""


@pytest.fixture(autouse=True)
def _clean(shared_cli: Cli) -> Iterator[None]:
    yield
    shared_cli.ok("rm", "-af", "-t0")
    shared_cli.ok("volume", "rm", "-af")
    for image in json.loads(shared_cli.ok("images", "--format", "json")):
        if IMAGE + ":latest" not in image["Names"]:
            shared_cli.ok("rmi", "-f", image["Id"])
    assert shared_cli.ok("system", "check") == ""


def inspect(cli: Cli, image: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(cli.ok("image", "inspect", image))
    return found[0]


@pytest.mark.parametrize("driver", DRIVERS)
@pytest.mark.parametrize("options", [[], ["--squash"], ["--format", "docker"]], ids=["oci", "squash", "docker"])
def test_the_image_has_what_the_container_had(shared_cli: Cli, driver: str, options: list[str]) -> None:
    shared_cli.ok("--storage-driver", driver, "run", NONE, "--name", "c", IMAGE, "sh", "-ec", SCRIPT)
    image = shared_cli.ok("commit", *options, "c", "made:one").strip()
    assert len(image) == 64
    assert shared_cli.ok("images", "-q", "--no-trunc", "made:one") == f"sha256:{image}\n"
    for reader in ("copy", driver):
        seen = shared_cli.ok("--storage-driver", reader, "run", "--rm", NONE, "made:one", "sh", "-c", LOOK)
        assert seen.startswith(SEEN)
        assert "/usr 0:0 1711" in seen
        assert "/hole 0:0 644 1 regular file 2097153\n/home:\nother\n\n/srv:\n" in seen
        assert "second-layer" not in seen
    found = inspect(shared_cli, image)
    assert len(found["RootFS"]["Layers"]) == (1 if "--squash" in options else 3)
    assert found["ManifestType"].startswith("application/vnd.docker" if "docker" in options else "application/vnd.oci")
    if "--squash" not in options:
        listed = shared_cli.ok("diff", "made:one").splitlines()
        assert {"C /usr", "D /srv/second-layer", "D /home/user", "A /home/other"} <= set(listed)
        assert not [line for line in listed if line.startswith(("A /etc", "C /run", "A /run", "A /dev", "A /proc"))]


def test_settings(shared_cli: Cli, tmp_path: Path) -> None:
    changes = [
        "CMD echo hi", 'ENTRYPOINT ["/bin/sh", "-c"]', "ENV A=1 B=two", "EXPOSE 8080/udp", "LABEL x=y",
        "ONBUILD RUN true", "STOPSIGNAL SIGINT", "USER 1000", "VOLUME /v", "WORKDIR=/srv",
    ]  # fmt: skip
    shared_cli.ok(
        "create", NONE, "--name", "c", "-e", "KEPT=yes", "-l", "own=label", "-v", "/anonymous", "-v", "named:/named",
        "-w", "/etc", IMAGE, "sleep", "5",
    )  # fmt: skip
    plain = inspect(shared_cli, shared_cli.ok("commit", "c").strip())
    assert plain["RepoTags"] == []
    assert plain["Config"]["Cmd"] == ["sleep", "5"]
    assert "KEPT=yes" in plain["Config"]["Env"]
    assert not [entry for entry in plain["Config"]["Env"] if entry.startswith(("HOSTNAME=", "container=", "HOME="))]
    assert plain["Config"]["Labels"] == {"maker": "tests", "own": "label"}
    assert plain["Config"]["Volumes"] == {"/anonymous": {}}
    assert plain["Config"]["WorkingDir"] == "/etc"
    arguments = [word for change in changes for word in ("-c", change)]
    arguments += ["--author", "me", "-m", "a message", "-f", "docker", "--include-volumes"]
    arguments += ["--iidfile", f"{tmp_path}/id"]
    image = shared_cli.ok("commit", *arguments, "c", "made").strip()
    assert (tmp_path / "id").read_text() == image
    found = inspect(shared_cli, "localhost/made:latest")
    config = found["Config"]
    assert config["Cmd"] == ["/bin/sh", "-c", "echo hi"]
    assert config["Entrypoint"] == ["/bin/sh", "-c"]
    assert {"A=1", "B=two", "KEPT=yes"} <= set(config["Env"])
    assert config["ExposedPorts"] == {"8080/udp": {}}
    assert config["Labels"]["x"] == "y"
    assert config["OnBuild"] == ["RUN true"]
    assert (config["StopSignal"], config["User"], config["WorkingDir"]) == ("SIGINT", "1000", "/srv")
    assert set(config["Volumes"]) == {"/anonymous", "/named", "/v"}
    assert (found["Author"], found["Comment"]) == ("me", "a message")


def test_a_file_with_settings(shared_cli: Cli, tmp_path: Path) -> None:
    words = ("-e", "KEPT=yes", "-e", "OLD=1", "-l", "own=label", IMAGE, "sleep", "5")
    shared_cli.ok("create", NONE, "--name", "c", *words)
    path = tmp_path / "config.json"
    path.write_text(json.dumps({
        "Cmd": ["from", "file"], "Env": ["OLD=2"], "Labels": {"new": "label"}, "ExposedPorts": {"80/tcp": {}},
        "Healthcheck": {"Test": ["CMD", "true"]}, "User": "",
    }))  # fmt: skip
    shared_cli.ok("commit", "-q", "--config", str(path), "-c", "LABEL later=yes", "c", "made")
    config = inspect(shared_cli, "localhost/made:latest")["Config"]
    assert config["Cmd"] == ["from", "file"] and config["ExposedPorts"] == {"80/tcp": {}}
    assert {"KEPT=yes", "OLD=2"} <= set(config["Env"]) and "OLD=1" not in config["Env"]
    assert config["Labels"] == {"maker": "tests", "own": "label", "new": "label", "later": "yes"}
    for text in ('{"Cmd": "a string"}', '{"Colour": "red"}', "[]", "{", ""):
        path.write_text(text)
        assert str(path) in shared_cli.fails(125, "commit", "-q", "--config", str(path), "c")
    assert "No such file" in shared_cli.fails(125, "commit", "-q", "--config", f"{path}.missing", "c")


def test_changes_too_large_for_memory(shared_cli: Cli) -> None:
    script = "head -c 20000000 /dev/urandom > /large"
    shared_cli.ok("run", NONE, "--name", "c", IMAGE, "sh", "-c", script)
    shared_cli.ok("commit", "-q", "c", "made")
    shared_cli.ok("create", NONE, "--name", "d", "made")
    found = []
    for container in ("c", "d"):
        with tarfile.open(fileobj=io.BytesIO(bytes_of(shared_cli, "export", container))) as archive:
            file = archive.extractfile("large")
            assert file is not None
            found.append(file.read())
    assert found[0] == found[1] and len(found[0]) == 20_000_000
    assert "A /large\n" in shared_cli.ok("image", "diff", "made")


def test_what_is_refused(shared_cli: Cli) -> None:
    shared_cli.ok("create", NONE, "--name", "c", IMAGE)
    assert "docker" in shared_cli.fails(125, "commit", "-m", "text", "c")
    assert "unrecognized image format" in shared_cli.fails(125, "commit", "-f", "v1", "c")
    assert "--change" in shared_cli.fails(125, "commit", "-c", "RUN true", "c")
    assert "no such container" in shared_cli.fails(125, "commit", "nope")
    shared_cli.fails(125, "commit", "c", "Not A Name")
    assert len(json.loads(shared_cli.ok("images", "--format", "json"))) == 1


def test_a_root_file_system_of_the_host_is_not_committed(shared_cli: Cli, tmp_path: Path) -> None:
    (tmp_path / "bin").mkdir()
    shared_cli.ok("create", NONE, "--name", "c", "--rootfs", str(tmp_path), "true")
    assert "exploded rootfs" in shared_cli.fails(125, "commit", "c")


@pytest.mark.parametrize("driver", DRIVERS)
def test_one_that_runs(shared_cli: Cli, driver: str) -> None:
    options = ("-d", NONE, "--name", "c", "-v", "vol:/data")
    shared_cli.ok("--storage-driver", driver, "run", *options, IMAGE, "sleep", "1000")
    bytes_of(shared_cli, "cp", "-", "c:/srv", stdin=bytes_of(shared_cli, "cp", "c:/etc/passwd", "-"))
    image = shared_cli.ok("commit", "-q", "c").strip()
    assert shared_cli.ok("run", "--rm", NONE, image, "cat", "/srv/passwd").startswith("root:")
    assert shared_cli.ok("inspect", "--format", "{{.State.Status}}", "c") == "running\n"


def test_names_that_would_mean_a_deletion(shared_cli: Cli) -> None:
    script = "touch /etc/.wh.passwd /srv/.wh..wh..opq; mkdir /srv/.wh.d; touch /srv/.wh.d/f; touch /srv/ok"
    shared_cli.ok("--storage-driver", "copy", "run", NONE, "--name", "c", IMAGE, "sh", "-c", script)
    for options in ([], ["--squash"]):
        done = shared_cli.run("commit", *options, "c")
        assert done.returncode == 0
        assert done.stderr.count("is left out: in an image its name means a deletion") == 3
        seen = shared_cli.ok("run", "--rm", NONE, done.stdout.strip(), "ls", "/srv", "/etc/passwd")
        assert seen == "/etc/passwd\n\n/srv:\nok\nsecond-layer\n"


@pytest.mark.parametrize("driver", DRIVERS)
def test_attributes_of_overlay_file_systems_are_never_trusted_row_14(shared_cli: Cli, driver: str) -> None:
    """Row 14: a container that marks its own directories steers neither a restart, nor a commit, nor an export."""
    marks = [
        "user.overlay.redirect", "user.overlay.whiteout", "user.overlay.metacopy", "user.fuseoverlayfs.opaque",
        "user.containers.override_stat",
    ]  # fmt: skip
    if driver != "fuse-overlayfs":  # which takes this one from its container, who hides no more than its own files
        marks.append("user.overlay.opaque")
    shared_cli.ok("--storage-driver", driver, "create", NONE, "--name", "c", IMAGE, "ls", "/srv", "/etc")
    # With the power of the container's root, through the container's own view of its files.
    script = f"""
import os, sys
root = sys.argv[1]
for name in {marks!r}:
    for path in ("srv", "etc", "etc/passwd"):
        try:
            os.setxattr(f"{{root}}/{{path}}", name, b"y")
        except OSError:
            pass
os.setxattr(f"{{root}}/etc/passwd", "user.note", b"kept")
"""
    prefix = " ".join(shared_cli.command("--storage-driver", driver, "mount", "c"))
    done = shared_cli.run("unshare", "sh", "-c", f'/usr/bin/python3 -c "$SCRIPT" "$({prefix})"', env={"SCRIPT": script})
    assert done.returncode == 0, done.stderr
    assert shared_cli.ok("start", "-a", "c").splitlines()[:3] == ["/etc:", "group", "hostname"]
    data = bytes_of(shared_cli, "export", "c")
    image = shared_cli.ok("commit", "-q", "c").strip()
    assert shared_cli.ok("run", "--rm", NONE, image, "ls", "/srv", "/etc").count("passwd") == 1
    assert "second-layer" in shared_cli.ok("run", "--rm", NONE, image, "ls", "/srv")
    for text in (b"overlay.", b"override_stat"):
        assert text not in data
    assert b"SCHILY.xattr.user.note=kept" in data


def test_capabilities_of_files_hold_for_the_next_root(shared_cli: Cli) -> None:
    """Row of the image's files: revision 3 of the capabilities, which names a root of one map, becomes revision 2."""
    shared_cli.ok("create", NONE, "--name", "c", IMAGE, "true")
    value = struct.pack("<5I", 0x02000001, 1 << 10, 0, 0, 0)
    program = f"import os,sys; os.setxattr(sys.argv[1] + '/bin/busybox', 'security.capability', {value!r})"
    mount = " ".join(shared_cli.command("mount", "c"))
    done = shared_cli.run("unshare", "sh", "-c", f'/usr/bin/python3 -c "$P" "$({mount})"', env={"P": program})
    assert done.returncode == 0, done.stderr
    found = members(bytes_of(shared_cli, "export", "c"))["bin/busybox"]
    stored = found.pax_headers["SCHILY.xattr.security.capability"].encode("utf-8", "surrogateescape")
    assert stored == value
    image = shared_cli.ok("commit", "-q", "c").strip()
    assert members(bytes_of(shared_cli, "cp", "c:/bin/busybox", "-"))["busybox"].size == found.size
    shared_cli.ok("run", "--rm", NONE, image, "true")


def test_a_removed_image_is_not_needed_for_an_export(shared_cli: Cli) -> None:
    shared_cli.ok("run", NONE, "--name", "first", IMAGE, "true")
    image = shared_cli.ok("commit", "-q", "first", "gone").strip()
    shared_cli.ok("create", NONE, "--name", "c", image, "true")
    shared_cli.ok("untag", "gone")
    again = shared_cli.ok("commit", "-q", "c").strip()
    assert len(inspect(shared_cli, again)["RootFS"]["Layers"]) == 4


@pytest.mark.parametrize("mode", ["keep-id", "nomap", "auto"])
@pytest.mark.parametrize("driver", DRIVERS)
def test_owners_are_those_that_the_container_sees(shared_cli: Cli, driver: str, mode: str) -> None:
    script = "touch /srv/a /srv/b; chown 33:34 /srv/a; chown 1000 /etc/os-release"
    create = ("--storage-driver", driver, "create", NONE, "--name", "c", "--user", "0", f"--userns={mode}")
    shared_cli.ok(*create, IMAGE, "sh", "-c", script)
    shared_cli.ok("start", "-a", "c")
    assert {"C /etc/os-release", "A /srv/a", "A /srv/b"} <= set(shared_cli.ok("diff", "c").splitlines())
    assert "C /bin" not in shared_cli.ok("diff", "c")
    found = members(bytes_of(shared_cli, "export", "c"))
    names = ("srv/a", "srv/b", "etc/os-release", "home/user/file")
    owners = {name: (found[name].uid, found[name].gid) for name in names}
    assert owners == {"srv/a": (33, 34), "srv/b": (0, 0), "etc/os-release": (1000, 0), "home/user/file": (1000, 1000)}
    image = shared_cli.ok("commit", "-q", "c").strip()
    look = ("stat", "-c", "%n %u:%g", "/srv/a", "/srv/b", "/etc/os-release", "/home/user/file")
    seen = shared_cli.ok("run", "--rm", NONE, image, *look)
    assert seen == "/srv/a 33:34\n/srv/b 0:0\n/etc/os-release 1000:0\n/home/user/file 1000:1000\n"
