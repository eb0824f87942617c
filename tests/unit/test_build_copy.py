"""The parts of COPY and ADD that are functions: modes, owners, words, remembered digests, what a view holds."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from rootless.build.contexts import words
from rootless.build.copy import modes
from rootless.build.copy.content import Item
from rootless.build.copy.stat_cache import StatCache
from rootless.build.copy.view import Node, View
from rootless.engine.containers.stack import Stack
from rootless.errors import RootlessError
from rootless.init import identity
from storage import union
from storage.archive.tar_reader import DIRECTORY, FIFO, SYMLINK

CLAUSE = st.from_regex(r"[ugoa]{1,3}([-+=][rwxXst]{0,3}|[-+=][ugo]){1,2}", fullmatch=True)


@settings(max_examples=50)
@given(st.lists(CLAUSE, min_size=1, max_size=3).map(",".join), st.integers(0, 0o777))
@example("u=rwX,go=rX", 0o600)
@example("a-x,u+X", 0o711)
def test_symbolic_modes_are_those_of_chmod(tmp_path_factory: pytest.TempPathFactory, text: str, mode: int) -> None:
    """Of files, without set-id bits, which chmod(1) treats by rules of its own."""
    if "s" in text or "t" in text:
        assert 0 <= modes.parse(text)(mode, False) <= 0o7777
        return
    path = tmp_path_factory.getbasetemp() / "chmod"
    path.touch()
    path.chmod(mode)
    subprocess.run(["chmod", text, str(path)], check=True)
    assert modes.parse(text)(mode, False) == stat.S_IMODE(path.stat().st_mode)


def test_modes() -> None:
    assert modes.parse("0755")(0o600, False) == 0o755
    assert modes.parse("4711")(0o600, True) == 0o4711
    assert modes.parse("go=u")(0o640, False) == 0o666
    assert modes.parse("=r")(0o777, False) == 0o444
    assert modes.parse("+X")(0o600, True) == 0o711 and modes.parse("+X")(0o600, False) == 0o600
    for wrong in ("8", "77777", "07777777", "", "u", "u=z", "u=rw,", "x", "u=rwg", "0x1", "u=rw go=r"):
        with pytest.raises(RootlessError):
            modes.parse(wrong)


@given(st.text(max_size=30))
def test_modes_of_any_text(text: str) -> None:
    try:
        change = modes.parse(text)
    except RootlessError:
        return
    assert all(0 <= change(mode, directory) <= 0o7777 for mode in (0, 0o644, 0o7777) for directory in (True, False))


PASSWD = b"root:x:0:0::/:/bin/sh\nme:x:1001:1002::/:/bin/sh\n5:x:77:78::/:\nfar:x:9999999999:1::/:\n"
GROUP = b"root:x:0:\nours:x:88:me\n"


@pytest.mark.parametrize(("text", "owner"), [
    ("me", (1001, 1002)), ("me:ours", (1001, 88)), ("1001", (1001, 1002)), ("55", (55, 55)), ("55:66", (55, 66)),
    (":ours", (0, 88)), (":7", (0, 7)), ("0", (0, 0)), ("5", (5, 5)), ("4294967294:1", (4294967294, 1)),
])  # fmt: skip
def test_owners(text: str, owner: tuple[int, int]) -> None:
    assert identity.owner(PASSWD, GROUP, text) == owner


@pytest.mark.parametrize("text", ["you", "me:theirs", "4294967295", "-1", "99999999999", "1:-1", "+5", "far"])
def test_owners_that_are_none(text: str) -> None:
    with pytest.raises(RootlessError):
        identity.owner(PASSWD, GROUP, text)


@pytest.mark.parametrize(("word", "url", "repository"), [
    ("http://h/f", True, False), ("HTTPS://h/f.tar.gz", True, False), ("https://h/r.git", False, True),
    ("https://h/r.git#v1:sub", False, True), ("https://h/r.git?x", True, False), ("git://h/r", False, True),
    ("git@h:r.git", False, True), ("git@h:r#main", False, True), ("ssh://git@h/r", False, True),
    ("github.com/a/b", False, True), ("a/b", False, False), ("file:///r.git", False, False),
    ("ftp://h/x", False, False), ("x:y", False, False), ("-", False, False), ("./git@h:r", False, False),
    ("/a@b:c", False, False), ("ext::sh -c x", False, False), ("a@b:c", False, True),
    ("git@-oProxyCommand=x:y", False, False),
])  # fmt: skip
def test_words(word: str, url: bool, repository: bool) -> None:
    assert (words.is_url(word), words.is_repository(word)) == (url, repository)


def test_repositories() -> None:
    assert words.repository("https://h/r.git") == ("https://h/r.git", "", "")
    assert words.repository("github.com/a/b#v1") == ("https://github.com/a/b", "v1", "")
    assert words.repository("git@h:r.git#:a//./b/") == ("git@h:r.git", "", "a/b")
    assert words.repository("git+ssh://h/r#x:y") == ("ssh://h/r", "x", "y")
    for wrong in ("git://h/r#-x", "git://h/r#a..b", "git://h/r#x:../y", "git://h/r#x:a/../../b", "git://-h/r#x",
                  "ssh://-oProxyCommand=x/y", "git://u@-h/r", "git://h/r#a b", "git://h/r\n", "git://h/" + "x" * 9000):
        with pytest.raises(RootlessError):
            words.repository(wrong)


@given(st.text(max_size=60))
@example("git://h/r#main:../x")
def test_repositories_of_any_text(text: str) -> None:
    assert not words.is_remote(f"github.com/{text}")
    words.is_remote(text)
    try:
        found = words.repository(text)
    except RootlessError:
        return
    assert ".." not in found.subdirectory.split("/") and not found.reference.startswith("-")
    assert not found.url.startswith("-") and not found.subdirectory.startswith("/")


@pytest.fixture
def cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where digests are kept."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache" / "rootless" / "build-files"


def old(path: Path, text: str = "text") -> os.stat_result:
    """A file, as it is for who looks at it much later."""
    path.write_text(text)
    return path.stat()


LATER = 10_000_000_000


def test_digests_are_remembered(tmp_path: Path, cached: Path) -> None:
    status = old(tmp_path / "f")
    cache = StatCache("tree")
    assert cache.get(status) is None
    cache.put(status, b"d" * 32, status.st_ctime_ns + LATER)
    cache.save()
    assert StatCache("tree").get(status) == b"d" * 32
    assert StatCache("other").get(status) is None
    os.utime(tmp_path / "f", (1, 1))
    assert StatCache("tree").get((tmp_path / "f").stat()) is None
    assert stat.S_IMODE(cached.stat().st_mode) == 0o700


def test_what_may_have_changed_in_the_same_tick_is_not_remembered(tmp_path: Path, cached: Path) -> None:
    status = old(tmp_path / "f")
    cache = StatCache("tree")
    cache.put(status, b"d" * 32, status.st_ctime_ns + 1_000_000)
    cache.save()
    assert StatCache("tree").get(status) is None and not cached.exists()


@pytest.mark.parametrize("harm", ["cut", "bit", "empty", "other", "open"])
def test_a_damaged_memory_is_none(tmp_path: Path, cached: Path, harm: str) -> None:
    status = old(tmp_path / "f")
    cache = StatCache("tree")
    cache.put(status, b"d" * 32, status.st_ctime_ns + LATER)
    cache.save()
    file = next(cached.iterdir())
    data = bytearray(file.read_bytes())
    if harm == "bit":
        data[40] ^= 1
    harmed = {"cut": bytes(data[:-1]), "empty": b"", "other": b"something else " * 9}
    file.write_bytes(harmed.get(harm, bytes(data)))
    if harm == "open":
        cached.chmod(0o777)
    assert StatCache("tree").get(status) is None


def test_the_memory_has_an_end(tmp_path: Path, cached: Path) -> None:
    status = old(tmp_path / "f")
    for number in range(70):
        cache = StatCache(f"tree {number}")
        cache.put(status, b"d" * 32, status.st_ctime_ns + LATER)
        cache.save()
    assert len(list(cached.iterdir())) == 64


def directory() -> Item:
    return Item(DIRECTORY, 0o755, (0, 0), 0)


def test_a_view_follows_links_inside(tmp_path: Path) -> None:
    lower, upper = tmp_path / "lower", tmp_path / "upper"
    (lower / "usr" / "lib").mkdir(parents=True)
    (lower / "lib").symlink_to("usr/lib")
    (lower / "up").symlink_to("../../../..")
    (lower / "abs").symlink_to("/usr/../usr")
    (lower / "gone").mkdir()
    (lower / "loop").symlink_to("loop")
    upper.mkdir()
    (upper / "usr").mkdir()
    (upper / "usr" / "file").write_text("f")
    with View(Stack([union.Tree(str(upper)), union.Tree(str(lower))])) as view:
        assert view.directory("lib/x", new=directory).path == "usr/lib/x"
        assert view.directory("up/usr/lib").path == "usr/lib"
        assert view.directory("abs/lib/../../..").path == ""
        with pytest.raises(NotADirectoryError):
            view.directory("usr/file/x", new=directory)
        with pytest.raises(FileNotFoundError):
            view.directory("none")
        with pytest.raises(OSError, match="symbolic links"):
            view.directory("loop/x", new=directory)
        assert [path for path, _ in view.nodes()] == ["usr", "usr/lib", "usr/lib/x"]


def test_a_view_replaces(tmp_path: Path) -> None:
    (tmp_path / "d" / "inner").mkdir(parents=True)
    with View(Stack([union.Tree(str(tmp_path))])) as view:
        node = view.directory("d/inner/new", new=directory)
        assert view.put(view.root, "d", Item(FIFO, 0o600, (0, 0), 0)).children is None
        assert [path for path, _ in view.nodes()] == ["d"]
        again = view.put(view.root, "d", directory())
        assert again.opaque and view.look(again, "inner") is None and node.path == "d/inner/new"
        link = view.put(again, "l", Item(SYMLINK, 0o777, (0, 0), 0, link=b"/../m"))
        assert isinstance(link, Node)
        assert view.directory("d/l/x", new=directory).path == "m/x"
        view.put(view.root, ".wh.x", directory())
        assert view.odd == [".wh.x"] and ".wh.x" not in [path for path, _ in view.nodes()]
