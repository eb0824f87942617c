"""Id maps: which ids of a container are which of the host."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from rootless import idmaps, paths
from rootless.errors import RootlessError
from rootless.idmaps import IdMap


@pytest.fixture
def caller(monkeypatch: pytest.MonkeyPatch) -> None:
    """A caller of uid and gid 1000 with two ranges."""
    ranges = [(100000, 1000), (300000, 64536)]
    monkeypatch.setattr(idmaps, "usable_ranges", lambda uid: (ranges, ranges))
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    monkeypatch.setattr(os, "getegid", lambda: 1000)


@pytest.mark.usefixtures("caller")
def test_default_map() -> None:
    found = idmaps.default_map()
    assert found.uids == [(0, 1000, 1), (1, 100000, 1000), (1001, 300000, 64536)]
    assert found.key() == "" and not found.single() and found.maps_caller()
    assert (found.host_uid(0), found.host_uid(1000), found.host_uid(1001)) == (1000, 100999, 300000)
    assert found.host_uid(65537) is None
    assert found.inside_uid(300000) == 1001


@pytest.mark.usefixtures("caller")
@pytest.mark.parametrize(
    ("arguments", "rows"),
    [
        ((), [(0, 100000, 1000), (1000, 1000, 1), (1001, 300000, 64536)]),
        ((0, 0), [(0, 1000, 1), (1, 100000, 1000), (1001, 300000, 64536)]),
        ((5, 5), [(0, 100000, 5), (5, 1000, 1), (6, 100005, 995), (1001, 300000, 64536)]),
        ((5, 5, 8), [(0, 100000, 5), (5, 1000, 1), (6, 100005, 2)]),
        ((2000, 2000), [(0, 100000, 1000), (1000, 300000, 1000), (2000, 1000, 1), (2001, 301000, 63536)]),
        ((100000, 100000), [(0, 100000, 1000), (1000, 300000, 64536), (100000, 1000, 1)]),
    ],
)
def test_keep_id(arguments: tuple[int, ...], rows: list[tuple[int, int, int]]) -> None:
    found = idmaps.keep_id(*arguments)
    assert found.uids == found.gids == rows
    assert found.key() not in ("", idmaps.default_map().key()) or rows[0] == (0, 1000, 1)
    assert found.key() == idmaps.keep_id(*arguments).key()


@pytest.mark.usefixtures("caller")
def test_intermediate_map() -> None:
    found = idmaps.intermediate_map([(0, 1, 2000)], [(0, 0, 3)])
    assert found.uids == [(0, 100000, 1000), (1000, 300000, 1000)]
    assert found.gids == [(0, 1000, 1), (1, 100000, 2)]
    assert not found.maps_caller()
    with pytest.raises(RootlessError, match="no such subordinate id"):
        idmaps.intermediate_map([(0, 70000, 1)], [(0, 0, 1)])


@pytest.mark.parametrize(
    "rows",
    [
        [],
        [(0, 1000, 0)],
        [(0, 1000, -1)],
        [(-1, 1000, 1)],
        [(0, 1000, 1), (0, 2000, 1)],
        [(0, 1000, 10), (5, 2000, 1)],
        [(0, 1000, 10), (10, 1009, 1)],
        [(0, 4294967295, 1)],
        [(0, 1, 4294967295)],
        [(number, number, 1) for number in range(400)],
    ],
)
def test_rows_that_the_kernel_would_refuse(rows: list[tuple[int, int, int]]) -> None:
    with pytest.raises(RootlessError):
        IdMap(rows, [(0, 0, 1)])


def test_ranges_file(tmp_path: Path) -> None:
    path = tmp_path / "subuid"
    path.write_text(
        "other:1:2\nme:100000:65536\n\n#comment\nme:x:1\nme:5\n1000:300000:10\nme:0:5\nme:4294967290:100\n:7:7\n"
    )
    assert idmaps._ranges(str(path), 1000, b"me") == [(100000, 65536), (300000, 10)]
    assert idmaps._ranges(str(path), 2000, b"") == []


def test_helpers_are_sought_in_system_directories(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "newuidmap").write_text("")
    (tmp_path / "newuidmap").chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    assert paths.helper("newuidmap") != str(tmp_path / "newuidmap")
    assert paths.helper("no-such-helper-anywhere") is None
