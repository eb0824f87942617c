"""The interpreter that makes containers belongs to the user, as root of his containers does: nothing may change it."""

from __future__ import annotations

import compileall
import json
import os
import shutil
import subprocess
import sysconfig
import venv
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rootless.runtime.delete import delete_tree
from tests.integration.test_oci import BOTH, Runtime, until
from tests.support import bundles, hostile, programs
from tests.support.canary import state_of
from tests.support.cli import CHECKOUT
from tests.support.figures import Tell, amount
from tests.support.hostile import Image
from tests.support.layers import directory, file, symlink
from tests.support.matrix import User

pytestmark = [pytest.mark.needs("userns", "busybox", "gcc"), pytest.mark.timeout(300)]
NONE = "--network=none"
LOADERS = ("lib64/ld-linux-x86-64.so.2", "lib/ld-linux-aarch64.so.1")
LOADER = ("-static-pie", "-nostdlib", "-ffreestanding", "-fno-stack-protector", "-fPIE")
PROGRAMS = ("/script", "/link", "/proc/self/exe", "/proc/1/exe", "/indirect")
# What of the file is in the loader's hands is written to for as long as somebody could still be executing it.
THEN = """
for n in 1 2 3 4 5; do (echo evil >/proc/self/fd/99) 2>/dev/null && echo written; sleep 0.1; done
chmod 777 /proc/self/fd/99 && echo chmodded; touch /proc/self/fd/99 && echo touched
"""
THIEF = """
while [ ! -e /tmp/enough ]; do for p in /proc/[0-9]*; do
    (: >>$p/exe) 2>/dev/null && echo written $p; [ $p = /proc/1 ] || chmod 777 $p/exe 2>/dev/null
    case $(readlink $p/exe) in */python*) echo seen $p;; esac
done; done
"""


class Interpreter:
    """An environment with a Python and this program in it, all of it the user's own."""

    def __init__(self, place: Path) -> None:
        venv.EnvBuilder(symlinks=False, with_pip=False).create(place)
        (packages,) = place.glob("lib/python3*/site-packages")
        for name in ("rootless", "storage"):
            shutil.copytree(CHECKOUT / name, packages / name, ignore=shutil.ignore_patterns("__pycache__"))
        (packages / "others.pth").write_text(f"{sysconfig.get_path('purelib')}\n")
        compileall.compile_dir(packages, quiet=2)
        self.place = place
        self.command = [str(place / "bin" / "python3"), "-IS", str(packages / "rootless" / "__main__.py")]
        self.before = state_of(place)

    def changes(self) -> list[str]:
        """The files that are not as they were: contents, modes and all."""
        now = state_of(self.place)
        return sorted(path for path in now.keys() | self.before.keys() if now.get(path) != self.before.get(path))


@pytest.fixture
def interpreter(tmp_path: Path) -> Interpreter:
    """It, where there is an airlock for the machine."""
    if os.uname().machine not in ("x86_64", "aarch64"):
        pytest.skip("needs x86_64 or aarch64: the loader is written for these")
    return Interpreter(tmp_path / "environment")


