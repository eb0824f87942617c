"""What the profile of ``contrib/apparmor`` itself keeps from a container, and what it lets be."""

from __future__ import annotations

import subprocess

from tests.uml.inside.session import IMAGE, Session

RUN = ("run", "--rm", "--network", "none")
OPEN = ("--security-opt", "seccomp=unconfined", "--security-opt", "unmask=ALL", "--cap-add", "all")
SOCKETS = """
import errno, socket
for family, kind in ((38, 5), (40, 1), (33, 2), (30, 1)):
    try:
        socket.socket(family, kind); print(family, "opened")
    except OSError as error:
        print(family, errno.errorcode[error.errno])
socket.socket(socket.AF_INET); socket.socketpair(); socket.socket(16, 3, 0)
print("usual ones open")
"""


def test_every_process_has_the_profile(rootless: Session) -> None:
    """The first process of --init, its program, users other than root, and what a monitor holds."""
    both = ("sh", "-c", "cat /proc/1/attr/current /proc/self/attr/current")
    for flags in ("--init", "-u 1000", "--init -u 1000", "--security-opt no-new-privileges", "-t"):
        output = rootless.ok(*RUN, *flags.split(), IMAGE, *both)
        assert output.split() == ["rootless-container", "(enforce)"] * 2, (flags, output)


def test_power_does_not_help(rootless: Session) -> None:
    """With every capability, system call and path: no mounts, nothing of the machine's settings, none of its keys."""
    script = (
        "mount -t tmpfs x /mnt; mount --bind /etc /mnt; echo 1 >/proc/sysrq-trigger; cat /proc/kcore;"
        "echo 1 >/proc/sys/vm/drop_caches; echo x >/proc/sys/kernel/core_pattern; echo x >/proc/sys/kernel/modprobe"
    )
    done = rootless.run(*RUN, *OPEN, "--tmpfs", "/mnt", IMAGE, "sh", "-c", script)
    assert done.stdout == ""
    assert done.stderr.count("ermission denied") == 7, done.stderr


def test_what_belongs_to_the_container_can_be_set(rootless: Session) -> None:
    script = (
        "echo 65537 >/proc/sys/kernel/shmmax && echo 1 >/proc/sys/net/ipv4/ip_forward"
        " && echo 500 >/proc/self/oom_score_adj && cat /proc/sys/kernel/shmmax"
    )
    assert rootless.ok(*RUN, *OPEN, IMAGE, "sh", "-c", script) == "65537\n"


def test_signals_stay_among_containers(rootless: Session) -> None:
    """A container that sees the host's processes signals and traces its own alone; it can be stopped from outside."""
    rootless.ok("run", "-d", "--name", "other", "--network", "none", IMAGE, "sleep", "1000")
    script = "sleep 100 & kill $! && echo own; kill -0 $HOST; kill -9 $HOST"
    found = subprocess.Popen(["sleep", "1000"])
    try:
        done = rootless.run(*RUN, "--pid", "host", "-e", f"HOST={found.pid}", IMAGE, "sh", "-c", script)
        assert done.stdout == "own\n" and found.poll() is None
        rootless.ok("stop", "-t", "5", "other")
    finally:
        found.kill()
        found.wait()


def test_families_that_the_filter_cannot_see_row_98(rootless: Session) -> None:
    """security row 98: sockets of AF_ALG and its kin, where no filter of system calls is in the way."""
    volumes = ("--rootfs", "/:O", "/usr/bin/python3", "-c", SOCKETS)
    lines = rootless.ok(*RUN, "--security-opt", "seccomp=unconfined", *volumes).splitlines()
    assert lines[-1] == "usual ones open"
    assert all(line.endswith(("EACCES", "EAFNOSUPPORT")) for line in lines[:-1]), lines
    assert lines[0] == "38 EACCES"


def test_a_nested_engine_goes_without(rootless: Session) -> None:
    """Its mounts would be denied."""
    for flag in ("--nested", "--privileged"):
        assert rootless.ok(*RUN, flag, IMAGE, "cat", "/proc/self/attr/current") == "unconfined\n"
    assert "AppArmor: containers have the profile rootless-container" in rootless.ok("doctor")
