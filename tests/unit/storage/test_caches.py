"""Caches of builds: what is shared, what is not, and what goes."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from storage.caches import LOCKED, PRIVATE, SHARED, Caches
from storage.errors import StorageError
from storage.layout import Layout


@pytest.fixture
def caches(tmp_path: Path) -> Caches:
    """Those of a new store."""
    layout = Layout(str(tmp_path / "data"), str(tmp_path / "run"))
    for directory in layout.directories():
        os.makedirs(directory, exist_ok=True)
    return Caches(layout)


def fill(path: str) -> None:
    """What a new cache begins with."""
    Path(path, "first").touch()


def test_a_cache_is_found_again(caches: Caches) -> None:
    names = ("../../../x", "/root/.cache", "a/b", "", "x" * 5000, "\udcff\n")
    for name in names:
        with (claim := caches.claim(name, SHARED, fill)).lock:
            assert claim.fresh and os.listdir(claim.path) == ["first"]
            Path(claim.path, "second").write_text(str(names.index(name)))
    for name in names:
        with (claim := caches.claim(name, LOCKED, fill)).lock:
            assert not claim.fresh and Path(claim.path, "second").read_text() == str(names.index(name))
    assert sorted(name for _, name in caches.listed()) == sorted(names)


def test_sharing(caches: Caches) -> None:
    with (one := caches.claim("x", SHARED, fill)).lock, (two := caches.claim("x", SHARED, fill)).lock:
        assert one.path == two.path
        with (three := caches.claim("x", PRIVATE, fill)).lock, (four := caches.claim("x", PRIVATE, fill)).lock:
            assert len({one.path, three.path, four.path}) == 3
        with (again := caches.claim("x", PRIVATE, fill)).lock:
            assert again.path == three.path and not again.fresh

        def waiting() -> None:
            one.lock.release()
            two.lock.release()

        with caches.claim("x", LOCKED, fill, waiting).lock as lock:
            assert lock.fd >= 0 and one.lock.fd < 0


def test_a_cache_that_cannot_begin_is_none(caches: Caches) -> None:
    def fail(path: str) -> None:
        Path(path, "half").touch()
        raise OSError(28, "No space left on device")

    with pytest.raises(StorageError, match="No space left"):
        caches.claim("x", SHARED, fail)
    with (claim := caches.claim("x", LOCKED, fill)).lock:
        assert claim.fresh and os.listdir(claim.path) == ["first"]


def test_prune(caches: Caches) -> None:
    caches.claim("idle", SHARED, fill).lock.release()
    with caches.claim("busy", SHARED, fill).lock:
        assert caches.prune() == ["idle"]
        assert [name for _, name in caches.listed()] == ["busy"]
    assert caches.prune() == ["busy"] and caches.prune() == []
