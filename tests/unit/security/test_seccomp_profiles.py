"""Reading of profiles, and the cache of compiled ones."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.errors import RootlessError
from rootless.security import capabilities, seccomp, seccomp_profile

ALLOW: dict[str, Any] = {"names": ["read"], "action": "SCMP_ACT_ALLOW"}


@pytest.fixture(autouse=True)
def _own_cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))


def resolve(rule: dict[str, Any], caps: set[str] | None = None, **where: str) -> list[Any]:
    profile = seccomp_profile.check({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule]})
    return list(seccomp_profile.to_spec(profile, caps or set(), **where)["syscalls"])


@pytest.mark.parametrize(
    "text",
    [
        "", "[]", "{", "null", '{"syscalls": 3}', '{"syscalls": [3]}', '{"syscalls": [{}]}',
        '{"defaultAction": "SCMP_ACT_SLEEP"}', '{"defaultAction": ["x"]}', '{"defaultErrnoRet": -1}',
        '{"flags": ["SECCOMP_FILTER_FLAG_X"]}', '{"listenerPath": 1}', '{"archMap": [{}]}',
        '{"syscalls": [{"names": ["read"]}]}', '{"syscalls": [{"names": [3], "action": "SCMP_ACT_ALLOW"}]}',
        '{"syscalls": [{"names": ["read"], "action": "SCMP_ACT_NOTIFY"}]}',
        '{"syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"op": "SCMP_CMP_EQ"}]}]}',
        '{"syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 6, "op": "SCMP_CMP_EQ"}]}]}',
        '{"syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "args": [{"index": 0, "op": "EQ"}]}]}',
        '{"syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "includes": {"os": ["linux"]}}]}',
        '{"syscalls": [{"names": ["read"], "action": "SCMP_ACT_ALLOW", "includes": {"minKernel": "new"}}]}',
    ],
)  # fmt: skip
def test_bad_profiles_are_refused(text: str) -> None:
    with pytest.raises(RootlessError, match="cannot use the seccomp profile FILE"):
        seccomp_profile.parse(text.encode(), "FILE")


KEYS = ("syscalls", "names", "action", "args", "includes", "caps", "archMap", "flags", "minKernel")
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.sampled_from(KEYS), inner, max_size=4),
    max_leaves=12,
)


@given(DOCUMENTS)
def test_any_document_is_read_or_refused(document: Any) -> None:
    try:
        seccomp_profile.to_spec(seccomp_profile.check(document), set())
    except RootlessError:
        pass


def test_conditions_on_capabilities() -> None:
    wants = {**ALLOW, "includes": {"caps": ["CAP_A", "CAP_B"]}}
    assert not resolve(wants, {"CAP_A"})
    assert resolve(wants, {"CAP_A", "CAP_B"}) == [ALLOW]
    without = {**ALLOW, "excludes": {"caps": ["CAP_A", "CAP_B"]}}
    assert resolve(without) and not resolve(without, {"CAP_B"})


def test_conditions_on_machine_and_kernel() -> None:
    arm = {**ALLOW, "includes": {"arches": ["arm64"]}}
    assert resolve(arm, machine="aarch64") and not resolve(arm, machine="x86_64")
    assert not resolve({**ALLOW, "excludes": {"arches": ["amd64"]}}, machine="x86_64")
    new = {**ALLOW, "includes": {"minKernel": "5.10"}}
    assert resolve(new, release="5.10.0-1") and resolve(new, release="6.1") and not resolve(new, release="5.9.99")


def test_architectures_of_the_machine() -> None:
    spec = seccomp_profile.to_spec(seccomp.built_in(), set(), machine="x86_64")
    assert spec["architectures"] == ["SCMP_ARCH_X86_64", "SCMP_ARCH_X86"]


def test_old_form_with_one_name() -> None:
    assert resolve({"name": "read", "action": "SCMP_ACT_ALLOW"}) == [ALLOW]


@pytest.mark.parametrize("hardened", [False, True])
def test_built_in_profile_is_a_spec(hardened: bool) -> None:
    spec = seccomp.default_profile(capabilities.DEFAULT, hardened)
    assert json.loads(json.dumps(spec)) == spec
    assert all(set(rule) <= {"names", "action", "errnoRet", "args"} for rule in spec["syscalls"])
    allowed = {name for rule in spec["syscalls"] if rule["action"] == "SCMP_ACT_ALLOW" for name in rule["names"]}
    assert {"read", "execve", "ptrace"} <= allowed
    assert not allowed & {"mount", "unshare", "setns", "bpf", "keyctl", "io_uring_setup", "userfaultfd", "modify_ldt"}


@pytest.mark.needs("libseccomp")
class TestCache:
    def entries(self, directory: Path) -> list[Path]:
        return sorted((directory / "cache/rootless/seccomp").iterdir())

    def test_a_second_call_reads_it(self, tmp_path: Path) -> None:
        first = seccomp.program(None, capabilities.DEFAULT)
        (entry,) = self.entries(tmp_path)
        assert entry.stat().st_mode & 0o777 == 0o600 and entry.parent.stat().st_mode & 0o777 == 0o700
        assert len(first) % 8 == 0
        before = entry.stat().st_ino
        assert seccomp.program(None, capabilities.DEFAULT) == first
        assert entry.stat().st_ino == before

    def test_each_set_of_capabilities_has_its_own(self, tmp_path: Path) -> None:
        assert seccomp.program(None, capabilities.DEFAULT) != seccomp.program(None, ["CAP_SYS_ADMIN"])
        assert len(self.entries(tmp_path)) == 2

    @pytest.mark.parametrize("damage", ["cut", "bit", "empty", "mode", "link", "fifo"])
    def test_a_damaged_entry_is_made_again(self, tmp_path: Path, damage: str) -> None:
        good = seccomp.program(None, capabilities.DEFAULT)
        (entry,) = self.entries(tmp_path)
        data = bytearray(entry.read_bytes())
        if damage == "cut":
            entry.write_bytes(data[:-16])
        elif damage == "bit":
            data[100] ^= 1
            entry.write_bytes(data)
        elif damage == "empty":
            entry.write_bytes(b"")
        elif damage == "mode":
            entry.chmod(0o666)
        elif damage == "link":
            entry.rename(tmp_path / "elsewhere")
            entry.symlink_to(tmp_path / "elsewhere")
        else:
            entry.unlink()
            os.mkfifo(entry, 0o600)
        assert seccomp.program(None, capabilities.DEFAULT) == good
        assert entry.stat().st_mode == 0o100600 and not entry.is_symlink()

    def test_a_cache_that_cannot_be_written(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        (tmp_path / "file").write_text("")
        monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "file"))
        assert seccomp.program(None, capabilities.DEFAULT)

    def test_unknown_names(self) -> None:
        strict = {"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [{**ALLOW, "names": ["read", "frobnicate"]}]}
        assert seccomp.program(seccomp_profile.check(strict), [])
        loose = {
            "defaultAction": "SCMP_ACT_ALLOW",
            "syscalls": [{"names": ["frobnicate"], "action": "SCMP_ACT_ERRNO"}],
        }
        with pytest.raises(RootlessError, match="frobnicate"):
            seccomp.program(seccomp_profile.check(loose), [])

    def test_unknown_architecture(self) -> None:
        with pytest.raises(RootlessError, match="SCMP_ARCH_VAX"):
            seccomp.program({"defaultAction": "SCMP_ACT_ERRNO", "architectures": ["SCMP_ARCH_VAX"]}, [])

    def test_conditions_on_one_argument_are_alternatives(self) -> None:
        values = [{"index": 0, "value": value, "op": "SCMP_CMP_EQ"} for value in (1, 2)]
        rule = {"names": ["personality"], "action": "SCMP_ACT_ALLOW", "args": values}
        both = seccomp.program(seccomp_profile.check({"defaultAction": "SCMP_ACT_ERRNO", "syscalls": [rule]}), [])
        assert both


def test_missing_file() -> None:
    with pytest.raises(RootlessError, match="No such file"):
        seccomp.program("/nonexistent/profile.json", [])
