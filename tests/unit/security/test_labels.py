"""Labels of the security modules: what may be asked for, and how they are put together."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.errors import RootlessError, UsageError
from rootless.security import apparmor, selinux

IDS = st.text("0123456789abcdef", min_size=64, max_size=64)


@pytest.mark.parametrize("name", ["", " x", "x ", "a\nb", "a\0b", "x" * 256])
def test_names_of_profiles(name: str) -> None:
    with pytest.raises(UsageError):
        apparmor.check_name(name)


def test_unconfined_needs_no_apparmor() -> None:
    assert apparmor.require("unconfined") == apparmor.require("") == ""


@pytest.mark.parametrize(
    ("text", "expected"),
    [("disable", ("disable", "")), ("nested", ("nested", "")), ("type:x_t", ("type", "x_t")),
     ("level:s0:c1,c2", ("level", "s0:c1,c2")), ("filetype:y_t", ("filetype", "y_t")), ("user:u", ("user", "u"))],
)  # fmt: skip
def test_label_options(text: str, expected: tuple[str, str]) -> None:
    assert selinux.parse(text) == expected


@pytest.mark.parametrize(
    "text", ["", "type", "type:", "what:x", "type:a:b", "type:a b", "type:a\0", "level:s0\n", "TYPE:x", "disable:x"]
)
def test_wrong_label_options(text: str) -> None:
    with pytest.raises(UsageError):
        selinux.parse(text)


def categories(level: str) -> tuple[int, int]:
    """The two categories of a level."""
    low, high = level.removeprefix("s0:").split(",")
    return int(low[1:]), int(high[1:])


@given(IDS, st.sets(st.tuples(st.integers(0, 1023), st.integers(0, 1023))))
def test_a_level_is_a_pair_that_nobody_has(container_id: str, pairs: set[tuple[int, int]]) -> None:
    taken = {f"s0:c{low},c{high}" for low, high in pairs}
    taken.add(selinux.level(container_id, ()))
    found = selinux.level(container_id, taken)
    low, high = categories(found)
    assert 0 <= low < high < 1024 and found not in taken
    assert found == selinux.level(container_id, taken)


def test_every_pair_comes_once() -> None:
    found = {selinux._pair(number) for number in range(1024 * 1023 // 2)}
    assert len(found) == 1024 * 1023 // 2
    assert min(low for low, _ in found) == 0 and max(high for _, high in found) == 1023


@pytest.fixture
def policy(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The directory of a policy, which names labels for containers."""
    directory = tmp_path / "mine" / "contexts"
    directory.mkdir(parents=True)
    (tmp_path / "config").write_text("# SELinux\nSELINUX=enforcing\nSELINUXTYPE=mine\n")
    (directory / "lxc_contexts").write_text(
        'process = "system_u:system_r:container_t:s0"\nfile = "system_u:object_r:container_file_t:s0"\n'
    )
    monkeypatch.setattr(selinux, "_CONFIG", str(tmp_path))
    return tmp_path


def test_labels_of_a_container(policy: Path) -> None:
    assert selinux.labels({}, "s0:c1,c2") == (
        "system_u:system_r:container_t:s0:c1,c2", "system_u:object_r:container_file_t:s0:c1,c2",
    )  # fmt: skip
    wanted = {"user": "u", "role": "r", "type": "t", "level": "s0:c7", "filetype": "f"}
    assert selinux.labels(wanted, "s0:c1,c2") == ("u:r:t:s0:c7", "u:object_r:f:s0:c7")
    assert selinux.shared("u:object_r:f:s0:c1,c2") == "u:object_r:f:s0"
    assert selinux.level_of("u:r:t:s0:c1,c2") == "s0:c1,c2" and selinux.level_of("u:r:t") == ""


def test_a_policy_without_labels_for_containers(policy: Path) -> None:
    (policy / "mine" / "contexts" / "lxc_contexts").write_text("# nothing\n")
    assert selinux.labels({}, "s0:c1,c2") == ("", "")
    (policy / "config").unlink()
    assert selinux.labels({}, "s0:c1,c2") == ("", "")


@pytest.mark.parametrize("path", ["/", "/etc", "/usr", "/home", "/var", "/home/me"])
def test_what_is_never_relabelled(path: str) -> None:
    with pytest.raises(RootlessError, match="cannot relabel"):
        selinux.check_relabel(path, "/home/me/")
    selinux.check_relabel("/home/me/data", "/home/me")
