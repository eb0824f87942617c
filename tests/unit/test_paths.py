"""rootless.paths agrees with platformdirs, and its fallback for the runtime directory cannot be taken over."""

from __future__ import annotations

import os
import warnings
from pathlib import Path

import platformdirs
import pytest

from rootless import paths
from rootless.errors import RootlessError

VARIABLES = ("XDG_DATA_HOME", "XDG_CONFIG_HOME", "XDG_CACHE_HOME", "XDG_RUNTIME_DIR")


@pytest.fixture(autouse=True)
def clean_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in (*VARIABLES, "_CONTAINERS_ROOTLESS_UID"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("value", [None, "", "relative/dir", "/some/where", "/some/where/"])
def test_data_config_and_cache_agree_with_platformdirs(value: str | None, monkeypatch: pytest.MonkeyPatch) -> None:
    if value is not None:
        for name in VARIABLES[:3]:
            monkeypatch.setenv(name, value)
    ours = (paths.data_dir(), paths.config_dir(), paths.cache_dir())
    theirs = (
        platformdirs.user_data_dir("rootless"),
        platformdirs.user_config_dir("rootless"),
        platformdirs.user_cache_dir("rootless"),
    )
    assert ours == tuple(os.path.normpath(path) for path in theirs)


@pytest.mark.parametrize("home", ["", "not/absolute", None])
def test_home_comes_from_the_password_database_without_a_usable_variable(
    home: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    if home is None:
        monkeypatch.delenv("HOME")
    else:
        monkeypatch.setenv("HOME", home)
    assert paths.data_dir() == platformdirs.user_data_dir("rootless")


def test_runtime_directory_agrees_with_platformdirs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tmp_path.chmod(0o700)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    assert paths.run_dir() == platformdirs.user_runtime_dir("rootless") == f"{tmp_path}/rootless"


def test_a_runtime_directory_that_others_may_pass_through_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """podman changes its mode to 0711."""
    passable = tmp_path / "passable"
    passable.mkdir()
    passable.chmod(0o711)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(passable))
    assert paths.runtime_home() == str(passable)


@pytest.mark.parametrize("mode", [0o722, 0o770, 0o1777])
def test_a_runtime_directory_open_to_others_is_not_used(
    mode: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = tmp_path / "shared"
    shared.mkdir()
    shared.chmod(mode)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(shared))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        assert not platformdirs.user_runtime_dir("rootless").startswith(str(shared))
    assert not paths.runtime_home().startswith(str(shared))


@pytest.fixture
def fallback(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A machine without runtime directories, on which ``/tmp/rootless-UID`` is a name below ``tmp_path``."""
    monkeypatch.setattr(paths, "runtime_home", lambda: "")
    monkeypatch.setattr(paths, "NAME", os.path.relpath(tmp_path / "run", "/tmp"))
    return tmp_path / f"run-{os.geteuid()}"


def test_fallback_is_private(fallback: Path) -> None:
    assert paths.run_dir() == os.path.join("/tmp", os.path.relpath(fallback, "/tmp"))
    assert fallback.stat().st_mode & 0o7777 == 0o700
    assert paths.run_dir().endswith(fallback.name)


def test_fallback_that_is_open_to_others_is_refused(fallback: Path) -> None:
    fallback.mkdir()
    fallback.chmod(0o755)
    with pytest.raises(RootlessError, match="mode is 0755"):
        paths.run_dir()


def test_fallback_that_is_a_link_is_refused(fallback: Path, tmp_path: Path) -> None:
    target = tmp_path / "elsewhere"
    target.mkdir(0o700)
    fallback.symlink_to(target)
    with pytest.raises(RootlessError, match="not a directory"):
        paths.run_dir()


@pytest.mark.skipif(os.geteuid() == 0, reason="root owns every directory that it could be tried with")
def test_fallback_of_another_owner_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    assert paths._objection("/root") == "it belongs to uid 0"
