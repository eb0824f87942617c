"""Attacks on the start of a container, each as an input and the safe outcome (the CVEs are of other runtimes)."""

from __future__ import annotations

import contextlib
import hashlib
import os
import subprocess
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from tests.support import bundles
from tests.support.canary import Canary
from tests.support.exchanges import exchanging
from tests.support.fixtures import require

Run = Callable[..., "CompletedProcess[str]"]
pytestmark = pytest.mark.usefixtures("no_leftovers")


@pytest.fixture
def root(tmp_path: Path) -> Path:
    require("userns", "busybox")
    return bundles.make_root(tmp_path / "rootfs")


@pytest.fixture
def run(tmp_path: Path, root: Path) -> Run:
    def start(given: dict[str, Any] | str, **options: Any) -> Any:
        if isinstance(given, str):
            given = bundles.spec("sh", "-c", given)
        return bundles.run(tmp_path, given, root, **options)

    return start


@pytest.mark.parametrize("number", [*range(3, 16), 64])
def test_working_directory_by_a_leaked_descriptor_row_21(run: Run, number: int) -> None:
    """CVE-2024-21626."""
    given = bundles.spec("pwd")
    given["process"]["cwd"] = f"/proc/self/fd/{number}"
    assert run(given).returncode in (126, 127)
    given["process"]["cwd"] = f"/proc/self/fd/{number}/../.."
    assert run(given, make_cwd=True).returncode != 0


def test_working_directory_by_a_link_of_the_image_row_21(run: Run, root: Path) -> None:
    (root / "link").symlink_to("/proc/self/fd/7")
    (root / "climb").symlink_to("../../../../../..")
    given = bundles.spec("sh", "-c", "pwd; ls")
    given["process"]["cwd"] = "/link"
    assert run(given).returncode in (126, 127)
    given["process"]["cwd"] = "/climb"
    done = run(given)
    assert done.stdout.split()[0] == "/" and "canary" not in done.stdout


def test_working_directory_is_made_inside_row_22(run: Run, root: Path, canary: Canary) -> None:
    """CVE-2026-55686."""
    require("subuid", "newuidmap")
    (root / "a").symlink_to(canary.root)
    given = bundles.spec("pwd", "-P")
    given["process"]["cwd"] = "/a/b/c"
    done = run(given, make_cwd=True, user="1000")
    assert done.returncode == 0, done.stderr
    assert done.stdout.strip() == f"{canary}/b/c"
    assert (root / str(canary)[1:] / "b" / "c").is_dir()


def test_missing_working_directory(run: Run) -> None:
    given = bundles.spec("pwd")
    given["process"]["cwd"] = "/nope"
    done = run(given)
    assert (done.returncode, done.stderr) == (127, 'Error: workdir "/nope" does not exist on container\n')


@pytest.mark.parametrize("name", ["proc", "sys", "dev"])
@pytest.mark.parametrize("kind", ["link", "file"])
def test_special_directory_is_none_rows_45_46(run: Run, root: Path, canary: Canary, name: str, kind: str) -> None:
    """CVE-2023-27561, CVE-2026-41579: a link in place of /proc, /sys or /dev would move the masks or the devices."""
    (root / name).rmdir()
    if kind == "link":
        (root / name).symlink_to(canary.root)
    else:
        (root / name).write_text("")
    done = run("true")
    assert done.returncode == 125
    assert done.stderr == f"Error: cannot mount /{name}: in the image it is not a directory\n"


@pytest.mark.parametrize("target", ["/link", "/link/new/dir", "/up/new", "/dangling", "/link/file"])
def test_mount_target_is_found_inside_row_49(run: Run, root: Path, canary: Canary, tmp_path: Path, target: str) -> None:
    """CVE-2019-18837, CVE-2024-45310."""
    (root / "link").symlink_to(canary.root)
    (root / "up").symlink_to("../../../../../../../..")
    (root / "dangling").symlink_to("/var/none/x")
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "mark").write_text("mark")
    given = bundles.spec("sh", "-c", f"cat {target}/mark")
    given["mounts"].append(bundles.bind(tmp_path / "source", target))
    done = run(given)
    assert (done.returncode, done.stdout) == (0, "mark"), done.stderr


