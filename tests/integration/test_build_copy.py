"""COPY and ADD: what of the sources is in the layer, and when a step is done again."""

from __future__ import annotations

import hashlib
import io
import os
import socket
import subprocess
import sys
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.alone import Alone
from tests.support.building import built, config, layers, names, refused
from tests.support.cli import Cli, new_cli
from tests.support.drivers import DRIVERS
from tests.support.layers import archive, directory, file, hardlink, symlink

pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")


@pytest.fixture(scope="module")
def cli(shared_cli: Cli) -> Cli:
    """The store is shared with other tests."""
    return shared_cli


@pytest.fixture
def context(context: Path) -> Path:
    """A build context with a few files."""
    for name in ("a.txt", "b.txt", "d/c.txt", "d/e.md", "d/deep/f.txt", "secret", "secrets/key"):
        path = context / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(f"{name}\n")
        os.utime(path, (1_000_000_000, 1_000_000_000))
    return context


def member(cli: Cli, image: str, name: str) -> tarfile.TarInfo:
    """A member of the topmost layer."""
    return next(each for each in layers(cli, image)[-1] if each.name == name)


def diff_ids(cli: Cli, image: str) -> list[str]:
    """The layers of an image."""
    found: list[str] = config(cli, image)["RootFS"]["Layers"]
    return found


def test_links_of_the_image_are_followed_unless_the_layer_is_independent(cli: Cli, context: Path) -> None:
    text = "RUN mkdir -p /usr/real && ln -s usr/real /ln && chown 7:8 /usr/real && chmod 711 /usr/real\n"
    built(cli, context, f"{text}COPY a.txt /ln/", "-t", "copied")
    assert names(cli, "copied") == ["usr", "usr/real", "usr/real/a.txt"]
    kept = member(cli, "copied", "usr/real")
    assert (kept.mode, kept.uid, kept.gid) == (0o711, 7, 8)
    built(cli, context, f"{text}COPY --link a.txt /ln/", "-t", "copied")
    assert names(cli, "copied") == ["ln", "ln/a.txt"]


def test_parents(cli: Cli, context: Path) -> None:
    (context / "d").chmod(0o750)
    built(cli, context, "COPY --parents d/deep/f.txt a.txt /to/", "-t", "copied")
    assert names(cli, "copied") == ["to", "to/a.txt", "to/d", "to/d/deep", "to/d/deep/f.txt"]
    assert member(cli, "copied", "to/d").mode == 0o750
    built(cli, context, "COPY --parents d/./deep ./**/*.md /to/", "-t", "copied")
    assert names(cli, "copied") == ["to", "to/d", "to/d/e.md", "to/deep", "to/deep/f.txt"]


def test_exclude(cli: Cli, context: Path) -> None:
    built(cli, context, "COPY --exclude=*.md --exclude=deep --exclude=!deep/f.txt d /to/", "-t", "copied")
    assert names(cli, "copied") == ["to", "to/c.txt", "to/deep", "to/deep/f.txt"]
    built(cli, context, "COPY --exclude=b* *.txt /to/", "-t", "copied")
    assert names(cli, "copied") == ["to", "to/a.txt"]


def test_what_is_ignored_is_in_no_layer(cli: Cli, context: Path) -> None:
    (context / "alias").symlink_to("secrets")
    (context / "to-secret").symlink_to("secret")
    (context / ".dockerignore").write_text("secret*\n**/deep\n!d/deep/kept\n")
    (context / "d" / "deep" / "kept").write_text("kept\n")
    built(cli, context, "COPY . /all/\n", "-t", "copied")
    found = names(cli, "copied")
    assert "all/d/deep/kept" in found
    assert not {"all/secret", "all/secrets", "all/secrets/key", "all/d/deep/f.txt"} & set(found)
    for source in ("secret", "secrets/key", "secre*", "to-secret", "alias"):
        assert "left out by the ignore file" in refused(cli, context, f"COPY {source} /all/\n"), source


