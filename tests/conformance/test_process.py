"""config.md, "Process": arguments, environment, working directory, user, limits."""

from __future__ import annotations

import resource

import pytest

from tests.conformance.support import Box


def test_arguments_are_taken_as_they_are(box: Box) -> None:
    words = ["", " a  b ", "$HOME", '"', "\\n", "*", "é", "--flag"]
    out = box.output("sh", "-c", 'printf "[%s]\\n" "$@"', "sh", *words)
    assert out == "".join(f"[{word}]\n" for word in words)


def test_first_argument_is_the_programs_name(box: Box) -> None:
    assert box.output("/bin/../bin/basename", "/x/y") == "y\n"


def test_empty_arguments(box: Box) -> None:
    box.process["args"] = []
    box.write()
    assert box.call("run", "--bundle", str(box.bundle), box.id).code != 0
    assert box.status() == "absent"


def test_environment_is_the_given_one_alone(box: Box) -> None:
    box.environment["LEAKED"] = "1"
    box.process["env"] = ["PATH=/bin", "A=1", "B=a b=c", "C="]
    found = set(box.output("env").splitlines())
    assert {"PATH=/bin", "A=1", "B=a b=c", "C="} <= found
    assert {line.partition("=")[0] for line in found} <= {"PATH", "A", "B", "C", "HOME"}


def test_empty_environment(box: Box) -> None:
    box.process["env"] = []
    assert {line.partition("=")[0] for line in box.output("/bin/env").splitlines()} <= {"PATH", "HOME", "TERM"}


def test_last_of_equal_names(box: Box) -> None:
    box.process["env"] += ["A=1", "A=2"]
    assert box.sh("echo $A") == "2\n"


def test_working_directory(box: Box) -> None:
    box.process["cwd"] = "/usr/bin"
    assert box.output("pwd") == "/usr/bin\n"


def test_working_directory_is_made(box: Box) -> None:
    box.process["cwd"] = "/not/yet/there"
    assert box.output("pwd") == "/not/yet/there\n"


def test_working_directory_through_a_link(box: Box) -> None:
    (box.root / "link").symlink_to("usr/bin")
    box.process["cwd"] = "/link"
    assert box.sh("pwd -P") == "/usr/bin\n"


@pytest.mark.parametrize("cwd", ["usr/bin", "", None])
def test_working_directory_that_is_not_absolute(box: Box, cwd: str | None) -> None:
    if cwd is None:
        del box.process["cwd"]
    else:
        box.process["cwd"] = cwd
    box.refused()


def test_working_directory_that_is_a_file(box: Box) -> None:
    box.process["cwd"] = "/etc/passwd"
    box.refused()


@pytest.mark.parametrize("cwd", ["/proc/self/fd/7", "/proc/self/fd/8", "/proc/self/fd/9", "/proc/1/cwd/../.."])
def test_working_directory_does_not_lead_out(box: Box, cwd: str) -> None:
    box.process["cwd"] = cwd
    box.process["args"] = ["sh", "-c", "cat /proc/self/cwd/../../../../../../etc/hostname; ls -d ../../../var/tmp/oci*"]
    assert box.home.name not in box.run().out


def test_working_directory_of_another_user(box: Box) -> None:
    (box.root / "home/user").chmod(0o700)
    box.process["cwd"] = "/home/user"
    assert box.output("pwd") == "/home/user\n"


def test_user(box: Box) -> None:
    box.process["user"] = {"uid": 1000, "gid": 10}
    assert box.sh("id -u; id -g; id -G") == "1000\n10\n10\n"


def test_user_needs_no_entry(box: Box) -> None:
    box.process["user"] = {"uid": 4321, "gid": 1234}
    assert box.sh("id -u; id -g") == "4321\n1234\n"


def test_additional_groups(box: Box) -> None:
    box.process["user"] = {"uid": 1000, "gid": 1000, "additionalGids": [10, 29, 65000]}
    assert set(box.output("id", "-G").split()) == {"1000", "10", "29", "65000"}


def test_no_groups_of_the_host(box: Box) -> None:
    assert set(box.output("id", "-G").split()) <= {"0"}


def test_user_owns_what_he_makes(box: Box) -> None:
    box.process["user"] = {"uid": 1000, "gid": 29}
    assert box.sh("touch /tmp/file; stat -c '%u %g' /tmp/file") == "1000 29\n"


@pytest.mark.parametrize(("mask", "mode"), [(0o077, "600"), (0, "666"), (0o027, "640")])
def test_umask(box: Box, mask: int, mode: str) -> None:
    box.process["user"]["umask"] = mask
    assert box.sh("umask; touch /tmp/file; stat -c %a /tmp/file").split() == [f"{mask:04o}", mode]


def test_umask_by_default(box: Box) -> None:
    assert box.sh("umask") == "0022\n"


