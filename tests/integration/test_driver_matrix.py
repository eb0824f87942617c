"""The same container on every storage driver, with and without subordinate ids, for an ordinary user and for root."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from tests.support import images, matrix
from tests.support.matrix import WEB, User
from tests.support.matrix_fixtures import IMAGE, open_to_all

LOOK = "cd /; stat -c '%n %u:%g %a %F %h' $(cat) | sort"
PATHS = "data/* data/opaque/* srv/* srv/web/* raised/su home/user tmp"

pytestmark = pytest.mark.needs("userns", "busybox")


def run(user: User, *arguments: str, stdin: str = "") -> str:
    """The output of ``run --rm --network none ARGUMENTS``."""
    return user.ok("run", "--rm", "-i", "--network", "none", *arguments, stdin=stdin)


def owners(text: str) -> dict[str, str]:
    """``{path: uid:gid}`` of what ``LOOK`` shows."""
    return {line.split()[0]: line.split()[1] for line in text.splitlines()}


def test_contents_modes_and_owners(user: User) -> None:
    web, page = ("33:33", "1000:1000") if user.kind.ranged else ("0:0", "0:0")
    seen = run(user, IMAGE, "sh", "-c", LOOK, stdin=PATHS)
    assert seen.splitlines() == [
        "data/changed 0:0 644 regular file 1",
        "data/kept 0:0 644 regular file 1",
        "data/one 0:0 644 regular file 2",
        "data/opaque 0:0 755 directory 2",
        "data/opaque/new 0:0 644 regular file 1",
        "data/replaced 0:0 644 regular file 1",
        "data/two 0:0 644 regular file 2",
        f"home/user {page} 750 directory 2",
        "raised/su 0:0 4755 regular file 1",
        "srv/attributes 0:0 644 regular file 1",
        "srv/device 0:0 666 regular empty file 1",
        "srv/link 0:0 777 symbolic link 1",
        "srv/unreadable 0:0 0 regular file 1",
        f"srv/web {web} 750 directory 2",
        f"srv/web/page {web} 640 regular file 1",
        "tmp 0:0 1777 directory 2",
    ]
    files = "changed replaced two ../srv/link ../srv/web/page ../srv/unreadable"
    text = run(user, IMAGE, "sh", "-c", f"cd /data; cat {files}")
    assert text == "aftera filelinkedkeptpagesecret"


def test_two_names_are_one_file(user: User) -> None:
    # A change by one name is seen by the other only where the driver is no kernel overlay: it copies one name up.
    script = "cd /data; cat two; rm one; cat two; ln two three; echo more >>two; cat three; stat -c %h two"
    assert run(user, IMAGE, "sh", "-c", script) == "linkedlinkedlinkedmore\n2\n"
    if user.driver != "overlay":
        assert run(user, IMAGE, "sh", "-c", "cd /data; echo more >>one; cat two") == "linkedmore\n"


def test_writing_and_deleting(user: User) -> None:
    script = """
        set -e; cd /data; rm -r opaque replaced; mkdir opaque replaced; ls -A opaque; mv kept moved; cat moved
        echo appended >>changed; cat changed; chmod 4711 changed; stat -c ' %a' changed
        rm -r /srv; mkdir /srv; ls -A /srv
    """
    assert run(user, IMAGE, "sh", "-c", script) == "keptafterappended\n 4711\n"
    script = "cd /; chown -h 33:33 srv srv/web; mkdir -m 700 /d; touch /d/f; chown 33:33 /d/f; stat -c %u:%g /d/f"
    if user.kind.ranged:
        assert run(user, IMAGE, "sh", "-c", script) == "33:33\n"


def test_another_user(user: User) -> None:
    script = """
        id -u; cat /srv/web/page; echo new >/srv/web/new; stat -c %u:%g:%a /srv/web/new; rm /srv/web/page
        (echo x >/data/kept) 2>/dev/null || echo denied; cat /srv/unreadable 2>/dev/null || echo closed; exit 9
    """
    arguments = ["run", "--rm", "--network", "none", "-u", f"{WEB}:{WEB}", IMAGE, "sh", "-c", script]
    if user.kind.ranged:
        done = user.run(*arguments)
        assert (done.returncode, done.stdout) == (9, "33\npage33:33:644\ndenied\nclosed\n")
    else:
        assert "not in the container's id map" in user.fails(126, *arguments)


def test_set_uid_programs_have_their_power(user: User) -> None:
    if not user.kind.ranged:
        return  # there is one id
    command = ["run", "--rm", "--network", "none", "-u", str(WEB), IMAGE, "/raised/su", "missing"]
    assert "unknown user missing" in user.run(*command).stderr  # else it must be root, it says
    assert "must be suid" in user.run(*command[:2], "--security-opt", "no-new-privileges", *command[2:]).stderr


@pytest.mark.parametrize("rm", [True, False])
def test_exit_codes(user: User, rm: bool) -> None:
    cases = [(0, ["true"]), (7, ["sh", "-c", "exit 7"]), (143, ["sh", "-c", "kill -15 $$"]), (127, ["/missing"]),
             (126, ["/etc/passwd"])]  # fmt: skip
    for code, command in cases:
        options = ["--rm"] if rm else ["--name", "kept"]
        done = user.run("run", *options, "--network", "none", "--init", IMAGE, *command)
        assert (done.returncode, "Traceback" in done.stderr) == (code, False), (command, done.stderr)
        if not rm and code not in (126, 127):
            assert user.ok("inspect", "--format", "{{.State.ExitCode}}", "kept").strip() == str(code)
        if not rm:
            user.run("rm", "kept")


def test_changes_are_kept(user: User) -> None:
    web = WEB if user.kind.ranged else 0
    script = f"""
        cd /data; echo again >>count; rm -rf opaque old; mkdir -p -m 700 closed; touch closed/f
        chown {web} closed/f closed /; stat -c %u /; cat count; ls; exit 5
    """
    user.ok("create", "--name", "kept", "--network", "none", IMAGE, "sh", "-c", script)
    expected = "changed\nclosed\ncount\nkept\none\nreplaced\ntwo\n"
    for round_ in (1, 2, 3):
        done = user.run("start", "--attach", "kept")
        assert (done.returncode, done.stdout) == (5, f"{web}\n" + "again\n" * round_ + expected), done.stderr
    assert user.ok("system", "check") == ""
    assert user.ok("rm", "kept").strip() == "kept"


def test_isolation_tells_the_truth(user: User) -> None:
    user.ok("create", "--name", "kept", "--network", "none", IMAGE)
    shown = json.loads(user.ok("inspect", "kept"))[0]
    user.ok("rm", "kept")
    ids, root = shown["Isolation"]["UserIDs"], shown["Isolation"]["RootFS"]
    if user.kind.name == "root":
        assert (ids["Why"], ids["Less"], ids["Has"]) == ("root has no range in /etc/subuid", True, ["ids.range"])
    elif user.kind.ranged:
        assert (ids["Got"], ids["Why"], ids["Less"]) == ("65537 user ids", "the ranges of /etc/subuid", False)
        assert ids["Has"] == ["ids", "ids.range"]
    else:
        assert (ids["Got"], ids["Less"], ids["Has"]) == ("one user id", True, ["ids"])
        assert ids["Why"] == "the user had no range in /etc/subuid that could be mapped"
    assert (root["Got"], root["Why"], root["Less"]) == (user.driver, "it was asked for", False)
    assert shown["GraphDriver"]["Name"] == user.driver


def test_keep_id(user: User) -> None:
    uid = matrix.STRANGER if user.kind.name == "stranger" else os.getuid()
    shown = owners(run(user, "--userns", "keep-id", IMAGE, "sh", "-c", LOOK, stdin="/srv/web /data/kept /"))
    if user.kind.ranged:
        assert shown == {"/srv/web": "33:33", "/data/kept": "0:0", "/": "0:0"}
    else:
        assert set(shown.values()) == {f"{uid}:{uid}"}
    script = "id -u; touch /tmp/mine; stat -c %u /tmp/mine"
    assert run(user, "--userns", "keep-id", IMAGE, "sh", "-c", script).split() == [str(uid), str(uid)]


def test_keep_id_at_another_number(user: User) -> None:
    command = ["--userns", "keep-id:uid=1000,gid=1000", IMAGE, "sh", "-c", f"id -u; {LOOK}; cat /home/user/file"]
    seen = run(user, *command, stdin="home/user srv/web raised/su")
    others = ("33:33", "0:0") if user.kind.ranged else ("1000:1000", "1000:1000")
    for line in ("home/user 1000:1000", f"srv/web {others[0]}", f"raised/su {others[1]} 4755"):
        assert line in seen
    assert seen.startswith("1000\n") and seen.endswith("user's\n")


def test_a_map_without_the_user(user: User) -> None:
    options = ["--uidmap", "0:1:1000", "--gidmap", "0:1:1000"]
    if not user.kind.ranged:
        error = user.fails(125, "run", "--rm", "--network", "none", *options, IMAGE, "true")
        assert "no such subordinate id" in error
        return
    script = f"set -e; cat /proc/self/uid_map; touch /srv/web/new; echo x >>/data/kept; rm -r /data/opaque; {LOOK}"
    seen = run(user, *options, IMAGE, "sh", "-c", script, stdin="srv/web srv/web/new data/kept raised/su /")
    assert seen.splitlines()[0].split()[0::2] == ["0", "1000"]
    shown = owners("\n".join(seen.splitlines()[1:]))
    assert shown == {"srv/web": "33:33", "srv/web/new": "0:0", "data/kept": "0:0", "raised/su": "0:0", "/": "0:0"}
    command = ["sh", "-c", "echo x >>/data/n; cat /data/n"]
    user.ok("create", "--name", "kept", "--network", "none", *options, IMAGE, *command)
    assert user.ok("start", "-a", "kept") == "x\n"
    assert user.ok("start", "-a", "kept") == "x\nx\n"
    user.ok("rm", "kept")


@pytest.fixture
def host_directory(user: User) -> Path:
    """A directory of the user's with a file in a directory."""
    target = user.home / "volume"
    if target.exists():
        images.remove_tree(target)
    (target / "sub").mkdir(parents=True)
    (target / "sub" / "f").write_text("host")
    if user.kind.name == "stranger":
        for path in (target, target / "sub", target / "sub" / "f"):
            os.chown(path, matrix.STRANGER, matrix.STRANGER)
    return target


