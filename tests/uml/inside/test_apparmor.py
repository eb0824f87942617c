"""AppArmor, enforced by the kernel. Root has loaded ``contrib/apparmor`` and ``forbidden.apparmor``."""

from __future__ import annotations

from tests.uml.inside.session import IMAGE, Session

CURRENT = ("cat", "/proc/self/attr/current")
FORBIDDEN = "/srv/second-layer"  # what the profile denies
RUN = ("run", "--rm", "--network", "none")
DETACHED = ("run", "--detach", "--network", "none")


def test_default_profile_is_entered(rootless: Session) -> None:
    """A container has the profile of contrib, and what is executed in it later has, too."""
    assert rootless.ok(*RUN, IMAGE, *CURRENT) == "rootless-container (enforce)\n"
    rootless.ok(*DETACHED, "--name", "default", IMAGE, "sleep", "1000")
    assert rootless.ok("exec", "default", *CURRENT) == "rootless-container (enforce)\n"
    assert rootless.ok("inspect", "--format", "{{.AppArmorProfile}}", "default") == "rootless-container\n"


def test_default_profile_denies_mounts(rootless: Session) -> None:
    """Also to who has the capability and every system call."""
    powerful = ("--cap-add", "SYS_ADMIN", "--security-opt", "seccomp=unconfined")
    mount = (IMAGE, "mount", "-t", "tmpfs", "none", "/mnt")
    denied = rootless.run(*RUN, *powerful, "--tmpfs", "/mnt", *mount)
    assert denied.returncode != 0 and "denied" in denied.stderr.lower()
    rootless.ok(*RUN, *powerful, "--security-opt", "apparmor=unconfined", "--tmpfs", "/mnt", *mount)


def test_denied_file_stays_denied(rootless: Session) -> None:
    """In the container's program, in its children and in ``exec``, root or not."""
    profile = ("--security-opt", "apparmor=forbidden")
    denied = rootless.run(*RUN, *profile, IMAGE, "sh", "-c", f"cat /etc/os-release && sh -c 'cat {FORBIDDEN}'")
    assert denied.returncode == 1
    assert "ID=busybox" in denied.stdout and "second" not in denied.stdout
    rootless.ok(*DETACHED, "--name", "denied", *profile, IMAGE, "sleep", "1000")
    for user in ("0", "1000"):
        done = rootless.run("exec", "--user", user, "denied", "cat", FORBIDDEN)
        assert (done.returncode, done.stdout) == (1, "")
        assert rootless.ok("exec", "--user", user, "denied", *CURRENT) == "forbidden (enforce)\n"


def test_unconfined(rootless: Session) -> None:
    """The file can be read without the profile: it was the profile that denied it."""
    assert rootless.ok(*RUN, "--security-opt", "apparmor=unconfined", IMAGE, "cat", FORBIDDEN) == "second\n"
    assert rootless.ok(*RUN, "--security-opt", "apparmor=unconfined", IMAGE, *CURRENT) == "unconfined\n"


def test_profile_that_is_not_loaded_is_refused_row_64(rootless: Session) -> None:
    """Before anything is started."""
    told = rootless.fails(125, *RUN, "--security-opt", "apparmor=absent", IMAGE, "true")
    assert "absent" in told and "hint:" in told