@pytest.mark.parametrize("target", ["/proc", "/proc/sys", "/proc/self/attr", "/x", "/proc/../proc/1"])
def test_nothing_is_mounted_over_proc_rows_44_50(run: Run, root: Path, tmp_path: Path, target: str) -> None:
    """CVE-2019-16884, CVE-2025-52881."""
    (root / "x").symlink_to("/proc/sys")
    (tmp_path / "source").mkdir()
    given = bundles.spec("true")
    given["mounts"].append(bundles.bind(tmp_path / "source", target))
    done = run(given)
    assert done.returncode == 125 and "cannot mount on" in done.stderr
    given["mounts"][-1] = bundles.mount(target, "tmpfs")
    assert run(given).returncode == 125


def test_masks_and_read_only_paths_row_50(run: Run) -> None:
    """CVE-2015-3630, CVE-2016-9962's kin: what is masked is empty, what is read-only cannot be written."""
    for path in bundles.MASKED:
        done = run(f"if [ -d {path} ]; then ls -A {path}; else cat {path}; fi; touch {path}/x; echo x >{path}")
        assert done.stdout == "", path
    for path in bundles.READ_ONLY:
        done = run(f"find {path} -type f | head -n 40 | while read f; do ( : >>$f ) && echo $f; done")
        assert done.stdout == "", path
        assert " ro," in run(f"grep ' {path} ' /proc/mounts || echo ' ro,'").stdout


def test_mask_does_not_use_the_images_null_row_42(run: Run, root: Path) -> None:
    """CVE-2025-31133: the image's own /dev/null plays no part."""
    (root / "dev" / "null").symlink_to("/proc/sys/kernel/core_pattern")
    given = bundles.spec("sh", "-c", "wc -c </proc/keys; grep /proc/keys /proc/mounts; ls -l /dev/null")
    given["mounts"] = [m for m in given["mounts"] if not m["destination"].startswith("/dev")]
    done = run(given)
    assert done.stdout.startswith("0\n") and "devtmpfs" in done.stdout


def test_masks_survive_unmounting_row_50(run: Run) -> None:
    assert run("umount /proc/keys; umount -l /proc/keys; wc -c </proc/keys").stdout == "0\n"


def test_read_only_root(run: Run) -> None:
    script = "touch /x; touch /etc/x; touch /dev/shm/ok && echo shm; mount -o remount,rw / ; touch /x"
    given = bundles.spec("sh", "-c", script)
    given["root"]["readonly"] = True
    done = run(given)
    assert (done.stdout, done.stderr.count("Read-only file system")) == ("shm\n", 3)


def test_read_only_bind_has_no_writable_submount_row_56(run: Run, tmp_path: Path) -> None:
    """A read-only volume is so throughout, wherever file systems are mounted below it."""
    given = bundles.spec("sh", "-c", "for d in /host/dev/shm /host/tmp; do touch $d/x && echo bad; done; true")
    given["mounts"].append(bundles.bind("/", "/host", "rro"))
    assert run(given).stdout == ""


def test_host_mounts_are_unchanged_row_56(run: Run, tmp_path: Path) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    given = bundles.spec("sh", "-c", "mount -t tmpfs x /tmp/; true")
    given["mounts"].append(bundles.bind(tmp_path, "/host", "rshared"))
    for _ in range(5):
        run(given)
    assert Path("/proc/self/mountinfo").read_text() == before


def test_capabilities_row_57(run: Run) -> None:
    """CVE-2022-27650 and its kin: inheritable is empty unless the Spec itself has some."""
    out = run("grep Cap /proc/self/status | cut -f 2").stdout.split()
    assert out == ["0" * 16, "00000000800405fb", "00000000800405fb", "00000000800405fb", "0" * 16]
    given = bundles.spec("sh", "-c", "grep Cap /proc/self/status | cut -f 2")
    sets = given["process"]["capabilities"]
    sets["ambient"] = sets["permitted"] = sets["effective"] = ["CAP_NET_BIND_SERVICE"]
    sets["inheritable"] = ["CAP_KILL"]
    given["process"]["user"] = {"uid": 0, "gid": 0}
    out = run(given, user="0").stdout.split()
    assert (out[0], out[4]) == ("0000000000000420", "0000000000000400")