def test_volume_with_a_throw_away_layer(user: User, host_directory: Path) -> None:
    script = "cat /v/sub/f; echo changed >/v/sub/f; cat /v/sub/f; rm -r /v/sub; mkdir /v/new; ls /v"
    out = run(user, "-v", f"{host_directory}:/v:O", IMAGE, "sh", "-c", script)
    assert out == "hostchanged\nnew\n"
    assert [entry.name for entry in host_directory.iterdir()] == ["sub"]
    assert (host_directory / "sub" / "f").read_text() == "host"


def test_volume_given_to_the_container_user(user: User, host_directory: Path) -> None:
    web = str(WEB if user.kind.ranged else 0)
    options = ["-u", f"{web}:{web}", "-v", f"{host_directory}:/v:U"]
    script = "echo mine >/v/sub/f; stat -c %u:%g /v /v/sub/f"
    assert run(user, *options, IMAGE, "sh", "-c", script).split() == 2 * [f"{web}:{web}"]
    owner = (host_directory / "sub").stat().st_uid
    assert (owner == (matrix.STRANGER if user.kind.name == "stranger" else os.getuid())) == (web == "0")
    assert run(user, "-v", f"{host_directory}:/v:U", IMAGE, "cat", "/v/sub/f") == "mine\n"


def test_named_volume_takes_over_what_the_image_has(user: User) -> None:
    web = "33:33" if user.kind.ranged else "0:0"
    for content in ("page\n", "new\npage\n"):
        script = f"{LOOK}; ls /srv/web; touch /srv/web/new"
        out = run(user, "-v", "matrix:/srv/web", IMAGE, "sh", "-c", script, stdin="srv/web srv/web/page")
        assert out == f"srv/web {web} 750 directory 2\nsrv/web/page {web} 640 regular file 1\n{content}"
    user.ok("volume", "rm", "matrix")