@pytest.fixture(scope="module")
def loader(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """The hostile dynamic loader."""
    made = tmp_path_factory.mktemp("loader") / "exe"
    words = ["gcc", *LOADER, "-O1", "-o", str(made), str(programs.DIRECTORY / "exe.c")]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    if done.returncode:
        pytest.skip(f"needs gcc: {' '.join(LOADER)}: {done.stderr[-200:]}")
    return made.read_bytes()


@pytest.fixture
def user(loader: bytes, tmp_path: Path) -> Iterator[User]:
    """A user with the hostile image."""
    text = os.fsdecode(loader)
    items = [
        directory("lib64"), directory("lib"), *(file(name, text, 0o755) for name in LOADERS),
        file("script", "#!/proc/self/exe\n", 0o755), file("indirect", "#!/script\n", 0o755),
        symlink("link", "/proc/self/exe"), file("then", THEN), file("thief", THIEF),
    ]  # fmt: skip
    layout = hostile.write_layout(tmp_path / "layout", {"hostile": Image([items])})
    with hostile.stored(("user", "overlay"), layout, ["hostile"]) as made:
        yield made


def run(user: User, interpreter: Interpreter, *words: str) -> subprocess.CompletedProcess[str]:
    """Run the program of the user's own environment."""
    return subprocess.run(
        [*user.prefix, *interpreter.command, "--storage-driver=overlay", *words], env=user.environment, text=True,
        capture_output=True, check=False, timeout=60, stdin=subprocess.DEVNULL,
    )  # fmt: skip


@pytest.mark.parametrize("ids", ["", "--uidmap=0:0:1 --gidmap=0:0:1"])
def test_no_start_leads_to_the_interpreter_row_39(
    user: User, interpreter: Interpreter, figure: Tell, ids: str
) -> None:
    """CVE-2019-5736: what is executed by way of /proc/self/exe, alone, with --init, privileged, as a health check."""
    single = ids.split()
    tried = 0
    for program in PROGRAMS:
        for flags in ((), ("--init",), ("--privileged",)):
            done = run(user, interpreter, "run", "--rm", NONE, *single, *flags, "localhost/hostile", program)
            assert (done.returncode, done.stdout) == (126, ""), done
            tried += 1
        health = ("--health-cmd", f'["{program}"]', "--health-interval", "disable")
        done = run(user, interpreter, "run", "-d", NONE, *single, *health, "localhost/hostile", "sh", "/thief")
        name = done.stdout.strip()
        assert done.returncode == 0, done
        for words in (("exec", name, program), ("exec", "--privileged", name, program), ("healthcheck", "run", name)):
            done = run(user, interpreter, *words)
            assert done.returncode in (1, 126, 127) and done.stdout in ("", "unhealthy\n"), done
            tried += 1
        for _ in range(amount(4, 100)):
            assert run(user, interpreter, "exec", name, "true").returncode == 0
        run(user, interpreter, "exec", name, "touch", "/tmp/enough")
        run(user, interpreter, "wait", name)
        loot = run(user, interpreter, "logs", name)
        run(user, interpreter, "rm", "-f", "-t", "0", name)
        assert loot.stdout == "", loot
    assert interpreter.changes() == []
    assert tried == 6 * len(PROGRAMS)
    figure("starts by /proc/self/exe that got at the user's own interpreter", "= 0", 0, of=tried)


@BOTH
def test_nothing_is_left_executing_it_row_39(
    _who: str, loader: bytes, interpreter: Interpreter, tmp_path: Path
) -> None:
    """The same where no process of the runtime stays: create and start, hooks of the container, and errors are told."""
    oci = Runtime(tmp_path)
    oci.bundle.mkdir()
    root = bundles.make_root(oci.bundle / "rootfs")
    for name in ("lib64", "lib"):
        (root / name).mkdir(exist_ok=True)
    files = {"script": "#!/proc/self/exe\n", "then": THEN, "nothing": "#!/none\n", "binary": "\x7fELF"}
    for name, text in files.items():
        (root / name).write_text(text)
        (root / name).chmod(0o755)
    for name in LOADERS:
        (root / name).write_bytes(loader)
        (root / name).chmod(0o755)
    (root / "link").symlink_to("/proc/self/exe")
    environment = {**oci.environment, "ROOTLESS_PROGRAM": "rootless-oci"}

    def runtime(*words: str) -> subprocess.CompletedProcess[str]:
        command = [*interpreter.command, "--root", str(tmp_path / "state"), *words]
        with (tmp_path / "output").open("w+") as output:
            code = subprocess.run(
                command, env=environment, stdout=output, stderr=subprocess.STDOUT, check=False, timeout=60,
                stdin=subprocess.DEVNULL,
            ).returncode  # fmt: skip
        return subprocess.CompletedProcess(command, code, (tmp_path / "output").read_text(), "")

    def given(program: str, hook: str = "") -> None:
        spec: dict[str, Any] = bundles.spec(program)
        if hook:
            spec["hooks"] = {"startContainer": [{"path": hook}]}
        oci.write(spec)

    try:
        for program in ("/script", "/link", "/proc/self/exe"):
            given(program)
            assert runtime("create", "--bundle", str(oci.bundle), "box").returncode == 0
            runtime("start", "box")
            until(lambda: json.loads(runtime("state", "box").stdout)["status"] == "stopped")
            assert runtime("delete", "--force", "box").returncode == 0
            given("/bin/true", hook=program)
            done = runtime("run", "--bundle", str(oci.bundle), "box")
            assert done.returncode and "loaded into" not in done.stdout, done
        assert interpreter.changes() == []
        for program, code, word in (
            ("/nothing", 127, "its interpreter"), ("/binary", 126, "Exec format error"), ("/none", 127, "not found"),
            ("/etc", 126, "Permission denied"),
        ):  # fmt: skip
            given(program)
            done = runtime("run", "--bundle", str(oci.bundle), "box")
            assert done.returncode == code and word in done.stdout, done
        given("/bin/true", hook="/nothing")
        assert "No such file or directory" in runtime("run", "--bundle", str(oci.bundle), "box").stdout
        spec = bundles.spec("ls", "/proc/self/fd")
        spec["hooks"] = {"startContainer": [{"path": "/bin/ls", "args": ["ls", "/proc/self/fd"]}]}
        oci.write(spec)
        done = runtime("run", "--bundle", str(oci.bundle), "box")
        assert set(done.stdout.split()) <= {"0", "1", "2", "3"} and done.returncode == 0, done
    finally:
        runtime("delete", "--force", "box")
        delete_tree(str(tmp_path))