@pytest.mark.as_user
def test_user_outside_the_map(box: Box) -> None:
    box.process["user"] = {"uid": 4000000, "gid": 0}
    box.refused()


def limits(text: str) -> dict[str, tuple[str, str]]:
    found = {}
    for line in text.splitlines()[1:]:
        name, soft, hard = line[:26].strip(), *line[26:].split()[:2]
        found[name] = (soft, hard)
    return found


KINDS = {
    "RLIMIT_CORE": ("Max core file size", 1000, 2000),
    "RLIMIT_CPU": ("Max cpu time", 100, 200),
    "RLIMIT_DATA": ("Max data size", 1 << 30, 1 << 31),
    "RLIMIT_FSIZE": ("Max file size", 1 << 20, 1 << 21),
    "RLIMIT_LOCKS": ("Max file locks", 10, 20),
    "RLIMIT_MEMLOCK": ("Max locked memory", 4096, 8192),
    "RLIMIT_MSGQUEUE": ("Max msgqueue size", 4096, 8192),
    "RLIMIT_NICE": ("Max nice priority", 0, 0),
    "RLIMIT_NOFILE": ("Max open files", 100, 200),
    "RLIMIT_NPROC": ("Max processes", 1000, 2000),
    "RLIMIT_RSS": ("Max resident set", 1 << 20, 1 << 21),
    "RLIMIT_RTPRIO": ("Max realtime priority", 0, 0),
    "RLIMIT_RTTIME": ("Max realtime timeout", 1000, 2000),
    "RLIMIT_SIGPENDING": ("Max pending signals", 100, 200),
    "RLIMIT_STACK": ("Max stack size", 1 << 22, 1 << 23),
    "RLIMIT_AS": ("Max address space", 1 << 33, 1 << 34),
}


def test_all_limits(box: Box) -> None:
    box.process["rlimits"] = [{"type": kind, "soft": soft, "hard": hard} for kind, (_, soft, hard) in KINDS.items()]
    found = limits(box.output("cat", "/proc/self/limits"))
    assert {name: found[name] for name, _, _ in KINDS.values()} == {
        name: (str(soft), str(hard)) for name, soft, hard in KINDS.values()
    }


def test_infinite_limit(box: Box) -> None:
    infinite = (1 << 64) - 1
    box.process["rlimits"] = [{"type": "RLIMIT_CPU", "soft": 50, "hard": infinite}]
    assert limits(box.output("cat", "/proc/self/limits"))["Max cpu time"] == ("50", "unlimited")


def test_unknown_limit(box: Box) -> None:
    box.process["rlimits"] = [{"type": "RLIMIT_NONSENSE", "soft": 1, "hard": 1}]
    box.refused()


def test_limit_given_twice(box: Box) -> None:
    box.process["rlimits"] = [{"type": "RLIMIT_CORE", "soft": 1, "hard": 1}] * 2
    box.refused()


def test_soft_limit_above_the_hard_one(box: Box) -> None:
    box.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": 200, "hard": 100}]
    box.refused()


@pytest.mark.as_user
def test_limit_that_cannot_be_raised(box: Box) -> None:
    hard = resource.getrlimit(resource.RLIMIT_NOFILE)[1]
    box.process["rlimits"] = [{"type": "RLIMIT_NOFILE", "soft": hard + 1, "hard": hard + 1}]
    box.refused()


@pytest.mark.parametrize("value", [True, False])
def test_no_new_privileges(box: Box, value: bool) -> None:
    box.process["noNewPrivileges"] = value
    assert box.sh("grep NoNewPrivs /proc/self/status").split()[1] == str(int(value))


def test_oom_score(box: Box) -> None:
    box.process["oomScoreAdj"] = 500
    assert box.output("cat", "/proc/self/oom_score_adj") == "500\n"


def test_oom_score_by_default_is_the_callers(box: Box) -> None:
    with open("/proc/self/oom_score_adj") as own:
        assert box.output("cat", "/proc/self/oom_score_adj") == own.read()


def test_descriptors_of_the_caller_stay_outside(box: Box) -> None:
    with open("/etc/hostname") as leaked:
        box.process["args"] = ["sh", "-c", "ls /proc/self/fd"]
        done = box.run(fds=[leaked.fileno()])
    assert set(done.out.split()) <= {"0", "1", "2", "3"}, done


def test_preserved_descriptors(box: Box) -> None:
    box.prefix = ["sh", "-c", f'exec "$@" 3>{box.home}/out 4>{box.home}/no', "sh"]
    box.process["args"] = ["sh", "-c", "echo inside >&3; ! (echo no >&4) 2>/dev/null"]
    done = box.run("--preserve-fds", "1")
    assert done.code == 0, done
    assert (box.home / "out").read_text() == "inside\n" and (box.home / "no").read_text() == ""