def test_read_only_root(user: User) -> None:
    script = "touch /tmp/x /run/x && (echo x >/data/kept || rm /data/kept) 2>/dev/null || echo kept"
    assert run(user, "--read-only", IMAGE, "sh", "-c", script) == "kept\n"


def test_directory_as_root_file_system(user: User, host_directory: Path) -> None:
    for name in ("bin", "etc", "tmp", "proc", "sys", "dev", "run"):
        (host_directory / name).mkdir()
    (host_directory / "bin" / "sh").write_bytes(Path(images.busybox_path() or "").read_bytes())
    (host_directory / "bin" / "sh").chmod(0o755)
    if user.kind.name == "stranger":
        for path in [*host_directory.rglob("*")]:
            os.chown(path, matrix.STRANGER, matrix.STRANGER)
    command = ["sh", "-c", "echo made >/etc/made; cat /etc/made /sub/f; exit 3"]
    if user.driver == "copy":
        error = user.fails(125, "run", "--rm", "--network", "none", "--rootfs", f"{host_directory}:O", *command)
        assert "cannot put an overlay over" in error and "hint: " in error
    else:
        done = user.run("run", "--rm", "--network", "none", "--rootfs", f"{host_directory}:O", *command)
        assert (done.returncode, done.stdout) == (3, "made\nhost"), done.stderr
    assert not (host_directory / "etc" / "made").exists()
    done = user.run("run", "--rm", "--network", "none", "--rootfs", str(host_directory), *command)
    assert (done.returncode, done.stdout) == (3, "made\nhost"), done.stderr
    assert (host_directory / "etc" / "made").read_text() == "made\n"