def test_ambient_reaches_another_user(run: Run) -> None:
    require("subuid", "newuidmap")
    given = bundles.spec("sh", "-c", "id -u; grep -E 'Cap(Eff|Amb)' /proc/self/status | cut -f 2")
    for kind in ("ambient", "permitted", "effective", "bounding"):
        given["process"]["capabilities"][kind] = ["CAP_NET_BIND_SERVICE"]
    assert run(given, user="1000").stdout.split() == ["1000", "0000000000000400", "0000000000000400"]


def test_no_new_privileges(run: Run) -> None:
    given = bundles.spec("grep", "NoNewPrivs", "/proc/self/status")
    assert run(given).stdout.split() == ["NoNewPrivs:", "0"]
    given["process"]["noNewPrivileges"] = True
    assert run(given).stdout.split() == ["NoNewPrivs:", "1"]


# Load the number of the call; sethostname is refused with EPERM, everything else allowed.
_NUMBER = 170 if os.uname().machine == "x86_64" else 161
_FILTER = bytes.fromhex("2000000000000000") + bytes.fromhex("15000001") + _NUMBER.to_bytes(4, "little") + bytes.fromhex(
    "0600000001000500" + "060000000000ff7f"
)


@pytest.mark.parametrize("no_new_privileges", [False, True])
def test_seccomp_filter(run: Run, no_new_privileges: bool) -> None:
    given = bundles.spec("sh", "-c", "grep Seccomp: /proc/self/status; hostname other; grep CapEff /proc/self/status")
    given["process"]["noNewPrivileges"] = no_new_privileges
    sets = given["process"]["capabilities"]
    for kind in ("bounding", "effective", "permitted"):
        sets[kind] = [*bundles.CAPABILITIES, "CAP_SYS_ADMIN"]
    done = run(given, seccomp=_FILTER.hex())
    assert done.stdout.split() == ["Seccomp:", "2", "CapEff:", "00000000802405fb"]
    assert "sethostname: Operation not permitted" in done.stderr


def test_filter_costs_no_capability(run: Run) -> None:
    """CAP_SYS_ADMIN, kept to load the filter, is gone afterwards."""
    done = run("grep Cap /proc/self/status | cut -f 2 | sort -u", seccomp=_FILTER.hex())
    assert done.stdout.split() == ["0" * 16, "00000000800405fb"]


def test_bad_filter_is_refused_row_65(run: Run) -> None:
    done = run("echo started", seccomp="ffff000000000000")
    assert (done.returncode, done.stdout) == (125, "")
    assert "cannot load the seccomp filter" in done.stderr


def test_no_descriptor_of_the_caller_row_41(run: Run, tmp_path: Path) -> None:
    """CVE-2024-21626: descriptors that leak from the caller's own parents end at the program."""
    held = [os.open(str(tmp_path), os.O_RDONLY) for _ in range(100)]
    try:
        done = run("ls -l /proc/self/fd /proc/1/fd", pass_fds=tuple(held))
    finally:
        for fd in held:
            os.close(fd)
    assert str(tmp_path) not in done.stdout
    assert "anon_inode" not in done.stdout and "ns:" not in done.stdout


def test_init_process_cannot_be_looked_into_row_40(run: Run) -> None:
    """CVE-2019-5736, CVE-2016-9962: the reaper is this program's interpreter, which belongs to the container's root."""
    done = run(
        "for l in exe root cwd fd/0; do readlink /proc/1/$l || echo denied >&2; done; ls /proc/1/fd; "
        "cat /proc/1/maps; cat /proc/1/environ; "
        "dd if=/dev/zero of=/proc/1/mem count=1; : >>/proc/1/exe",
        init_binary="reaper",
    )
    assert done.stdout == ""
    assert done.stderr.count("denied") == 9, done.stderr


def test_interpreter_script_of_the_image_row_39(run: Run, root: Path) -> None:
    """CVE-2019-5736: ``#!/proc/self/exe`` does not run, or reopen, the runtime."""
    (root / "bin" / "evil").write_text("#!/proc/self/exe\n")
    (root / "bin" / "evil").chmod(0o755)
    before = hashlib.sha256(Path("/usr/bin/python3").read_bytes()).hexdigest()
    done = run(bundles.spec("/bin/evil"))
    assert done.returncode in (126, 127)
    assert hashlib.sha256(Path("/usr/bin/python3").read_bytes()).hexdigest() == before


