"""The system call filter against the kernel itself."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from rootless.security import capabilities, seccomp
from tests.support import sandbox

pytestmark = [pytest.mark.needs("userns", "seccomp", "libseccomp", "gcc")]

DEFAULT = capabilities.mask(capabilities.DEFAULT)
REACHED_BY_DEFAULT = {"NETLINK_AUDIT", "ptrace", "process_vm_readv", "name_to_handle_at", "setuid_gain"}


@pytest.fixture(scope="session")
def probe(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return sandbox.build_probe(tmp_path_factory.mktemp("probe"))


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def confined(
    probe: Path, directory: Path, program: bytes, *arguments: str, caps: int = DEFAULT
) -> dict[str, tuple[bool, int]]:
    """{entry point: (reached, errno)} of the probe under ``program``."""
    file = directory / "filter"
    file.write_bytes(program)
    done = sandbox.run(file, caps, probe, *arguments)
    assert done.returncode == 0, done.stderr
    found = {}
    for line in done.stdout.splitlines():
        name, word, error = line.split()
        found[name] = (word == "reached", int(error))
    return found


def reached(found: dict[str, tuple[bool, int]]) -> set[str]:
    return {name for name, (answer, _) in found.items() if answer}


def test_without_filter_the_probe_finds_the_kernel_open(probe: Path, tmp_path: Path) -> None:
    assert len(reached(confined(probe, tmp_path, b""))) >= 20


def test_default_profile_leaves_few_entry_points(probe: Path, tmp_path: Path) -> None:
    found = confined(probe, tmp_path, seccomp.program(None, capabilities.DEFAULT))
    assert len(found) == 51
    print(f"reached by default: {len(reached(found))} of {len(found)}: {sorted(reached(found))}")
    assert reached(found) <= REACHED_BY_DEFAULT


def test_hardened_profile_leaves_fewer(probe: Path, tmp_path: Path) -> None:
    found = confined(probe, tmp_path, seccomp.program(None, capabilities.HARDENED, hardened=True))
    print(f"reached hardened: {len(reached(found))} of {len(found)}: {sorted(reached(found))}")
    assert reached(found) <= REACHED_BY_DEFAULT - {"process_vm_readv", "name_to_handle_at"}


def test_answers_that_programs_expect(probe: Path, tmp_path: Path) -> None:
    found = confined(probe, tmp_path, seccomp.program(None, capabilities.DEFAULT))
    assert found["NETLINK_AUDIT"][1] == 22  # EINVAL: "no audit in this kernel"
    assert found["unshare_user"][1] == 1
    assert found["mount"][1] == 1
    assert found["io_uring_setup"][1] == 38


def test_the_32_bit_gate_is_filtered_too(probe: Path, tmp_path: Path) -> None:
    found = confined(probe, tmp_path, seccomp.program(None, capabilities.DEFAULT), "32")
    if not found["getpid"][0]:
        pytest.skip("needs a kernel that runs 32-bit programs")
    # socketcall's own arguments are in memory: it works as a whole, whatever is in the unused registers.
    assert reached(found) == {"socket_unix", "socketcall_unix", "socketcall_setsockopt", "getpid"}
    hardened = confined(probe, tmp_path, seccomp.program(None, capabilities.HARDENED, hardened=True), "32")
    assert reached(hardened) == {"socket_unix", "getpid"}


@pytest.mark.parametrize(
    ("capability", "opened"),
    [
        ("CAP_SYS_ADMIN", {"mount", "unshare_user", "fsopen", "fanotify_init", "setns"}),
        ("CAP_NET_ADMIN", {"NETLINK_NETFILTER", "NETLINK_XFRM"}),
        ("CAP_SYS_PTRACE", {"kcmp", "pidfd_getfd"}),
    ],
)
def test_a_capability_opens_its_calls(probe: Path, tmp_path: Path, capability: str, opened: set[str]) -> None:
    names = {*capabilities.DEFAULT, capability}
    found = confined(probe, tmp_path, seccomp.program(None, names), caps=capabilities.mask(names))
    assert opened <= reached(found)


def test_a_denial_beats_a_general_permission(probe: Path, tmp_path: Path) -> None:
    profile = {
        "defaultAction": "SCMP_ACT_ALLOW",
        "syscalls": [
            {"names": ["keyctl"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13},
            {
                "names": ["socket"],
                "action": "SCMP_ACT_ERRNO",
                "args": [{"index": 0, "value": 40, "op": "SCMP_CMP_EQ"}],
            },
        ],
    }
    file = tmp_path / "profile.json"
    file.write_text(json.dumps(profile))
    found = confined(probe, tmp_path, seccomp.program(str(file), capabilities.DEFAULT))
    assert found["keyctl"] == (False, 13)
    assert found["AF_VSOCK"] == (False, 1)
    assert found["ptrace"][0]


def test_a_denial_beats_an_unconditional_permission(probe: Path, tmp_path: Path) -> None:
    everything = seccomp.built_in()
    everything["syscalls"] = everything["syscalls"] + [
        {"names": ["ptrace"], "action": "SCMP_ACT_ERRNO", "errnoRet": 13},
        {
            "names": ["process_vm_readv"],
            "action": "SCMP_ACT_ERRNO",
            "errnoRet": 13,
            "args": [{"index": 5, "value": 0, "op": "SCMP_CMP_EQ"}],
        },
    ]
    found = confined(probe, tmp_path, seccomp.program(everything, capabilities.DEFAULT))
    assert found["ptrace"] == (False, 13)
    assert found["process_vm_readv"] == (False, 13)
    assert found["name_to_handle_at"][0]


def test_podmans_profile_works(probe: Path, tmp_path: Path) -> None:
    file = Path("/usr/share/containers/seccomp.json")
    if not file.exists():
        pytest.skip("needs podman's profile")
    found = confined(probe, tmp_path, seccomp.program(str(file), capabilities.DEFAULT))
    assert found["bpf"][1] == 1
    assert found["unshare_user"][0]
