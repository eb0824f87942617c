"""config-linux.md, "Seccomp"."""

from __future__ import annotations

import errno
import os

import pytest

from tests.conformance.support import Box, seccomp

MKDIR = ["mkdir", "mkdirat"]
TRY = "mkdir /tmp/new 2>&1; test -d /tmp/new && echo made; true"


def rule(action: str, *names: str, **more: object) -> dict[str, object]:
    return {"names": list(names) or MKDIR, "action": action, **more}


def test_errno(box: Box) -> None:
    box.linux["seccomp"] = seccomp(rule("SCMP_ACT_ERRNO"))
    out = box.sh(TRY)
    assert "Operation not permitted" in out and "made" not in out


@pytest.mark.since("errnoRet")
def test_chosen_errno(box: Box) -> None:
    box.linux["seccomp"] = seccomp(rule("SCMP_ACT_ERRNO", errnoRet=errno.EXDEV))
    assert os.strerror(errno.EXDEV).lower() in box.sh(TRY).lower()


@pytest.mark.since("defaultErrnoRet")
def test_default_errno(box: Box) -> None:
    names = "mkdir mkdirat".split()
    allowed = [line for line in SYSCALLS.split() if line not in names]
    box.linux["seccomp"] = seccomp(
        rule("SCMP_ACT_ALLOW", *allowed), default="SCMP_ACT_ERRNO", defaultErrnoRet=errno.EXDEV
    )
    assert os.strerror(errno.EXDEV).lower() in box.sh(TRY).lower()


def test_allow_list(box: Box) -> None:
    allowed = [line for line in SYSCALLS.split() if line not in MKDIR]
    box.linux["seccomp"] = seccomp(rule("SCMP_ACT_ALLOW", *allowed), default="SCMP_ACT_ERRNO")
    assert "Operation not permitted" in box.sh(TRY)


@pytest.mark.parametrize("action", ["SCMP_ACT_KILL", "SCMP_ACT_KILL_THREAD", "SCMP_ACT_KILL_PROCESS", "SCMP_ACT_TRAP"])
def test_end_by_sigsys(box: Box, action: str) -> None:
    box.linux["seccomp"] = seccomp(rule(action))
    assert "code 159" in box.sh("mkdir /tmp/new; echo code $?")


def test_trace_without_a_tracer(box: Box) -> None:
    box.linux["seccomp"] = seccomp(rule("SCMP_ACT_TRACE"))
    assert "not implemented" in box.sh(TRY)


@pytest.mark.parametrize("action", ["SCMP_ACT_LOG", "SCMP_ACT_ALLOW"])
def test_let_through(box: Box, action: str) -> None:
    box.linux["seccomp"] = seccomp(rule(action))
    assert box.sh(TRY) == "made\n"


@pytest.mark.parametrize(
    ("operator", "value", "value_two", "denied"),
    [
        ("SCMP_CMP_EQ", 0o700, 0, {"700"}),
        ("SCMP_CMP_NE", 0o700, 0, {"600", "755"}),
        ("SCMP_CMP_LT", 0o700, 0, {"600"}),
        ("SCMP_CMP_LE", 0o700, 0, {"600", "700"}),
        ("SCMP_CMP_GT", 0o700, 0, {"755"}),
        ("SCMP_CMP_GE", 0o700, 0, {"700", "755"}),
        ("SCMP_CMP_MASKED_EQ", 0o100, 0o100, {"700", "755"}),
    ],
)
def test_arguments(box: Box, operator: str, value: int, value_two: int, denied: set[str]) -> None:
    box.linux["seccomp"] = seccomp(
        *(
            rule(
                "SCMP_ACT_ERRNO",
                name,
                args=[{"index": index, "value": value, "valueTwo": value_two, "op": operator}],
            )
            for name, index in (("chmod", 1), ("fchmodat", 2), ("fchmodat2", 2))
        )
    )
    out = box.sh("for mode in 600 700 755; do chmod $mode /tmp 2>/dev/null || echo $mode; done")
    assert set(out.split()) == denied


def test_several_arguments_must_all_match(box: Box) -> None:
    both = [{"index": 0, "value": 1 << 40, "op": "SCMP_CMP_EQ"}, {"index": 1, "value": 0o700, "op": "SCMP_CMP_EQ"}]
    box.linux["seccomp"] = seccomp(rule("SCMP_ACT_ERRNO", "chmod", args=both))
    assert box.sh("chmod 700 /tmp && echo done") == "done\n"


def test_unknown_system_call_is_left_out(box: Box) -> None:
    allowed = [line for line in SYSCALLS.split() if line not in MKDIR]
    box.linux["seccomp"] = seccomp(rule("SCMP_ACT_ALLOW", *allowed, "nonsense"), default="SCMP_ACT_ERRNO")
    assert "Operation not permitted" in box.sh(TRY)


def test_unknown_system_call_that_nothing_else_denies(box: Box) -> None:
    """Refused, as nobody can do what the rule wants, or left out, as the peers do; the rest of the rule holds."""
    box.linux["seccomp"] = seccomp(rule("SCMP_ACT_ERRNO", *MKDIR, "nonsense"))
    box.process["args"] = ["sh", "-c", TRY]
    done = box.run()
    assert "Operation not permitted" in done.out if done.code == 0 else "nonsense" in done.err


