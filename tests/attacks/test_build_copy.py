"""Build contexts, archives and images that want out: COPY and ADD read and write nothing but what is theirs."""

from __future__ import annotations

import io
import os
import stat
import subprocess
import tarfile
import time
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rootless.build.contexts import opening
from rootless.build.copy.archive import Unpacking
from rootless.build.copy.content import Spool
from rootless.build.copy.step import write
from rootless.build.copy.view import View
from rootless.errors import RootlessError
from storage.archive.limits import Limits
from storage.errors import StorageError
from tests.support import attacks
from tests.support.building import build, built, layers, refused
from tests.support.canary import TEXT, Canary
from tests.support.cli import Cli
from tests.support.figures import Tell, amount
from tests.support.layers import archive, fifo, file, symlink

pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")

STRIDE = amount(80, 1)
_SPARSE = 1 << 42
_SOON = 30  # seconds: what would wait waits for ever


@pytest.fixture(scope="module")
def cli(shared_cli: Cli) -> Cli:
    """The store is shared with other tests."""
    return shared_cli


def blobs_have_nothing(cli: Cli, image: str) -> None:
    """No layer of an image has anything of the canary."""
    for found in layers(cli, image):
        assert not any("canary" in member.name for member in found)
    done = subprocess.run(cli.command("save", image), env=cli.environment, capture_output=True, check=True)
    with tarfile.open(fileobj=io.BytesIO(done.stdout)) as saved:
        for member in saved:
            if member.name.endswith(".tar"):
                inner = saved.extractfile(member)
                assert inner is not None and TEXT not in inner.read()


# Contexts.


@pytest.mark.parametrize("how", ["absolute", "climbing", "chain", "directory", "proc"])
def test_links_out_of_the_context_row_76(cli: Cli, canary: Canary, context: Path, how: str) -> None:
    """CVE-2020-10696: a link as the source, in its path, and among what is copied."""
    out = str(canary)
    target = {
        "absolute": f"{out}/file", "climbing": "../" * 30 + f"{out[1:]}/file", "chain": "second", "directory": out,
        "proc": f"/proc/self/root{out}/file",
    }[how]  # fmt: skip
    (context / "link").symlink_to(target)
    (context / "second").symlink_to("third/file")
    (context / "third").symlink_to(out)
    (context / "d").mkdir()
    (context / "d" / "inner").symlink_to(f"{out}/file")
    for source in ("link", "lin*", "third/*"):
        said = refused(cli, context, f"COPY {source} /to/")
        assert "not in the build context" in said and TEXT.decode() not in said, source
    built(cli, context, "COPY . /all/", "-t", "copied")
    found = {member.name: member for member in layers(cli, "copied")[-1]}
    assert found["all/link"].issym() and found["all/d/inner"].issym()
    blobs_have_nothing(cli, "copied")


def test_a_decoy_in_the_context_row_76(cli: Cli, canary: Canary, context: Path) -> None:
    """An absolute link means the context's own file, as in a root."""
    decoy = context / str(canary)[1:] / "file"
    decoy.parent.mkdir(parents=True)
    decoy.write_text("of the context")
    (context / "link").symlink_to(f"{canary}/file")
    built(cli, context, "COPY link /copied", "-t", "copied")
    assert layers(cli, "copied")[-1][0].size == len("of the context")


@pytest.mark.parametrize("name", [".containerignore", ".dockerignore", "Containerfile.dockerignore"])
@pytest.mark.parametrize("target", ["{canary}/file", "../../canary/file", "none", "/dev/zero", "fifo"])
def test_ignore_files_that_are_links_row_76(
    cli: Cli, canary: Canary, context: Path, name: str, target: str
) -> None:
    """CVE-2022-4122: refused, and not taken for none, by which what it names would be copied."""
    (context / "secret").write_text("secret")
    (context / "Containerfile").write_text("FROM localhost/busybox\nCOPY . /all/\n")
    if target == "fifo":
        os.mkfifo(context / name)
    else:
        (context / name).symlink_to(target.format(canary=canary))
    said = cli.fails(125, "build", "-f", str(context / "Containerfile"), str(context), timeout=_SOON)
    assert name in said and TEXT.decode() not in said


@pytest.mark.parametrize("target", ["{canary}/file", "../canary/file", "/dev/zero", "fifo"])
def test_containerfiles_that_are_links_row_76(cli: Cli, canary: Canary, context: Path, target: str) -> None:
    if target == "fifo":
        os.mkfifo(context / "Containerfile")
    else:
        (context / "Containerfile").symlink_to(target.format(canary=canary))
    said = cli.fails(125, "build", str(context), timeout=_SOON)
    assert "Containerfile" in said and TEXT.decode() not in said


