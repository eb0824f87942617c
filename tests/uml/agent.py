"""The far end of the line: runs inside the machine as root and does what the tests ask for, one command at a time.

A request is a line of JSON on the serial line, ``{"user", "command", "environment", "output"}``; the command's streams
go to the file ``output`` of the exchange directory, which the tests see grow, and the answer is ``{"code"}``.
Started by ``recipe.sh``'s unit as ``python3 -IS``; the standard library is all there is.
"""

from __future__ import annotations

import compileall
import json
import os
import pwd
import shutil
import subprocess
import sys
import termios
import tty
from pathlib import Path

HOST = Path("/host/checkout")
EXCHANGE = Path("/host/exchange")
VENV = Path("/opt/rootless")
SITE = VENV / "lib/python3.11/site-packages"
LINE = "/dev/ttyS0"
USER = "user"


def install() -> None:
    """Put the checkout where pip would have put it: on the machine's own disk, compiled. Once for each disk."""
    stamp = VENV / "installed"
    if stamp.exists():
        return
    for package in ("rootless", "storage", "tests", "contrib"):
        shutil.copytree(
            HOST / package, SITE / package, symlinks=True, ignore=shutil.ignore_patterns("__pycache__", ".*")
        )
    for package in ("rootless", "storage", "tests/support", "tests/uml"):
        compileall.compile_dir(SITE / package, quiet=2)
    for name in ("rootless", "rootless-oci"):
        shutil.copy(HOST / "contrib/launcher" / name, VENV / "bin" / name)
        (VENV / "bin" / name).chmod(0o755)
    (Path("/usr/local/bin") / "rootless").symlink_to(VENV / "bin/rootless")
    (Path("/usr/local/bin") / "rootless-oci").symlink_to(VENV / "bin/rootless-oci")
    stamp.touch()


def environment(user: str) -> dict[str, str]:
    """What a login gives ``user``; the rest of it is PAM's."""
    entry = pwd.getpwnam(user)
    path = f"{VENV}/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
    basic = {"HOME": entry.pw_dir, "USER": user, "LOGNAME": user, "LANG": "C.UTF-8", "TERM": "dumb", "PATH": path}
    if entry.pw_uid:
        basic["XDG_RUNTIME_DIR"] = f"/run/user/{entry.pw_uid}"
        basic["DBUS_SESSION_BUS_ADDRESS"] = f"unix:path=/run/user/{entry.pw_uid}/bus"
    return basic


def run(request: dict[str, object]) -> int:
    """Run one command to its end; its exit code, 128+N after a signal."""
    user = str(request["user"])
    command = ["/bin/bash", "-c", str(request["command"])]
    if user != "root":
        # A login session as any other: PAM registers it with logind, which makes its scope.
        command = ["/bin/su", "--preserve-environment", "--shell", "/bin/bash", user, *command[1:]]
    given = request.get("environment")
    assert isinstance(given, dict)
    with open(EXCHANGE / str(request["output"]), "wb", buffering=0) as output:
        done = subprocess.run(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            env={**environment(user), **given},
            cwd=pwd.getpwnam(user).pw_dir,
            start_new_session=True,
            check=False,
        )
    return done.returncode if done.returncode >= 0 else 128 - done.returncode


def serve_as_child() -> None:
    """As the first process of the machine: leave the work to a child, and reap whoever loses its parent."""
    if os.getpid() == 1 and (child := os.fork()):
        while os.wait()[0] != child:
            pass
        sys.exit(1)  # the kernel panics, and the machine ends


def main() -> None:
    """Say that the machine is up, then serve until it goes down."""
    serve_as_child()
    install()
    line = os.open(LINE, os.O_RDWR | os.O_NOCTTY)
    tty.setraw(line, termios.TCSANOW)
    with os.fdopen(line, "r+b", buffering=0) as stream:
        stream.write(b'{"ready": true}\n')
        for request in iter(stream.readline, b""):
            code = run(json.loads(request))
            stream.write(json.dumps({"code": code}).encode() + b"\n")


if __name__ == "__main__":
    main()
