"""Run a command as the unprivileged test user: ``python -m tests.support.as_user COMMAND …``.

An ordinary user keeps his identity and what he has. Root is replaced by the user that ``contrib/provision-tests``
makes, but only where changing the machine is allowed: in a container, or where ``CI=true``.
"""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
import sys
from pathlib import Path

PROVISION = Path(__file__).parents[2] / "contrib" / "provision-tests"
KEPT = ("CI", "LANG", "TERM", "VIRTUAL_ENV", "PIP_CERT", "SSL_CERT_FILE", "PYTHONDONTWRITEBYTECODE")
PREFIX = "ROOTLESS_TEST_"


def provisioned_user() -> str:
    """Make (or find) the test user; its name is what the provisioning script prints last. Raises SystemExit."""
    done = subprocess.run(["sh", str(PROVISION)], stdout=subprocess.PIPE, text=True, check=False)
    if done.returncode != 0 or not done.stdout.strip():
        raise SystemExit(done.returncode or 1)
    return done.stdout.strip().splitlines()[-1]


def become(name: str) -> dict[str, str]:
    """Drop every privilege for those of the user ``name``; returns the environment of his fresh session."""
    entry = pwd.getpwnam(name)
    environment = {key: value for key, value in os.environ.items() if key in KEPT or key.startswith(PREFIX)}
    environment |= {"HOME": entry.pw_dir, "USER": name, "LOGNAME": name, "SHELL": "/bin/sh"}
    own_programs = str(Path(sys.executable).parent)
    directories = [own_programs, *"/usr/local/sbin /usr/local/bin /usr/sbin /usr/bin /sbin /bin".split()]
    environment["PATH"] = ":".join([*directories, environment.get("ROOTLESS_TEST_PATH", "/usr/bin")])
    os.setgroups([group.gr_gid for group in grp.getgrall() if name in group.gr_mem])
    os.setresgid(entry.pw_gid, entry.pw_gid, entry.pw_gid)
    os.setresuid(entry.pw_uid, entry.pw_uid, entry.pw_uid)
    os.umask(0o022)
    return environment


def main(command: list[str]) -> None:
    """Replace this process by ``command``, run as an unprivileged user."""
    if not command:
        raise SystemExit("usage: python -m tests.support.as_user COMMAND [ARGUMENT…]")
    environment = dict(os.environ)
    if os.getuid() == 0:
        name = provisioned_user()
        if sys.prefix != sys.base_prefix:
            Path(sys.prefix).parent.chmod(0o755)  # tox closes the directory of its environments to other users
        environment = become(name)
    if not os.access(__file__, os.R_OK):
        raise SystemExit(f"the test user cannot read {Path(__file__).parents[2]}: copy it to a place open to all")
    sys.stdout.flush()
    try:
        os.execvpe(command[0], command, environment)
    except OSError as error:
        raise SystemExit(f"cannot run {command[0]}: {error.strerror}") from error


if __name__ == "__main__":
    main(sys.argv[1:])