@pytest.mark.parametrize("word", [
    "#main:../..", "#main:../../../../etc", "#main:out", "#main:out/dir", "#main:sub/../../..", "#:/../x",
    "#--upload-pack=touch${IFS}/tmp/x", "#-x", "#a..b", "#main^{/x}", "#main:sub/up",
])  # fmt: skip
def test_parts_of_repositories_row_76(cli: Cli, canary: Canary, tmp_path: Path, word: str) -> None:
    """`git#ref:../..`, a directory that is a link out of the repository, references that are options."""
    work = tmp_path / "work"
    (work / "sub").mkdir(parents=True)
    (work / "out").symlink_to(canary.root)
    (work / "sub" / "up").symlink_to("../..")
    (work / "Containerfile").write_text("FROM localhost/busybox\nCOPY . /all/\n")
    hooks = work / "sub" / "hooks"
    hooks.mkdir()
    for name in ("post-checkout", "reference-transaction"):
        (hooks / name).write_text(f"#!/bin/sh\ntouch {tmp_path}/hook\n")
        (hooks / name).chmod(0o755)
    served = repository(work, tmp_path)
    with http_server(tmp_path) as address:
        said = cli.fails(125, "build", f"{address}/{served.name}{word}", timeout=_SOON)
    assert "repository" in said or "cannot fetch" in said
    assert sorted(os.listdir(tmp_path)) == ["canary", "served.git", "work"]


def test_submodules_and_hooks_of_repositories_row_76(cli: Cli, canary: Canary, tmp_path: Path) -> None:
    """A submodule on the machine's own file system is not fetched, nor is a command run for one."""
    for number, url in enumerate((f"file://{tmp_path}/served.git", f"ext::touch {tmp_path}/ran", str(tmp_path))):
        work = tmp_path / f"work{number}"
        work.mkdir()
        (work / "Containerfile").write_text("FROM scratch\n")
        (work / ".gitmodules").write_text(f'[submodule "m"]\n\tpath = m\n\turl = {url}\n')
        git(work, "init", "-q", "-b", "main")
        git(work, "add", "-A")
        git(work, "update-index", "--add", "--cacheinfo", f"160000,{'1' * 40},m")
        git(work, "commit", "-q", "-m", "one")
        served = repository(work, tmp_path, commit=False, name=f"s{number}.git")
        with http_server(tmp_path) as address:
            said = cli.fails(125, "build", f"{address}/{served.name}", timeout=_SOON)
        assert "cannot fetch" in said
    assert not (tmp_path / "ran").exists()


def git(where: Path, *words: str) -> None:
    """Run git as somebody who has no settings."""
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(where), "GIT_CONFIG_NOSYSTEM": "1", "GIT_AUTHOR_NAME": "a",
        "GIT_AUTHOR_EMAIL": "a@example.org", "GIT_COMMITTER_NAME": "a", "GIT_COMMITTER_EMAIL": "a@example.org",
    }  # fmt: skip
    subprocess.run(["git", *words], cwd=where, env=environment, check=True, capture_output=True)


def repository(work: Path, base: Path, *, commit: bool = True, name: str = "served.git") -> Path:
    """A bare repository of a directory, which any server of files can serve."""
    if commit:
        git(work, "init", "-q", "-b", "main")
        git(work, "add", "-A")
        git(work, "commit", "-q", "-m", "one")
    git(base, "clone", "-q", "--bare", str(work), name)
    git(base / name, "update-server-info")
    return base / name


def http_server(directory_: Path) -> Any:
    """Serve a directory on loopback while the block runs; gives its address."""
    import contextlib
    import sys

    program = ("import http.server, os, sys; os.chdir(sys.argv[1]); "
               "s = http.server.ThreadingHTTPServer(('127.0.0.1', 0), http.server.SimpleHTTPRequestHandler); "
               "print(s.server_port, flush=True); s.serve_forever()")  # fmt: skip

    @contextlib.contextmanager
    def serving() -> Any:
        running = subprocess.Popen([sys.executable, "-c", program, str(directory_)], stdout=subprocess.PIPE,
                                   stderr=subprocess.DEVNULL, text=True)  # fmt: skip
        assert running.stdout is not None
        try:
            yield f"http://127.0.0.1:{running.stdout.readline().strip()}"
        finally:
            running.kill()
            running.wait()
            running.stdout.close()

    return serving()


