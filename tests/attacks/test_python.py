"""Python's own ways to run what an image has: modules, libraries and settings that are loaded late, and variables.

The programs are traced; a traced set-user-ID program has no power, so the host is one without subordinate ids.
"""

from __future__ import annotations

import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support import hostile, images
from tests.support.cli import Cli
from tests.support.figures import Tell
from tests.support.fixtures import require
from tests.support.hostile import Image
from tests.support.layers import Item, directory, file
from tests.support.matrix import User

pytestmark = [pytest.mark.needs("userns", "busybox", "strace"), pytest.mark.timeout(300)]
NONE = "--network=none"
MARK = "/poisoned"
NAMES = (
    "LD_PRELOAD", "LD_LIBRARY_PATH", "LD_AUDIT", "LD_DEBUG_OUTPUT", "PYTHONPATH", "PYTHONHOME", "PYTHONSTARTUP",
    "PYTHONINSPECT", "PYTHONBREAKPOINT", "PYTHONWARNINGS", "PATH", "BASH_ENV", "ENV", "IFS", "SHELLOPTS", "GCONV_PATH",
    "LOCPATH", "NLSPATH", "HOSTALIASES", "RES_OPTIONS", "TMPDIR", "MALLOC_CHECK_", "XDG_CONFIG_HOME", "HOME",
    "XDG_RUNTIME_DIR", "SSL_CERT_FILE", "GLIBC_TUNABLES", "ROOTLESS_PROGRAM",
)  # fmt: skip
LIBRARIES = (
    "libnss_files.so.2", "libnss_compat.so.2", "libnss_systemd.so.2", "libc.so.6", "libm.so.6", "libz.so.1",
    "libseccomp.so.2", "gconv/UTF-16.so", "gconv/gconv-modules",
)  # fmt: skip
OPENS = ("open", "openat", "openat2", "creat", "open_by_handle_at")


def poisoned(library: str) -> list[Item]:
    """A layer with a poisoned copy of everything that Python and the C library may look for."""
    module = f"open({MARK!r}, 'a').write(__name__)\n"
    found: dict[str, Item] = {}

    def put(path: str, text: str) -> None:
        parents = Path(path.lstrip("/")).parents
        for parent in reversed(parents[:-1]):
            found.setdefault(str(parent), directory(str(parent)))
        found[path.lstrip("/")] = file(path.lstrip("/"), text, 0o755)

    modules = sorted(name for name in sys.stdlib_module_names if name.isidentifier())
    for place in {*sys.path, "/", "/usr/lib/python3/dist-packages"}:
        if place.startswith("/") and not place.endswith(".zip") and "/work/" not in place:
            for name in ("os", "encodings/__init__", "encodings/idna", "codecs", "sitecustomize", "usercustomize",
                         "rootless/__init__", "storage/__init__", "grp", "pwd", *modules[:20]):  # fmt: skip
                put(f"{place}/{name}.py", module)
    for place in ("lib", "lib64", "usr/lib", "lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu",
                  "lib/aarch64-linux-gnu", "usr/lib/aarch64-linux-gnu"):  # fmt: skip
        for name in LIBRARIES:
            put(f"{place}/{name}", library)
    put("etc/ld.so.preload", "/usr/lib/libc.so.6\n")
    put("etc/nsswitch.conf", "passwd: systemd compat files\nhosts: systemd files\n")
    put("etc/localtime", "TZif" + "x" * 100)
    put("usr/lib/locale/locale-archive", "x" * 4096)
    return list(found.values())


