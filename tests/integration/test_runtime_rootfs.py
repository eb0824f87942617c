"""The kinds of root file systems: a directory, overlays of the kernel and of FUSE, the host's own under overlays."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from subprocess import CompletedProcess
from typing import Any

import pytest

from rootless import idmaps, paths, userns
from rootless.runtime.delete import delete_tree
from tests.support import bundles
from tests.support.fixtures import require

Run = Callable[..., "CompletedProcess[str]"]
pytestmark = pytest.mark.usefixtures("no_leftovers")


@pytest.fixture
def base(tmp_path: Path) -> Path:
    require("userns", "busybox")
    return bundles.make_root(tmp_path / "base")


@pytest.fixture(params=["overlay", "fuse-overlayfs"])
def kind(request: pytest.FixtureRequest) -> str:
    require(str(request.param))
    return str(request.param)


def run(directory: Path, script: str, root: Any, **options: Any) -> CompletedProcess[str]:
    if isinstance(root, dict) and root["kind"] == "fuse-overlayfs":
        options["fuse_overlayfs"] = paths.helper("fuse-overlayfs")
    return bundles.run(directory, bundles.spec("sh", "-c", script), root, **options)


def layer(directory: Path, name: str, files: dict[str, str]) -> Path:
    root = directory / name
    root.mkdir()
    for path, text in files.items():
        (root / path).parent.mkdir(parents=True, exist_ok=True)
        (root / path).write_text(text)
    return root


def test_layers_and_changes(tmp_path: Path, base: Path, kind: str) -> None:
    top = layer(tmp_path, "top", {"etc/name": "top", "only": "top"})
    middle = layer(tmp_path, "middle", {"etc/name": "middle", "middle": "middle"})
    root = bundles.overlay(tmp_path / "container", top, middle, base, kind=kind)
    done = run(tmp_path, "cat /etc/name /only /middle; echo changed >/middle; rm /only; mkdir /made", root)
    assert (done.returncode, done.stdout, done.stderr) == (0, "toptopmiddle", ""), done.stderr
    assert (middle / "middle").read_text() == "middle" and (top / "only").read_text() == "top"
    again = run(tmp_path, "cat /middle; ls -d /only /made", root)
    assert again.stdout == "changed\n/made\n"
    delete_tree(str(tmp_path / "container"))


def test_files_of_other_users(tmp_path: Path, base: Path, kind: str) -> None:
    require("subuid", "newuidmap")
    root = bundles.overlay(tmp_path / "container", base, kind=kind)
    done = run(tmp_path, "mkdir -m 700 /data; touch /data/x; chown -R 1000:1000 /data; stat -c %u /data/x", root)
    assert done.stdout == "1000\n", done.stderr
    assert run(tmp_path, "stat -c %u:%g /data/x", root).stdout == "1000:1000\n"
    owner = (tmp_path / "container" / "upper" / "data").stat().st_uid
    assert owner == idmaps.default_map().host_uid(1000)
    delete_tree(str(tmp_path / "container"))
    assert not (tmp_path / "container").exists()


def test_clean_up_by_the_shim(tmp_path: Path, base: Path, kind: str) -> None:
    root = bundles.overlay(tmp_path / "container", base, kind=kind)
    owner = "1000" if idmaps.default_map().host_uid(1000) else "0"
    script = f"mkdir -p /data/a/b; touch /data/a/b/c; chown -R {owner} /data; chmod 0 /data/a /data; exit 7"
    assert run(tmp_path, script, root, cleanup=[str(tmp_path / "container")]).returncode == 7
    assert not (tmp_path / "container").exists()


def test_special_characters_in_paths(tmp_path: Path, base: Path, kind: str) -> None:
    odd = tmp_path / ("a:b,c d\\e=f" if kind == "overlay" else "b,c d\\e=f")
    odd.mkdir()
    top = layer(odd, "top", {"name": "top"})
    root = bundles.overlay(odd / "container", top, base, kind=kind)
    done = run(tmp_path, "cat /name; echo x >/x", root)
    assert (done.returncode, done.stdout) == (0, "top"), done.stderr
    delete_tree(str(odd / "container"))


def test_long_paths(tmp_path: Path, base: Path) -> None:
    require("overlay")
    deep = tmp_path / ("d" * 200) / ("e" * 200)
    deep.mkdir(parents=True)
    top = layer(deep, "top", {"name": "top"})
    done = run(tmp_path, "cat /name; echo x >/x", bundles.overlay(deep / "container", top, base))
    assert (done.returncode, done.stdout) == (0, "top"), done.stderr
    delete_tree(str(tmp_path / ("d" * 200)))


@pytest.mark.parametrize("old_calls", [False, True])
def test_120_layers(tmp_path: Path, base: Path, old_calls: bool) -> None:
    """By the new mount calls and, as on kernels before 6.8, by mount(2) with short names."""
    require("overlay")
    layers = [layer(tmp_path, f"layer{number}", {f"n{number}": "", "last": str(number)}) for number in range(120)]
    root = bundles.overlay(tmp_path / "container", *layers, base)
    if not old_calls:
        assert run(tmp_path, "ls /n* | wc -l; cat /last", root).stdout == "120\n0"
        return
    links = tmp_path / "l"
    links.mkdir()
    for number, target in enumerate([*layers, base]):
        (links / str(number)).symlink_to(target)
    root |= {"links": str(links), "lower_links": [str(number) for number in range(121)]}

    def look() -> bytes:
        from rootless.init import rootfs

        root_fd = rootfs._old_overlay(root)  # type: ignore[arg-type]
        names = [name for name in os.listdir(f"/proc/self/fd/{root_fd}") if name.startswith("n")]
        return str(len(names)).encode()

    assert userns.run_in_userns(look, idmaps.default_map(), mount_ns=True) == b"120"


def test_read_only_overlay_of_one_layer(tmp_path: Path, base: Path) -> None:
    root = bundles.overlay(tmp_path / "container", base) | {"upper": "", "work": "", "readonly": True}
    done = run(tmp_path, "touch /x; echo $?", root)
    assert done.stdout == "1\n" and "Read-only file system" in done.stderr


def test_directory_is_changed_in_place(tmp_path: Path, base: Path) -> None:
    assert run(tmp_path, "echo new >/new", base).returncode == 0
    assert (base / "new").read_text() == "new\n"


def test_root_that_is_missing(tmp_path: Path) -> None:
    require("userns")
    done = run(tmp_path, "true", tmp_path / "nowhere")
    assert done.returncode == 125
    assert done.stderr == f"Error: cannot mount the root file system ({tmp_path}/nowhere): No such file or directory\n"


def test_the_hosts_files_under_overlays(tmp_path: Path) -> None:
    """The machine's own directories, each under an overlay; what is written stays in the throw-away part."""
    require("userns", "overlay")
    entries = []
    for name in sorted(os.listdir("/")):
        path = Path("/") / name
        upper, work = tmp_path / "c" / name / "upper", tmp_path / "c" / name / "work"
        if path.is_symlink():
            entry = {"name": name, "kind": "symlink", "target": os.readlink(path)}
            entries.append(entry | {"lower": "", "upper": "", "work": ""})
        elif name in ("bin", "etc", "lib", "lib64", "opt", "sbin", "usr", "var"):
            upper.mkdir(parents=True)
            work.mkdir()
            entries.append(
                {"name": name, "kind": "dir", "target": "", "lower": str(path), "upper": str(upper), "work": str(work)}
            )
    (tmp_path / "merged").mkdir()
    root = bundles.overlay(tmp_path / "c2") | {
        "kind": "toplevel-overlay", "merged": str(tmp_path / "merged"), "entries": entries,
    }  # fmt: skip
    script = "grep -c . /etc/passwd; echo x >/usr/made-here && cat /usr/made-here; touch /top; ls /usr/bin/env"
    done = run(tmp_path, script, root)
    assert done.stdout.split()[1:] == ["x", "/usr/bin/env"], done.stderr
    assert (tmp_path / "c" / "usr" / "upper" / "made-here").exists() and not Path("/usr/made-here").exists()
    delete_tree(str(tmp_path / "c"))


def test_caller_that_is_not_in_the_map(tmp_path: Path, base: Path) -> None:
    """``--userns=nomap``: the caller's directories are reached before its id is given up; a second start works too."""
    require("overlay", "subuid", "newuidmap")
    full = idmaps.default_map()
    idmap = idmaps.intermediate_map([(0, 1, full.uids[1][2] - 1)], [(0, 1, full.gids[1][2] - 1)])
    hidden = tmp_path / "hidden"
    hidden.mkdir(mode=0o700)
    lower = layer(hidden, "lower", {"name": "lower"})
    root = bundles.overlay(hidden / "container", lower, base)
    from rootless.runtime import launch, plan

    given: Any = bundles.spec("sh", "-c", "cat /name >/copy")
    for _ in range(2):
        process = launch.create(plan.compile(given, root, idmap, {}))  # type: ignore[arg-type]
        process.start()
        assert process.wait() == 0
    assert (hidden / "container" / "upper" / "copy").stat().st_uid == full.host_uid(1)
    delete_tree(str(hidden / "container"))