KEYRING = """
import ctypes, os, sys
libc = ctypes.CDLL(None)
def call(*arguments): return libc.syscall(*arguments)
ADD, KEYCTL = ((248, 250) if os.uname().machine == "x86_64" else (217, 219))
SESSION, JOIN, SEARCH = -3, 1, 10
if sys.argv[1:]:
    call(KEYCTL, JOIN, None)
    if call(ADD, b"user", b"rootless-test", b"x", 1, SESSION) < 0: sys.exit(77)
    os.execv(sys.argv[1], sys.argv[1:])
print("found" if call(KEYCTL, SEARCH, SESSION, b"user", b"rootless-test", 0) > 0 else "absent")
"""


def test_session_keyring_is_new_row_61(tmp_path: Path, root: Path) -> None:
    """The program cannot reach the keys of the caller's session."""
    script = tmp_path / "keys.py"
    script.write_text(KEYRING)
    python = "/usr/bin/python3"
    outside = subprocess.run(
        [python, "-IS", script, python, "-IS", script], capture_output=True, text=True, check=False
    )
    if outside.stdout != "found\n":
        pytest.skip("needs keyrings: the kernel has none, or the user's quota is used up")
    given = bundles.spec(python, "-IS", "/keys.py")
    given["mounts"] += [bundles.bind(path, path, "ro") for path in ("/usr", "/lib", "/lib64") if Path(path).exists()]
    given["mounts"].append(bundles.bind(script, "/keys.py", "ro"))
    command = bundles.job(tmp_path, given, root)
    done = subprocess.run([python, "-IS", script, *command], capture_output=True, text=True, check=False)
    assert (done.stdout, done.returncode) == ("absent\n", 0), done.stderr


def test_terminal_of_the_caller_is_out_of_reach_row_60(run: Run) -> None:
    """CVE-2017-5226: the program has a session of its own, so it has no controlling terminal to push input into."""
    assert run("echo x >/dev/tty").returncode != 0