def test_modes_owners_and_attributes(cli: Cli, context: Path) -> None:
    os.setxattr(context / "d" / "c.txt", "user.mark", b"value")
    (context / "d" / "again").hardlink_to(context / "d" / "c.txt")
    text = "RUN echo daemon:x:1:2:::/ >> /etc/passwd\nCOPY --chmod=u=rwX,go=rX --chown=daemon:9 d /to/"
    built(cli, context, text, "-t", "copied")
    found = {each.name: each for each in layers(cli, "copied")[-1]}
    assert found["to/again"].pax_headers["SCHILY.xattr.user.mark"] == "value"
    assert found["to/c.txt"].islnk() and found["to/c.txt"].linkname == "to/again"
    assert (found["to/deep"].mode, found["to/deep/f.txt"].mode) == (0o755, 0o644)
    assert {(each.uid, each.gid) for each in found.values()} == {(1, 9)}
    assert found["to/e.md"].mtime == 1_000_000_000


@pytest.mark.parametrize("driver", DRIVERS)
def test_a_layer_is_the_same_on_every_driver_and_for_every_user(
    driver: str, busybox_layout: Path, context: Path
) -> None:
    """True owners for who has a single id too; and the same bytes twice."""
    (context / "owners.tar").write_bytes(
        archive([directory("o", 0o750, uid=100, gid=101), file("o/f", "of 100", uid=100, gid=65534, mode=0o4755)])
    )
    text = "COPY --chown=1:1 d /d/\nADD owners.tar /\n"
    found = []
    for single in (False, True):
        with new_cli() as made:
            user = Alone(made.home, driver) if single else made
            user.environment["STORAGE_DRIVER"] = driver
            user.ok("tag", user.ok("pull", "--quiet", f"oci:{busybox_layout}:latest").strip(), "localhost/busybox")
            for _ in range(2):
                built(user, context, text, "-t", "copied", "--no-cache")
                found.append(diff_ids(user, "copied"))
            assert {(each.uid, each.gid) for each in layers(user, "copied")[-2]} == {(1, 1)}
            own = member(user, "copied", "o/f")
            assert (own.uid, own.gid, own.mode) == (100, 65534, 0o4755)
    assert all(each == found[0] for each in found)


def test_archives_are_unpacked_as_inside_the_destination(cli: Cli, context: Path) -> None:
    (context / "a.tar").write_bytes(archive([
        symlink("l", "/etc"), file("l/x", "through a link"), file("p/f", "first"), hardlink("h", "p/f"),
        file("w", "1"), directory("w"), file("w/below", "2"), file("l2", "3"), symlink("l2", "p"), file("l2/g", "4"),
    ]))  # fmt: skip
    built(cli, context, "ADD a.tar /new/dir/", "-t", "copied")
    found = {each.name: each for each in layers(cli, "copied")[-1]}
    assert found.keys() == {
        "new", "new/dir", "new/dir/l", "new/dir/etc", "new/dir/etc/x", "new/dir/p", "new/dir/p/f", "new/dir/p/g",
        "new/dir/h", "new/dir/w", "new/dir/w/below", "new/dir/l2",
    }  # fmt: skip
    assert found["new/dir/p/f"].islnk() or found["new/dir/h"].islnk()


def test_a_file_and_then_a_directory_hide_what_the_image_has(cli: Cli, context: Path) -> None:
    (context / "a.tar").write_bytes(archive([file("etc", "a file"), directory("etc"), file("etc/only", "1")]))
    said = built(cli, context, "ADD a.tar /\nRUN echo /etc/only*; ls /etc/passwd || echo gone", "--no-cache")
    assert "/etc/only\n" in said and "gone\n" in said


def test_marks_of_deletion_are_left_out(cli: Cli, context: Path) -> None:
    (context / "w" / ".wh.dir").mkdir(parents=True)
    for name in (".wh.passwd", "ok", ".wh.dir/below"):
        (context / "w" / name).write_text("1")
    said = built(cli, context, "COPY w /etc/", "--no-cache", "-t", "copied")
    assert names(cli, "copied") == ["etc", "etc/ok"]
    assert "/etc/.wh.passwd" in said and "left out" in said


# When a step is done again.