@pytest.fixture(scope="module")
def layout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A layout of the image ``poisoned``, whose configuration sets all of the variables."""
    scratch = tmp_path_factory.mktemp("poison")
    source = scratch / "library.c"
    source.write_text(
        "#include <fcntl.h>\n#include <unistd.h>\n__attribute__((constructor)) static void mark(void)\n"
        f'{{ close(open("{MARK}", O_CREAT | O_WRONLY, 0666)); }}\n'
    )
    made = scratch / "library.so"
    words = ["gcc", "-shared", "-fPIC", "-O1", "-o", str(made), str(source)]
    library = made.read_bytes().decode("utf-8", "surrogateescape") if _compiled(words) else "\x7fELF"
    env = [images.PATH, *(f"{name}=POISON" for name in NAMES if name != "PATH")]
    items = poisoned(library)
    return hostile.write_layout(scratch / "layout", {"poisoned": Image([items], {"Env": env})})


def _compiled(words: list[str]) -> bool:
    return subprocess.run(words, capture_output=True, check=False).returncode == 0


@pytest.fixture(scope="module", params=[("user-alone", driver) for driver in hostile.DRIVERS], ids="-".join)
def user(request: pytest.FixtureRequest, layout: Path) -> Iterator[User]:
    """A user without a range, whose programs may be traced, with each driver."""
    with hostile.stored(request.param, layout, ["poisoned"]) as made:
        yield made


def traced(user: User, trace: Path, calls: str, *words: str) -> subprocess.CompletedProcess[str]:
    """Run a command of the user under strace, which follows every child."""
    strace = shutil.which("strace") or ""
    command = user.command(*words)
    at = len(user.prefix)
    line = [*command[:at], strace, "-f", "-qq", "-v", "-s", "20000", "-e", f"trace={calls}", "-o", str(trace)]
    return subprocess.run(
        [*line, *command[at:]], env=user.environment, capture_output=True, text=True, check=False, timeout=120,
        stdin=subprocess.DEVNULL,
    )  # fmt: skip


def opened_inside(trace: str) -> dict[str, list[str]]:
    """What each process of the trace opened after it had the image for its root, and before it executed a program."""
    inside: dict[str, list[str]] = {}
    done: set[str] = set()
    for line in trace.splitlines():
        pid, _, call = line.partition(" ")
        name = call.strip().partition("(")[0]
        if name in ("pivot_root", "setns") and " = 0" in call:
            inside.setdefault(pid, [])
        elif name in ("fork", "clone", "clone3", "vfork") and pid in inside and (born := re.search(r"= (\d+)$", call)):
            inside.setdefault(born[1], [])
        elif name in ("execve", "execveat") and " = 0" in call:
            done.add(pid)
        elif name in OPENS and pid in inside and pid not in done:
            inside[pid].append(call.strip())
    return inside


FLAGS = ("", "--user=user:extra", "--init", "-t", "--user=4242", "--tz=Europe/Berlin", "--workdir=/etc", "--read-only")


def test_nothing_is_opened_below_the_new_root_row_37(user: User, tmp_path: Path, figure: Tell) -> None:
    """CVE-2019-14271: from the change of the root to the program no file is opened, by any start."""
    opened = []
    for number, wanted in enumerate(FLAGS if user.driver == "overlay" else FLAGS[:1]):
        flags = wanted.replace("user:extra", "root").replace("4242", "0")
        trace = tmp_path / f"trace-{number}"
        run = ("run", "--rm", NONE, *flags.split(), "localhost/poisoned", "sh", "-c", f"ls {MARK}; echo started")
        done = traced(user, trace, "%file,setns,fork,clone,clone3,vfork", *run)
        assert "started" in done.stdout and f"\n{MARK}\n" not in f"\n{done.stdout}", done
        found = opened_inside(trace.read_text(errors="replace"))
        assert found, "no process has changed its root"
        opened += [call for calls in found.values() for call in calls]
    print(*opened, sep="\n")
    figure("files that a start opened below the image's root", "= 0", len(opened))


def test_poison_is_never_run_row_37(shared_cli: Cli, layout: Path) -> None:
    """CVE-2019-14271: by starts, joins, checks, copies, lists of processes and commits of a container."""
    require("subuid", "newuidmap")
    image = shared_cli.ok("pull", "--quiet", f"oci:{layout}:poisoned").strip()
    health = ("--health-cmd", '["/bin/true"]', "--health-interval", "disable")
    try:
        for flags in ("", "--user=user:extra", "--init -t", "--user=4242 --tz=Europe/Berlin", "--init --workdir=/etc"):
            name = shared_cli.ok("run", "-d", NONE, *health, *flags.split(), image, "sleep", "100").strip()
            for words in ("exec NAME true", "exec -u user NAME true", "exec -t -w /etc NAME true", "top NAME",
                          "healthcheck run NAME", "cp NAME:/etc/passwd -", "diff NAME", "inspect NAME"):  # fmt: skip
                done = shared_cli.run(*words.replace("NAME", name).split())
                assert "Traceback" not in done.stderr, done
                assert done.returncode == 0, done
            assert MARK not in shared_cli.ok("diff", name)
            shared_cli.ok("rm", "-f", "-t", "0", name)
    finally:
        shared_cli.ok("rmi", "-f", image)


def test_joining_opens_what_is_known_row_37(user: User, tmp_path: Path) -> None:
    """CVE-2019-14271: an exec opens the container's root, and by that its files of accounts and the directory."""
    trace = tmp_path / "trace"
    script = '"$@" run -d --name joined --network none localhost/poisoned sleep 100 >/dev/null; ' \
             f'strace -f -qq -e trace=%file,setns,fork,clone,clone3,vfork -o {trace} "$@" exec joined ls {MARK}; ' \
             '"$@" rm -f -t 0 joined >/dev/null'  # fmt: skip
    command = user.command()
    at = len(user.prefix)
    done = subprocess.run(
        [*command[:at], "sh", "-c", script, "sh", *command[at:]], env=user.environment, capture_output=True, text=True,
        check=False, timeout=120, stdin=subprocess.DEVNULL,
    )  # fmt: skip
    assert f"{MARK}: No such file" in done.stderr, done
    calls = [call for found in opened_inside(trace.read_text(errors="replace")).values() for call in found]
    # A process that nobody may look into does not show its paths. Python and the C library use open or openat.
    assert 2 <= len(calls) <= 4 and all(call.startswith("openat2(") for call in calls), calls
    assert [call.startswith("openat2(AT_FDCWD") for call in calls] == [True] + [False] * (len(calls) - 1), calls