def test_environment_of_the_host_is_unseen_row_59(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOST_SECRET", "secret")
    done = run("cat /proc/*/environ | tr '\\0' '\\n'; env", init_binary="reaper")
    assert "HOST_SECRET" not in done.stdout


def test_cgroup_tree_is_read_only_row_53(run: Run) -> None:
    """CVE-2023-25809."""
    given = bundles.spec(
        "sh", "-c", "find /sys/fs/cgroup -maxdepth 3 -type d | while read d; do mkdir $d/x && echo $d; done; true"
    )
    assert run(given).stdout == ""
    given["linux"]["namespaces"] = [n for n in given["linux"]["namespaces"] if n["type"] != "cgroup"]
    assert run(given).stdout == ""


@pytest.mark.parametrize(
    "key",
    [
        "kernel.core_pattern", "kernel.core_pattern=|x net.core.somaxconn", "a", "net..x", "net/../kernel/core_pattern",
        "../kernel/core_pattern", "net.ipv4.ip_forward/../../../kernel/core_pattern", "net.ipv4.ip forward", "",
        "vm.overcommit_memory", "fs.suid_dumpable", "/net/ipv4/ip_forward",
    ],
)  # fmt: skip
def test_sysctl_of_the_machine_row_31(run: Run, key: str) -> None:
    """CVE-2022-0811: only keys of the container's own namespaces, and nothing smuggled into them."""
    given = bundles.spec("true")
    given["linux"]["sysctl"] = {key: "1"}
    done = run(given)
    assert done.returncode == 125 and "cannot set the sysctl" in done.stderr


@pytest.mark.parametrize(("key", "namespace"), [("net.ipv4.ip_forward", "network"), ("kernel.shmmax", "ipc")])
def test_sysctl_of_a_shared_namespace_row_31(run: Run, key: str, namespace: str) -> None:
    given = bundles.spec("true")
    given["linux"]["namespaces"] = [n for n in given["linux"]["namespaces"] if n["type"] != namespace]
    given["linux"]["sysctl"] = {key: "1"}
    done = run(given)
    assert done.returncode == 125 and f"in the host's {namespace} namespace" in done.stderr


def test_requested_label_is_never_dropped_silently_row_64(run: Run) -> None:
    """CVE-2025-64750."""
    for field in ("apparmorProfile", "selinuxLabel"):
        given = bundles.spec("true")
        given["process"][field] = "some_profile"
        assert run(given).returncode == 125


def test_volume_is_filled_once_rows_23_70(run: Run, root: Path, canary: Canary, tmp_path: Path) -> None:
    """CVE-2020-1726, CVE-2022-23648: an empty volume gets the image's content, links as links; a filled one nothing."""
    data = root / "data"
    (data / "sub").mkdir(parents=True)
    (data / "sub" / "file").write_text("content")
    (data / "link").symlink_to(canary.root / "file")
    (data / "sub").chmod(0o711)
    volume = tmp_path / "volume"
    volume.mkdir()
    script = "cat /data/sub/file; echo; readlink /data/link; stat -c %a /data/sub; echo new >/data/mine"
    given = bundles.spec("sh", "-c", script)
    given["mounts"].append(bundles.bind(volume, "/data"))
    done = run(given, copy_up=[("/data", str(volume))])
    assert done.stdout.split() == ["content", str(canary.root / "file"), "711"], done.stderr
    (volume / "sub" / "file").write_text("changed")
    assert run(given, copy_up=[("/data", str(volume))]).stdout.startswith("changed")
    assert not (data / "mine").exists()
    (root / "evil").symlink_to("/../../../../../../" + str(canary))
    empty = tmp_path / "empty"
    empty.mkdir()
    run("true", copy_up=[("/evil", str(empty)), ("/../../evil", str(empty))])
    assert not list(empty.iterdir())


@pytest.mark.parametrize("missing", [False, True])
def test_mount_target_that_is_swapped_rows_47_48(tmp_path: Path, root: Path, canary: Canary, missing: bool) -> None:
    """CVE-2021-30465, CVE-2024-45310: a directory that another container exchanges with a link all the time."""
    shared = tmp_path / "shared"
    (shared / "a").mkdir(parents=True)
    (shared / "b").symlink_to(canary.root)
    (tmp_path / "source").mkdir()
    (tmp_path / "source" / "mark").write_text("")
    given = bundles.spec("sh", "-c", "true")
    target = "/shared/a/new/x" if missing else "/shared/a"
    given["mounts"] += [bundles.bind(shared, "/shared"), bundles.bind(tmp_path / "source", target)]
    with exchanging(shared, "a", "b"):
        for _ in range(8):
            with contextlib.suppress(subprocess.TimeoutExpired):
                bundles.run(tmp_path, given, root)


def test_new_mount_namespace_cannot_uncover_the_host(run: Run) -> None:
    """Even with every capability in its user namespace the program finds nothing of the host behind its root."""
    every = [name for name in __import__("rootless.security.capabilities").security.capabilities.NAMES]
    given = bundles.spec("sh", "-c", "umount -l / ; umount -l /; ls /; cd ..; ls; wc -l </proc/self/mountinfo")
    for kind in ("bounding", "effective", "permitted"):
        given["process"]["capabilities"][kind] = every
    done = run(given)
    assert "canary" not in done.stdout and "boot" not in done.stdout.split()


def test_what_hooks_write_is_inside_row_55(run: Run, root: Path, canary: Canary, tmp_path: Path) -> None:
    """CVE-2024-0132, CVE-2025-24965: a hook in the container, and what is mounted for it, on links of the image."""
    (root / "etc" / "ld.so.conf.d").symlink_to(canary.root)
    (root / "usr" / "lib").symlink_to("../../../../../../.." + str(canary))
    (root / "dev" / "driver").symlink_to(canary.root / "file")
    (tmp_path / "lib.so").write_text("library")
    script = "mkdir -p /etc/ld.so.conf.d/new; echo made >/etc/ld.so.conf.d/new/file; echo made >/usr/lib/victim; true"
    given = bundles.spec("sh", "-c", "cat /usr/lib/lib.so; cat /etc/ld.so.conf.d/new/file /usr/lib/victim")
    given["hooks"] = {"startContainer": [{"path": "/bin/sh", "args": ["sh", "-c", script]}]}
    given["mounts"].append(bundles.bind(tmp_path / "lib.so", "/usr/lib/lib.so", "ro"))
    given["mounts"].append(bundles.bind(tmp_path / "lib.so", "/usr/lib/new/deep/lib.so", "ro"))
    done = run(given)
    assert (done.returncode, done.stdout) == (0, "librarymade\nmade\n"), done.stderr
    assert (root / str(canary)[1:] / "victim").read_text() == "made\n"