def test_a_step_is_done_again_when_its_files_changed(cli: Cli, context: Path) -> None:
    text = "COPY d/c.txt secret /to/"
    built(cli, context, text, "-t", "copied")
    first = diff_ids(cli, "copied")
    path = context / "d" / "c.txt"
    os.utime(path, (5, 5))
    (context / "a.txt").write_text("another file")
    built(cli, context, text, "-t", "copied")
    assert diff_ids(cli, "copied") == first, "neither a time nor another file counts"
    before = path.stat()
    path.write_text("D/C.TXT\n")
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))
    built(cli, context, text, "-t", "copied")
    assert diff_ids(cli, "copied") != first, "a content of the same length and time counts"
    path.write_text("d/c.txt\n")
    path.chmod(0o600)
    built(cli, context, text, "-t", "copied")
    assert member(cli, "copied", "to/c.txt").mode == 0o600


def test_a_step_is_not_done_again_for_another_file_of_the_stage(cli: Cli, context: Path) -> None:
    def text(other: str) -> str:
        return (f"RUN mkdir /o && echo same > /o/file && echo {other} > /other\n"
                "FROM localhost/busybox\nCOPY --from=0 /o /p\nRUN echo done")  # fmt: skip

    built(cli, context, text("one"), "-t", "copied")
    first = diff_ids(cli, "copied")
    assert built(cli, context, text("two"), "-t", "copied").count("Using cache") >= 2
    assert diff_ids(cli, "copied") == first


def test_what_only_root_of_the_namespace_can_read(cli: Cli, context: Path) -> None:
    (context / "d" / "c.txt").chmod(0)
    (context / "d" / "deep").chmod(0)
    try:
        built(cli, context, "COPY d /to/", "-t", "copied", "--no-cache")
    finally:
        (context / "d" / "deep").chmod(0o700)
    assert member(cli, "copied", "to/c.txt").mode == 0 and member(cli, "copied", "to/deep/f.txt").size


def test_errors_name_the_instruction(cli: Cli, context: Path) -> None:
    for text, words in (
        ("COPY nothing /x", "'nothing' is not in the build context"),
        ("COPY a.txt /etc/passwd/", "is not a directory"),
        ("COPY --chown=nobody-here a.txt /x", "unable to find user nobody-here"),
        ("COPY --chmod=9 a.txt /x", "is no mode"),
        ("COPY --chmod=u=q a.txt /x", "is no mode"),
        ("COPY --from=localhost/none a.txt /x", "localhost/none"),
        ("COPY --exclude=[ d /x", "--exclude"),
        ("ADD --checksum=sha256:00 a.txt /x", "--checksum is for one URL"),
    ):
        said = refused(cli, context, f"LABEL a=b\n{text}", "--pull=never")
        assert words in said and ":3:" in said, said


def test_a_context_is_needed(cli: Cli) -> None:
    assert "no build context" in cli.fails(125, "build", "-", stdin="FROM scratch\nCOPY a /b\n")


def _tar(context: Path, mode: str = "w") -> bytes:
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode=mode) as made:  # type: ignore[call-overload]
        made.add(context, ".")
    return buffer.getvalue()


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:xz", "w:bz2"])
def test_an_archive_on_standard_input(cli: Cli, context: Path, mode: str, tmp_path: Path) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nCOPY d /to/\n")
    stream = tmp_path / "context.tar"
    stream.write_bytes(_tar(context, mode))
    with stream.open("rb") as given:
        done = subprocess.run(cli.command("build", "-q", "-t", "copied", "-"), stdin=given, env=cli.environment,
                              capture_output=True, text=True, timeout=60, check=False)  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert "to/deep/f.txt" in names(cli, "copied")