@pytest.mark.since("seccomp flags")
@pytest.mark.parametrize("flag", ["SECCOMP_FILTER_FLAG_LOG", "SECCOMP_FILTER_FLAG_SPEC_ALLOW"])
def test_flag(box: Box, flag: str) -> None:
    box.linux["seccomp"] = seccomp(rule("SCMP_ACT_ERRNO"), flags=[flag])
    assert "Operation not permitted" in box.sh(TRY)


def test_further_architectures(box: Box) -> None:
    box.linux["seccomp"] = seccomp(rule("SCMP_ACT_ERRNO"))
    if os.uname().machine == "x86_64":
        box.linux["seccomp"]["architectures"] += ["SCMP_ARCH_X86", "SCMP_ARCH_X32"]
    assert "Operation not permitted" in box.sh(TRY)


@pytest.mark.parametrize(
    "given",
    [
        seccomp(rule("SCMP_ACT_NONSENSE")),
        seccomp(default="SCMP_ACT_NONSENSE"),
        seccomp(rule("SCMP_ACT_ERRNO"), flags=["SECCOMP_FILTER_FLAG_NONSENSE"]),
        seccomp(rule("SCMP_ACT_ERRNO", args=[{"index": 0, "value": 0, "op": "SCMP_CMP_NONSENSE"}])),
        seccomp(rule("SCMP_ACT_ERRNO", args=[{"index": 6, "value": 0, "op": "SCMP_CMP_EQ"}])),
        {**seccomp(rule("SCMP_ACT_ERRNO")), "architectures": ["SCMP_ARCH_NONSENSE"]},
    ],
    ids=["action", "default", "flag", "operator", "index", "architecture"],
)
def test_unknown_word(box: Box, given: dict[str, object]) -> None:
    box.linux["seccomp"] = given
    box.refused()


def test_mode_shows_in_status(box: Box) -> None:
    box.linux["seccomp"] = seccomp(rule("SCMP_ACT_ERRNO"))
    assert box.sh("grep ^Seccomp: /proc/self/status").split()[1] == "2"
    del box.linux["seccomp"]
    assert box.sh("grep ^Seccomp: /proc/self/status").split()[1] == "0"


@pytest.mark.parametrize("value", [True, False])
def test_with_and_without_new_privileges(box: Box, value: bool) -> None:
    box.process["noNewPrivileges"] = value
    box.linux["seccomp"] = seccomp(rule("SCMP_ACT_ERRNO"))
    assert "Operation not permitted" in box.sh(TRY)


def test_exec_is_filtered(box: Box) -> None:
    box.linux["seccomp"] = seccomp(rule("SCMP_ACT_ERRNO"))
    box.sleep()
    assert "Operation not permitted" in box.executed("sh", "-c", TRY)


SYSCALLS = """
access arch_prctl bind brk capget capset chdir chmod chown clone clone3 close close_range connect copy_file_range dup
dup2 dup3 epoll_create1 epoll_ctl epoll_pwait epoll_wait eventfd2 execve execveat exit exit_group faccessat faccessat2
fadvise64 fchdir fchmod fchmodat fchown fchownat fcntl fgetxattr fstat fstatfs ftruncate futex getcwd getdents
getdents64 getegid geteuid getgid getgroups getpgid getpgrp getpid getppid getpriority getrandom getresgid getresuid
getrlimit getrusage getsid getsockname getsockopt gettid gettimeofday getuid getxattr ioctl kill lgetxattr link linkat
listen lseek lstat madvise membarrier memfd_create mkdir mkdirat mmap mount mprotect mremap msync munmap nanosleep
newfstatat open openat openat2 pause pidfd_open pidfd_send_signal pipe pipe2 poll ppoll prctl pread64 prlimit64 pselect6
pwrite64 read readlink readlinkat readv recvfrom recvmsg rename renameat renameat2 restart_syscall rmdir rseq
rt_sigaction rt_sigpending rt_sigprocmask rt_sigqueueinfo rt_sigreturn rt_sigsuspend rt_sigtimedwait
sched_getaffinity sched_getattr sched_getparam sched_getscheduler sched_setaffinity sched_setattr sched_yield
seccomp select sendfile sendmsg sendto set_robust_list set_tid_address setfsgid setfsuid setgid setgroups setpgid
setpriority setregid setresgid setresuid setreuid setrlimit setsid setsockopt setuid shutdown sigaltstack socket
socketpair splice stat statfs statx symlink symlinkat sysinfo tgkill timer_create timer_delete timer_settime times
tkill truncate umask uname unlink unlinkat utime utimensat utimes vfork wait4 waitid write writev clock_gettime
clock_getres clock_nanosleep epoll_create keyctl mknod mknodat ioprio_get ioprio_set unshare setns umount2 pivot_root
fsopen fsconfig fsmount fspick open_tree move_mount mount_setattr personality sethostname setdomainname
"""