def test_the_host_under_a_throw_away_layer(user: User) -> None:
    arguments = ["--rootfs", "/:O", "sh", "-c", "head -n 1 /etc/passwd; echo made >/opt/made && cat /opt/made"]
    if user.driver == "copy":
        assert "hint: " in user.fails(125, "run", "--rm", "--network", "none", *arguments)
    else:
        assert run(user, *arguments).splitlines() == ["root:x:0:0:root:/root:/bin/bash", "made"]
        assert not Path("/opt/made").exists()


def test_an_image_gone_takes_its_layers(owner: User, tmp_path: Path) -> None:
    layout = images.Layout(tmp_path / "small")
    layout.add_image("one", [layout.add_layer(images.tar_of([images.file("f", b"x", uid=WEB)]))], {})
    open_to_all(layout.directory)
    before = {entry.name for entry in (owner.data / "layers").iterdir()}
    image = owner.ok("pull", "--quiet", f"oci:{tmp_path}/small:one").strip()
    assert len({entry.name for entry in (owner.data / "layers").iterdir()} - before) == 1
    owner.ok("rmi", image)
    assert {entry.name for entry in (owner.data / "layers").iterdir()} == before
    assert owner.leftovers() == []


@pytest.fixture(scope="module")
def deep(owner: User, tmp_path_factory: pytest.TempPathFactory) -> str:
    """An image of 120 layers in the user's store."""
    target = matrix.deep_layout(tmp_path_factory.mktemp("deep") / "layout", 120)
    owner.driver = ""
    if owner.kind.name == "stranger":
        open_to_all(target)
    return owner.ok("pull", "--quiet", f"oci:{target}:deep", timeout=120).strip()


def test_120_layers(user: User, deep: str) -> None:
    out = run(user, deep, "sh", "-c", "cat /d/last; ls /d | wc -l; rm -r /d; mkdir /d; ls -A /d")
    assert out == "119120\n"