def test_where_the_containerfile_is(cli: Cli, context: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (context / "Dockerfile").write_text("FROM scratch\nLABEL file=dockerfile\n")
    (context / "d" / "Other").write_text("FROM scratch\nLABEL file=other\nCOPY a.txt b.txt* /\n")
    (context / "d" / "Other.dockerignore").write_text("b.txt\n")
    (context / ".containerignore").write_text("a.txt\n")

    def label(*words: str) -> str:
        cli.ok("build", "-q", "-t", "copied", *words)
        return str(config(cli, "copied")["Config"]["Labels"]["file"])

    assert label(str(context)) == "dockerfile"
    (context / "Containerfile").write_text("FROM scratch\nLABEL file=containerfile\n")
    assert label(str(context)) == "containerfile"
    assert label("-f", "d/Other", str(context)) == "other", "a path from the context"
    assert names(cli, "copied") == ["a.txt"], "by the Containerfile's own ignore file"
    monkeypatch.chdir(context / "d")
    (context / "d" / "a.txt").write_text("in the directory of the Containerfile")
    assert label("-f", "Other") == "other", "without a context its directory is meant"
    assert names(cli, "copied") == ["a.txt"]


def test_named_contexts(cli: Cli, context: Path, tmp_path: Path) -> None:
    (context / ".containerignore").write_text("*\n")
    cli.ok("save", "-q", "--format", "oci-dir", "-o", str(tmp_path / "layout"), "localhost/busybox")
    text = "COPY --from=dir . /dir/\nCOPY --from=image /etc/passwd /image/\nCOPY --from=layout /etc/group /layout/\n"
    built(cli, context, text, "-t", "copied", f"--build-context=dir={context}/d",
          "--build-context=image=docker-image://localhost/busybox",
          f"--build-context=layout=oci-layout://{tmp_path}/layout")  # fmt: skip
    assert names(cli, "copied") == ["layout", "layout/group"]
    assert names(cli, "copied", -2) == ["image", "image/passwd"]
    assert names(cli, "copied", -3) == ["dir", "dir/c.txt", "dir/deep", "dir/deep/f.txt", "dir/e.md"]
    said = refused(cli, context, text, f"--build-context=dir={tmp_path}/none")
    assert "no such directory" in said


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[Path, str]]:
    """A directory that Python's own server serves on loopback, and its address."""
    directory = tmp_path / "served"
    directory.mkdir()
    program = ("import http.server, os, sys; os.chdir(sys.argv[1]); "
               "s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), http.server.SimpleHTTPRequestHandler); "
               "print(s.server_port, flush=True); s.serve_forever()")  # fmt: skip
    running = subprocess.Popen([sys.executable, "-c", program, str(directory)], stdout=subprocess.PIPE,
                               stderr=subprocess.DEVNULL, text=True)  # fmt: skip
    assert running.stdout is not None
    try:
        yield directory, f"http://127.0.0.1:{running.stdout.readline().strip()}"
    finally:
        running.kill()
        running.wait()
        running.stdout.close()


def test_urls(cli: Cli, context: Path, server: tuple[Path, str]) -> None:
    directory_, address = server
    (directory_ / "file").write_text("fetched\n")
    os.utime(directory_ / "file", (1_234_567_890, 1_234_567_890))
    digest = hashlib.sha256(b"fetched\n").hexdigest()
    (directory_ / "a.tar").write_bytes(archive([file("in", "of the archive")]))
    built(cli, context, f"""\
ADD {address}/file /to/
ADD --checksum=sha256:{digest} --chmod=644 {address}/file /named
ADD {address}/a.tar /to/
ADD --unpack=true {address}/a.tar /unpacked/
""", "-t", "copied")  # fmt: skip
    fetched = next(each for each in layers(cli, "copied")[-4] if each.isfile())
    assert (fetched.name, fetched.mode, fetched.mtime) == ("to/file", 0o600, 1_234_567_890)
    assert member_of(cli, -3).name == "named" and member_of(cli, -3).mode == 0o644
    assert names(cli, "copied", -2) == ["to", "to/a.tar"]
    assert names(cli, "copied") == ["unpacked", "unpacked/in"]
    assert "the digest of" in refused(cli, context, f"ADD --checksum=sha256:{'0' * 64} {address}/file /x")
    assert "no name for a file" in refused(cli, context, f"ADD {address}/ /x/")
    (directory_ / "file").write_text("changed")
    text = f"ADD {address}/file /x\n"
    built(cli, context, text, "-t", "copied")
    (directory_ / "file").write_text("CHANGED")
    assert "Using cache" not in built(cli, context, text, "-t", "copied")
    assert member(cli, "copied", "x").size == 7
    pinned = f"ADD --checksum=sha256:{digest} {address}/none /named\n"
    assert "404" in refused(cli, context, pinned)
    (directory_ / "none").write_text("fetched\n")
    built(cli, context, pinned)
    (directory_ / "none").unlink()
    built(cli, context, pinned)  # what its digest says is known: nothing is fetched


def member_of(cli: Cli, layer: int) -> tarfile.TarInfo:
    """The one file of a layer of the image."""
    return next(each for each in layers(cli, "copied")[layer] if each.isfile())