# Archives: the 100 and more layouts that were published, as a context and as the source of an ADD.


def test_layouts_as_contexts_rows_1_2_3_4_5_6_76(canary: Canary, tmp_path: Path, figure: Tell) -> None:
    """All of them through the reader of contexts: nothing but the new directory has changed."""
    settings: Any = SimpleNamespace(config=SimpleNamespace(max_layer_size=0))
    work = tmp_path / "work"
    work.mkdir()
    count = 0
    for attack in attacks.ALL:
        for items in attacks.aimed(attack, str(canary)).layers:
            count += 1
            (work / "archive").write_bytes(archive(items))
            try:
                opening.unpacked(settings, str(work / "archive"), str(work))
            except (StorageError, RootlessError):
                pass
            canary.check()
            assert sorted(os.listdir(tmp_path)) == ["canary", "work"], attack
    figure("hostile archives as build contexts that wrote outside", "= 0", 0, of=count)


def test_layouts_by_add_rows_1_2_3_4_5_6_76(canary: Canary, tmp_path: Path, figure: Tell) -> None:
    """All of them as ADD unpacks them: the layer has nothing of the host, and nothing is written but that."""
    count = 0
    for attack in attacks.ALL:
        for items in attacks.aimed(attack, str(canary)).layers:
            count += 1
            (tmp_path / "archive").write_bytes(archive(items))
            assert TEXT not in added(tmp_path / "archive", tmp_path), attack
            (tmp_path / "archive").unlink()
            canary.check()
            assert os.listdir(tmp_path) == ["canary"], attack
    figure("hostile archives of ADD that reached outside", "= 0", 0, of=count)


def added(path: Path, work: Path) -> bytes:
    """The layer that an ADD of an archive to the root makes; empty where it is refused."""
    spool = Spool(str(work), 1 << 30)
    output = os.memfd_create("layer")
    source = os.open(path, os.O_RDONLY)
    try:
        with View(None) as view:
            Unpacking(view, view.root, spool, Limits(bytes=1 << 30), (0, 0)).unpack(source)
            write(view, output, int)
        return os.pread(output, os.fstat(output).st_size, 0)
    except StorageError:
        return b""
    finally:
        spool.close()
        os.close(output)
        os.close(source)


def test_layouts_at_the_command_line_rows_6_7_76(cli: Cli, canary: Canary, context: Path, tmp_path: Path) -> None:
    """Some of them end to end, and over an image whose directories are links to the host."""
    evil = f"RUN ln -s {canary} /evil && ln -s ../../../../../..{canary} /evil2\n"
    for attack in attacks.ALL[::STRIDE]:
        for items in attacks.aimed(attack, str(canary)).layers:
            (context / "a.tar").write_bytes(archive(items))
            done = build(cli, context, f"{evil}ADD a.tar /evil/\nADD a.tar /\nRUN true", "-t", "copied")
            assert "Traceback" not in done.stderr and done.returncode in (0, 125), done.stderr
            canary.check()
            data = archive([file("Containerfile", "FROM localhost/busybox\nCOPY . /all/\n"), *items])
            words = cli.command("build", "-t", "copied2", "-")
            run = subprocess.run(words, input=data, env=cli.environment, capture_output=True, timeout=60, check=False)
            assert b"Traceback" not in run.stderr and run.returncode in (0, 125), run.stderr
            canary.check()
    assert sorted(os.listdir(tmp_path)) == ["canary", "context", "context.Containerfile"]


# The destination.


def test_destinations_through_links_rows_6_22_76(cli: Cli, canary: Canary, context: Path) -> None:
    """Links of the image that lead out of the root, in every form of a destination: all is inside."""
    (context / "f").write_text("in")
    (context / "d").mkdir()
    (context / "d" / "victim").write_text("in")
    (context / "links.tar").write_bytes(archive([
        symlink("out", str(canary)), symlink("up", "../" * 30 + f"{str(canary)[1:]}/dir"),
        symlink("one", f"{canary}/file"), symlink("a", "/b"), symlink("b", "/a"),
    ]))  # fmt: skip
    lines = ("COPY f /out/new", "COPY f /out/", "COPY d /out", "COPY d/victim /out/victim", "COPY f /up/below/file",
             "ADD f /out/dir/", "COPY --parents d/victim /out/", "COPY f /one", "COPY --link f /out/file")  # fmt: skip
    built(cli, context, "\n".join(["ADD links.tar /", *lines]), "-t", "copied")
    made = layers(cli, "copied")[-len(lines) :]
    for line, members in zip(lines, made, strict=True):
        found = [member.name for member in members if member.isfile()]
        assert len(found) == 1 and found[0].startswith((str(canary)[1:], "one", "out/")), (line, found)
    canary.check()
    assert "too many links" in refused(cli, context, "ADD links.tar /\nCOPY f /a/x/y")


