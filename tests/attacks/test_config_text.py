"""Texts of images and of the command line: variables, names and ids, lines for other programs, a terminal's orders."""

from __future__ import annotations

import os
import pty
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.integration.test_run_flags import IMAGE
from tests.support import hostile, images
from tests.support.cli import Cli, new_cli
from tests.support.hostile import Image
from tests.support.layers import directory, file
from tests.support.refusal import refused

pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")
NONE = "--network=none"
RUN = ("run", "--rm", NONE)
SECRETS = {"HOSTSECRET": "s3cret", "X1": "s3cret", "A": "s3cret", "EMPTY": "s3cret", "HOME": "s3cret"}
EVIL_LINE = "evil:x:0:0::/:/bin/sh"
ODD = ("a\nb", f"x\n{EVIL_LINE}\n", "%n%s", "$HOME", "$(id)", "`id`", "a;id", 'a"b', "a'b", "a\\nb", "a\rb",
       "[Service]", "ExecStartPre=/bin/sh")  # fmt: skip
ESCAPES = "\x1b[2J\x1b]0;owned\x07\x9b31m\x1bP1$r\x1b\\"


@pytest.fixture(scope="module")
def cli(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Cli]:
    """A store with the images ``variables``, ``lines`` and ``escapes``."""
    labels = {f"label{ESCAPES}": f"value{ESCAPES}"}
    made = {
        "variables": Image(config={"Env": ["HOSTSECRET", "X*", "=a", "A", "*", "", "EMPTY=", images.PATH]}),
        "lines": Image(
            [[directory("odd\n" + EVIL_LINE.replace("/", "")), file("etc/passwd", "root:x:0:0::/root:/bin/sh\n")]],
            {"Env": [images.PATH, f"HOME=/x\n{EVIL_LINE}"], "WorkingDir": f"/x\n{EVIL_LINE}",
             "Labels": {f"a\n{EVIL_LINE}": f"b\n{EVIL_LINE}"}},
        ),
        "escapes": Image(
            config={"Labels": labels, "Cmd": ["sh", "-c", f"# {ESCAPES}"], "Env": [images.PATH, f"E={ESCAPES}"],
                    "WorkingDir": f"/w{ESCAPES}", "Entrypoint": None},
        ),
    }  # fmt: skip
    layout = hostile.write_layout(tmp_path_factory.mktemp("text") / "layout", made)
    with new_cli() as fresh:
        for name in made:
            fresh.ok("tag", fresh.ok("pull", "-q", f"oci:{layout}:{name}").strip(), f"localhost/{name}")
        fresh.ok("tag", "localhost/variables", IMAGE)
        yield fresh


def test_variables_of_the_host_stay_there_row_20(cli: Cli) -> None:
    """CVE-2026-57231: a variable of the image without a value takes none of the host; that is for -e alone."""
    for words in ((), ("--init",), ("-t",), ("--user=1000",), ("--http-proxy=false",)):
        done = cli.run(*RUN, *words, "localhost/variables", "env", env=SECRETS)
        assert done.returncode == 0 and "s3cret" not in done.stdout and "PATH=/" in done.stdout, done
    name = cli.run("run", "-d", NONE, "localhost/variables", "sleep", "100", env=SECRETS).stdout.strip()
    try:
        done = cli.run("exec", name, "env", env=SECRETS)
        assert done.returncode == 0 and "s3cret" not in done.stdout
        shown = cli.run("inspect", name, env=SECRETS)
        assert "s3cret" not in shown.stdout
    finally:
        cli.ok("rm", "-f", "-t", "0", name)
    done = cli.run(*RUN, "-e", "A", "-e", "X*", "localhost/variables", "env", env=SECRETS)
    assert sorted(line for line in done.stdout.splitlines() if "s3cret" in line) == ["A=s3cret", "X1=s3cret"]


def test_texts_stay_one_line_row_28(cli: Cli) -> None:
    """CVE-2022-4318, CVE-2026-15809, CVE-2026-23953: nothing that is given adds a line to /etc/passwd or hosts.

    There are no units to be generated here, which would be the other place for such lines.
    """
    look = "cat /etc/passwd /etc/group /etc/hosts /etc/hostname"
    for user in ("4242", "4242:4243"):
        lines = cli.ok(*RUN, f"--user={user}", "localhost/lines", "sh", "-c", look).splitlines()
        assert EVIL_LINE not in lines
        assert sum(line.startswith("4242:") for line in lines) <= 2 and sum(":x:0:0:" in line for line in lines) == 1
    for text in ODD:
        flags = ("-e", f"HOME={text}", "-e", f"V={text}", "--label", f"a={text}", "--annotation", f"b={text}")
        lines = cli.ok(*RUN, *flags, "--user=4242", IMAGE, "sh", "-c", look, text).splitlines()
        assert EVIL_LINE not in lines, text
        assert len([line for line in lines if line.startswith("4242:*:")]) <= 1
        shown = cli.ok(*RUN, "-e", f"V={text}", IMAGE, "sh", "-c", 'printf "%s|%s" "$V" "$0"', text)
        assert shown == f"{text}|{text}".replace("\r", "\n")  # as Python reads it
    for text in ODD[:3]:
        for words in (("--name", text), ("--hostname", text), ("--user", text)):
            done = cli.run(*RUN, *words, IMAGE, "cat", "/etc/passwd", "/etc/hosts")
            assert done.returncode and "Traceback" not in done.stderr and done.stdout == "", (words, done)
        done = cli.run("volume", "create", text)
        assert done.returncode == 125 and done.stderr.startswith("Error: ") and len(done.stderr.splitlines()) <= 2