def test_helpers_get_no_variable_of_a_container_row_38(user: User, tmp_path: Path, figure: Tell) -> None:
    """LD_PRELOAD and 27 more, by the image and by --env-file: no program outside of the container gets one of them.

    Every execve with its environment, of the monitor, the network's helper, fuse-overlayfs, and of newuidmap.
    """
    require("pasta", "tun")
    variables = tmp_path / "variables"
    variables.write_text("".join(f"{name}=POISON\n" for name in NAMES if name != "PATH") + "PATH=/bin:/POISON\n")
    health = ("--health-cmd", '["/bin/true"]', "--health-interval", "1s")
    trace = tmp_path / "trace"
    flags = ("run", "--rm", "-t", "--network=pasta", *health, "--env-file", str(variables))
    script = "env; sleep 2"
    done = traced(user, trace, "execve,execveat", *flags, "localhost/poisoned", "/bin/sh", "-c", script)
    assert done.returncode == 0 and "LD_PRELOAD=POISON" in done.stdout, done
    lines = [line for line in trace.read_text(errors="replace").splitlines() if " = 0" in line and 'execve("' in line]
    # Who becomes a program of the container shows nothing; that program's own children are told by their paths.
    own = re.compile(r'execve\("/(bin/(sh|true|env|sleep|busybox)|proc/self/exe)"')
    outside = [line for line in lines if not own.search(line)]
    names = {line.split('"')[1].rpartition("/")[2] for line in outside}
    assert "pasta" in {name.partition(".")[0] for name in names} and len(outside) > 3, names
    assert ("fuse-overlayfs" in names) == (user.driver == "fuse-overlayfs")
    assert all(line.split('"')[1].startswith("/") for line in outside), outside
    assert all('"-I' in line for line in outside[2:] if "/python" in line.split('"')[1]), outside
    reached = [line[:200] for line in outside if "POISON" in line]
    assert reached == []
    figure("programs of the host that a variable of a container reached", "= 0", len(reached), of=len(outside))