def test_names_of_owners_are_read_inside_row_26(cli: Cli, canary: Canary, context: Path) -> None:
    """/etc/passwd of the image is a link to the host, a pipe, endless, or very large."""
    (context / "f").write_text("in")
    accounts = "x:x:1:1:::\n" * 1_000_000 + "canary:x:7:7:::\n"
    for passwd in (symlink("etc/passwd", f"{canary}/etc/passwd"), fifo("etc/passwd"),
                   symlink("etc/passwd", "/dev/zero"), file("etc/passwd", accounts)):  # fmt: skip
        (context / "a.tar").write_bytes(archive([passwd]))
        said = refused(cli, context, "ADD a.tar /\nCOPY --chown=7:8 f /f\nCOPY --chown=canary f /f")
        assert "unable to find user canary" in said and ":4:" in said


# Special files.


def test_special_files_row_16(cli: Cli, context: Path) -> None:
    """A pipe is copied as one, a socket left out; neither is opened."""
    import socket

    os.mkfifo(context / "pipe")
    (context / "d").mkdir()
    os.mkfifo(context / "d" / "pipe")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(context / "d" / "s"))
        begun = time.monotonic()
        built(cli, context, "COPY pipe d /to/\nADD pipe /added/", "-t", "copied")
        assert time.monotonic() - begun < _SOON
    found = {member.name: member for member in layers(cli, "copied")[-2]}
    assert found["to/pipe"].isfifo() and "to/s" not in found


def test_devices_of_archives_row_16(cli: Cli, context: Path) -> None:
    """They are in the layer what they are, and no device on the disk."""
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w") as made:
        for name, kind in (("null", tarfile.CHRTYPE), ("sda", tarfile.BLKTYPE)):
            member = tarfile.TarInfo(name)
            member.type, member.devmajor, member.devminor = kind, 8, 0
            made.addfile(member)
    (context / "a.tar").write_bytes(data.getvalue())
    built(cli, context, "ADD a.tar /devices/\nRUN test -f /devices/sda && ! test -s /devices/sda", "-t", "copied")
    found = {member.name: member for member in layers(cli, "copied")[-2]}
    assert found["devices/sda"].isblk()
    for path in (cli.data / "layers").rglob("sda"):
        assert stat.S_ISREG(path.lstat().st_mode)


def test_giant_files_rows_10_12(cli: Cli, context: Path) -> None:
    """4 TiB of hole are refused before they are read, in a context and in an archive of ADD."""
    with (context / "hole").open("wb") as made:
        made.truncate(_SPARSE)
    begun = time.monotonic()
    said = refused(cli, context, "COPY hole /x", "--no-cache")
    assert str(_SPARSE) in said and "at most" in said
    (context / "hole").unlink()
    member = tarfile.TarInfo("sparse")
    member.pax_headers = {"GNU.sparse.major": "1", "GNU.sparse.minor": "0", "GNU.sparse.realsize": str(_SPARSE),
                          "GNU.sparse.name": "sparse"}  # fmt: skip
    text = f"1\n{_SPARSE}\n0\n".encode().ljust(512, b"\0")
    member.size = len(text)
    data = io.BytesIO()
    with tarfile.open(fileobj=data, mode="w", format=tarfile.PAX_FORMAT) as made_tar:
        made_tar.addfile(member, io.BytesIO(text))
    (context / "a.tar").write_bytes(data.getvalue())
    assert "at most" in refused(cli, context, "ADD a.tar /x", "--no-cache")
    assert time.monotonic() - begun < _SOON


def test_names_of_urls_row_76(cli: Cli, context: Path, tmp_path: Path) -> None:
    """The name that a URL ends with is one name; other schemes than http(s) are paths of the context."""
    (tmp_path / "served").mkdir()
    (tmp_path / "served" / "f").write_text("in")
    with http_server(tmp_path / "served") as address:
        for word in ("..%2f..%2fx", "a%00b"):
            said = refused(cli, context, f"ADD {address}/{word} /to/")
            assert "no name for a file" in said or "404" in said, said
    for url in ("file:///etc/passwd", "FILE:/etc/passwd"):
        assert "not in the build context" in refused(cli, context, f"ADD {url} /to/")
    assert "credentials in it" in refused(cli, context, "ADD http://user:secret@127.0.0.1:9/x /to/")