NO_IDS = ("../x", "a/b", ".", "..", "-x", "x" * 300, "/", "", " ", "a b", "a\n", "\x1b[31m", "é", "~", "%", "a:b", "_x",
          "x/../y")  # fmt: skip


@pytest.mark.parametrize("text", NO_IDS, ids=range(len(NO_IDS)))
def test_names_and_ids_are_no_paths_row_35(shared_cli: Cli, tmp_path: Path, text: str) -> None:
    """crun's checks: for containers and volumes, to make one, to find one, to rename one."""
    for words in (("create", NONE, "--name", text, IMAGE), (*RUN, "--name", text, IMAGE), ("volume", "create", text)):
        if text or words[0] != "volume":
            if text == "" and "--name" in words:
                continue  # no name is given
            refused(shared_cli, 125, *words)
    name = shared_cli.ok("create", NONE, IMAGE).strip()
    try:
        shared_cli.fails(125, "rename", name, text)
        for command in ("inspect", "start", "rm", "logs", "exec"):
            done = shared_cli.run(command, "--", text, *(["true"] if command == "exec" else []))
            assert done.returncode and "Traceback" not in done.stderr and "internal error" not in done.stderr, done
        refused(shared_cli, 125, "create", NONE, "--name", name[:12], IMAGE) if text == "../x" else None
        assert shared_cli.ok("inspect", "--format", "{{.Id}}", name).strip() == name
    finally:
        shared_cli.ok("rm", name)


def test_a_name_that_begins_anothers_id_row_35(shared_cli: Cli) -> None:
    """A name is asked before the beginnings of ids, so none can be taken for another; a whole id is nobody's name."""
    first = shared_cli.ok("create", NONE, IMAGE).strip()
    try:
        assert shared_cli.run("create", NONE, "--name", first, IMAGE).returncode == 125
        done = shared_cli.run("create", NONE, "--name", first[:12], IMAGE)
        if done.returncode == 0:
            second = done.stdout.strip()
            assert shared_cli.ok("inspect", "--format", "{{.Id}}", first[:12]).strip() == second
            assert shared_cli.ok("rm", first[:12]).strip() == first[:12]
        assert shared_cli.ok("inspect", "--format", "{{.Id}}", first).strip() == first
    finally:
        shared_cli.ok("rm", first)


def on_terminal(cli: Cli, *words: str) -> bytes:
    """Everything that a command shows on a terminal that is its output and its errors."""
    master, slave = pty.openpty()
    try:
        running = subprocess.Popen(
            cli.command(*words), env=cli.environment, stdin=subprocess.DEVNULL, stdout=slave, stderr=slave
        )
        os.close(slave)
        shown = b""
        while True:
            try:
                part = os.read(master, 1 << 16)
            except OSError:
                break
            if not part:
                break
            shown += part
        running.wait(60)
        return shown
    finally:
        os.close(master)


def test_no_terminal_is_given_orders_row_36(cli: Cli, tmp_path: Path) -> None:
    """Escapes in labels, commands, variables, directories, names and errors are shown, not acted on; logs are raw."""
    directory_of = f"/w{ESCAPES}"
    name = cli.ok("create", NONE, "--label", f"l={ESCAPES}", "localhost/escapes").strip()
    (tmp_path / f"f{ESCAPES.replace('/', '')}").write_text("x")
    try:
        for words in (
            ("ps", "-a", "--no-trunc"), ("ps", "-a", "--format", "{{.Command}} {{.Labels}}"), ("images", "--no-trunc"),
            ("images", "--format", "{{json .Labels}}"), ("inspect", name), ("image", "inspect", "localhost/escapes"),
            ("inspect", "--format", "{{.Config.Labels}} {{.Config.Cmd}} {{.Config.WorkingDir}}", name),
            ("history", "--no-trunc", "localhost/escapes"), ("pull", f"localhost/{ESCAPES}"), ("inspect", ESCAPES),
            ("rm", ESCAPES), (*RUN, "localhost/escapes", f"/nothing{ESCAPES}"), (ESCAPES,), ("ps", f"--{ESCAPES}"),
            (*RUN, "-v", f"/nothing{ESCAPES}x:/x", "localhost/escapes"), ("load", "-i", f"/none{ESCAPES}"),
            (*RUN, "-w", f"/none{ESCAPES}", "localhost/escapes", "true"), ("info",),
        ):  # fmt: skip
            shown = on_terminal(cli, *words)
            assert shown, words
            for sign in (b"\x1b]", b"\x1bP", b"\x07", b"\xc2\x9b", b"\x9b", b"\x1b[2J"):
                assert sign not in shown, (words, shown)
        assert directory_of.encode() not in on_terminal(cli, "inspect", name)
    finally:
        cli.ok("rm", name)