@pytest.fixture
def repository(tmp_path: Path) -> Iterator[str]:
    """A repository with two commits, the first of which is ``v1``, served by git's own server."""
    base = tmp_path / "git"
    work = base / "work"
    (work / "sub" / "deep").mkdir(parents=True)
    environment = {
        **os.environ, "HOME": str(tmp_path), "GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org",
        "GIT_AUTHOR_DATE": "@1500000000 +0000", "GIT_COMMITTER_DATE": "@1500000000 +0000",
    }  # fmt: skip

    def git(*words: str, where: Path = work) -> None:
        subprocess.run(["git", *words], cwd=where, env=environment, check=True, capture_output=True)

    git("init", "-q", "-b", "main")
    (work / "Containerfile").write_text("FROM scratch\nCOPY . /r/\n")
    (work / "sub" / "Containerfile").write_text("FROM scratch\nCOPY . /s/\n")
    (work / "sub" / "deep" / "f").write_text("first\n")
    (work / "out").symlink_to("../..")
    git("add", "-A")
    git("commit", "-q", "-m", "one")
    git("tag", "v1")
    (work / "second").write_text("second\n")
    git("add", "-A")
    git("commit", "-q", "-m", "two")
    git("clone", "-q", "--bare", str(work), str(base / "r.git"), where=base)
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    running = subprocess.Popen(
        ["git", "daemon", "--export-all", f"--base-path={base}", "--listen=127.0.0.1", f"--port={port}", "--verbose"],
        env=environment, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert running.stderr is not None
    assert any("Ready" in line for line in running.stderr)
    try:
        yield f"git://127.0.0.1:{port}/r.git"
    finally:
        running.terminate()
        running.wait()
        running.stderr.close()


def test_repositories(cli: Cli, context: Path, repository: str) -> None:
    cli.ok("build", "-q", "-t", "copied", repository)
    assert names(cli, "copied") == [
        "r", "r/Containerfile", "r/out", "r/second", "r/sub", "r/sub/Containerfile", "r/sub/deep", "r/sub/deep/f",
    ]  # fmt: skip
    assert member(cli, "copied", "r/second").mtime == 1_500_000_000 and member(cli, "copied", "r/second").mode == 0o644
    first = diff_ids(cli, "copied")
    cli.ok("build", "-q", "-t", "copied", "--no-cache", repository)
    assert diff_ids(cli, "copied") == first, "times are those of the commit"
    cli.ok("build", "-q", "-t", "copied", f"{repository}#v1:sub")
    assert names(cli, "copied") == ["s", "s/Containerfile", "s/deep", "s/deep/f"]
    text = f"ADD {repository}#v1:sub /a/\nADD --keep-git-dir --exclude=sub {repository} /b/"
    built(cli, context, text, "-t", "copied")
    assert names(cli, "copied", -2) == ["a", "a/Containerfile", "a/deep", "a/deep/f"]
    assert "b/.git/HEAD" in names(cli, "copied") and "b/sub" not in names(cli, "copied")
    assert "no branch, tag or commit" in cli.fails(125, "build", f"{repository}#none")
    assert "not 0000000" in refused(cli, context, f"ADD --checksum=0000000 {repository} /a/")


def test_a_context_that_changes_during_the_build(cli: Cli, context: Path) -> None:
    """What was made of other files than those by which the step was looked up is not taken for a step of these."""
    path = context / "d" / "z.txt"
    path.write_text("before\n")
    (context / "d" / "a-large").write_bytes(os.urandom(48 << 20))
    file = context.parent / "Containerfile"
    file.write_text("FROM scratch\nCOPY d /to/\n")
    words = ("build", "-q", "-f", str(file), "-t", "copied", str(context))
    for _ in range(5):
        path.write_text("before\n")
        running = cli.popen(*words, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while running.poll() is None and not list(cli.data.glob("tmp/*/copied-*")):
            time.sleep(0.002)
        path.write_text("changed during the build\n")  # while the large file, which comes first, is compressed
        assert running.wait(60) == 0
        if member(cli, "copied", "to/z.txt").size != len("before\n"):
            break
        (context / "d" / "b-another").write_text("so that the step is done again")
    else:
        pytest.fail("the file was never changed in time")
    path.write_text("before\n")
    cli.ok(*words)
    assert member(cli, "copied", "to/z.txt").size == len("before\n")
