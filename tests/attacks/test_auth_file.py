"""The file of credentials: what is made of a broken one, who can read it, and where else its secrets come."""

from __future__ import annotations

import base64
import itertools
import json
import os
import shutil
import signal
import stat
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.attacks.credential_cases import forms
from tests.fakes.proxy import FakeProxy
from tests.fakes.registry import FakeRegistry, Reply, layer
from tests.support.cli import Cli
from tests.support.figures import Tell, amount
from tests.support.images import busybox_tar
from tests.support.refusal import check, processes
from tests.support.waiting import until

USER, PASSWORD = "me", "sesame-4711"  # noqa: S105
INSECURE = "--tls-verify=false"
SECRET = forms(PASSWORD) | {base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}
GOOD = {"auth": base64.b64encode(f"{USER}:{PASSWORD}".encode()).decode()}


@pytest.fixture
def fake() -> Iterator[FakeRegistry]:
    """A registry that wants the password."""
    with FakeRegistry(user=USER, password=PASSWORD) as running:
        running.add_image("app", [layer({"f": b"x"})])
        yield running


def auth_file(cli: Cli) -> Path:
    return cli.home / "run" / "containers" / "auth.json"


def write(cli: Cli, text: str) -> None:
    auth_file(cli).parent.mkdir(exist_ok=True)
    auth_file(cli).write_text(text)


def helper(path: Path, marker: Path) -> None:
    """A program that gives a password away, and leaves a mark."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(f'#!/bin/sh\ntouch {marker}\necho \'{{"Username":"{USER}","Secret":"{PASSWORD}"}}\'\n')
    path.chmod(0o755)


# Row 87: broken files

BROKEN = {
    "cut": '{"auths": {',
    "no-object": "[]",
    "auths-a-list": '{"auths": [1]}',
    "no-base64": '{"auths": {"HOST": {"auth": "%%%"}}}',
    "no-colon": '{"auths": {"HOST": {"auth": "bm9jb2xvbg=="}}}',
    "a-number": '{"auths": {"HOST": {"auth": 5}}}',
    "deep": "[" * 100_000,
    "zeros": "\0" * 100,
    "helper-above": '{"credHelpers": {"HOST": "../evil"}}',
    "helper-with-a-path": '{"credHelpers": {"HOST": "a/evil"}}',
    "helper-with-a-root": '{"credHelpers": {"HOST": "/evil"}}',
    "helper-with-an-option": '{"credHelpers": {"HOST": "-evil"}}',
    "helper-with-a-line": '{"credHelpers": {"HOST": "evil\\nx"}}',
    "helper-in-this-directory": '{"credHelpers": {"HOST": "here"}}',
    "helper-that-others-write": '{"credHelpers": {"HOST": "open"}}',
    "helper-that-is-missing": '{"credHelpers": {"HOST": "missing"}}',
    "store-above": '{"credsStore": "../evil"}',
    "store-that-is-missing": '{"credsStore": "missing"}',
    "helper-that-is-a-number": '{"credHelpers": {"HOST": 5}}',
}


BROKEN_AT_LOGIN = ("cut", "no-base64", "helper-above", "helper-that-is-missing")


@pytest.mark.parametrize("kind", BROKEN)
def test_broken_file_row_87(cli: Cli, fake: FakeRegistry, tmp_path: Path, kind: str) -> None:
    marker = tmp_path / "marker"
    programs = tmp_path / "bin"
    for name in ("a/evil", "../docker-credential-evil", "evil", "here"):
        helper(tmp_path / "here" / f"docker-credential-{name}", marker)
    helper(programs / "open" / "docker-credential-open", marker)
    (programs / "open").chmod(0o777)
    write(cli, BROKEN[kind].replace("HOST", fake.host))
    path = f".:here::{programs}/open:/usr/bin:/bin"
    with FakeProxy({}) as proxy:
        environment = {**cli.environment, "PATH": path, "https_proxy": proxy.url, "http_proxy": proxy.url}
        for words in [("pull", "-q", INSECURE), *([("login", INSECURE)] if kind in BROKEN_AT_LOGIN else [])]:
            where = f"{fake.host}/app" if words[0] == "pull" else fake.host
            done = subprocess.run(
                cli.command(*words, where), env=environment, cwd=tmp_path / "here", input="",
                capture_output=True, text=True, timeout=60, check=False,
            )  # fmt: skip
            check(done, 125)
        assert proxy.asked == []  # nor was any other registry tried
    assert not marker.exists()
    assert not any("authorization" in seen.headers for seen in fake.seen)


# Row 88: who reads the file


def open_to_others(top: Path) -> list[str]:
    """What below ``top`` somebody else may read, write or pass through."""
    return [str(path) for path in top.rglob("*") if not path.is_symlink() and path.stat().st_mode & 0o077]


LOGIN = ("login", INSECURE, "-u", USER, "--password-stdin")


@pytest.mark.parametrize("mask", ["000", "077", "777"])
def test_file_is_the_users_alone_row_88(cli: Cli, fake: FakeRegistry, mask: str) -> None:
    new = cli.home / "new"
    new.mkdir(mode=0o700)
    for flags in ((), ("--authfile", str(new / "a" / "b" / "auth.json"))):
        command = cli.command(*LOGIN, *flags, fake.host)
        script = ["sh", "-c", f'umask {mask}; exec "$@"', "sh", *command]
        done = subprocess.run(script, env=cli.environment, input=PASSWORD, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    assert stat.S_IMODE(auth_file(cli).stat().st_mode) == 0o600
    assert open_to_others(auth_file(cli).parent) == open_to_others(new) == []


def test_file_that_was_open_is_closed_row_88(cli: Cli, fake: FakeRegistry) -> None:
    write(cli, json.dumps({"auths": {"other.example": GOOD}}))
    auth_file(cli).chmod(0o644)
    cli.ok(*LOGIN, fake.host, stdin=PASSWORD)
    assert stat.S_IMODE(auth_file(cli).stat().st_mode) == 0o600
    assert json.loads(auth_file(cli).read_text())["auths"] == {"other.example": GOOD, fake.host: GOOD}


@pytest.mark.timeout(1800)
@pytest.mark.needs("strace")
def test_login_that_is_killed_row_88(cli: Cli, fake: FakeRegistry, figure: Tell) -> None:
    """Killed at each system call that changes something, until it ends unharmed."""
    calls = ["fsync", "rename", "flock", "unlink", *(amount(0, 1) * ["mkdir", "write", "sendto", "fcntl", "connect"])]
    before = {"other.example": GOOD}
    after = {**before, fake.host: GOOD}
    killed = torn = 0
    for call in calls:
        for number in itertools.count(1):
            write(cli, json.dumps({"auths": before}))
            auth_file(cli).chmod(0o600)
            inject = ["strace", "-f", "-qq", "-o", os.devnull, "-e", f"inject={call}:signal=SIGKILL:when={number}"]
            done = subprocess.run([*inject, *cli.command(*LOGIN, fake.host)], env=cli.environment, input=PASSWORD,
                                  timeout=60, capture_output=True, text=True, check=False)  # fmt: skip
            torn += json.loads(auth_file(cli).read_text())["auths"] not in (before, after)
            torn += bool(open_to_others(auth_file(cli).parent))
            if done.returncode == 0:
                break
            killed += 1
    assert killed >= 3
    figure("login: auth files torn or open after it was killed", "= 0", torn, of=killed)
    cli.ok(*LOGIN, fake.host, stdin=PASSWORD)
    assert sorted(os.listdir(auth_file(cli).parent)) == [".auth.json.lock", "auth.json"]


# Row 88: where else the password comes


def seen_by_others(process: int) -> bytes:
    """What anybody, and what the same user, may read of a process."""
    text = b""
    for name in ("cmdline", "environ"):
        try:
            text += Path(f"/proc/{process}/{name}").read_bytes()
        except OSError:
            continue
    return text


def tree(top: int) -> list[int]:
    """A process and its descendants."""
    found = [top]
    for process in found:
        for task in Path(f"/proc/{process}/task").glob("*/children"):
            found += [int(word) for word in task.read_text().split()]
    return found


WAYS = {
    "login": (*LOGIN, "{host}"),
    "login-with-option": ("login", INSECURE, "-u", USER, f"--password={PASSWORD}", "{host}"),
    "login-with-short-option": ("login", INSECURE, "-u", USER, "-p", PASSWORD, "{host}"),
    "pull": ("pull", INSECURE, "{host}/app"),
    "pull-with-option": ("pull", INSECURE, "--creds", f"{USER}:{PASSWORD}", "{host}/app"),
    "run-with-option": ("run", "--rm", INSECURE, "--creds", f"{USER}:{PASSWORD}", "{host}/app", "true"),
    "create-with-option": ("create", INSECURE, f"--creds={USER}:{PASSWORD}", "{host}/app", "true"),
}


@pytest.mark.needs("subuid")
@pytest.mark.parametrize("way", WAYS)
def test_password_is_nowhere_else_row_88(cli: Cli, fake: FakeRegistry, tmp_path: Path, way: str) -> None:
    if way == "pull":
        cli.ok(*LOGIN, fake.host, stdin=PASSWORD)
        fake.seen.clear()
    words = [word.format(host=fake.host) for word in WAYS[way]]
    part = "/v2/" if way.startswith("login") else "/manifests/"
    fake.script(part, Reply(), times=2 if way.startswith("login") else 1)
    fake.script(part, Reply(delay=30))
    log = tmp_path / "output"
    command = ["sh", "-c", 'ulimit -c unlimited; exec "$@"', "sh", *cli.command("--log-level=debug", *words)]
    with log.open("wb") as output:
        process = subprocess.Popen(command, env=cli.environment, stdin=subprocess.PIPE, stdout=output, stderr=output,
                                   cwd=tmp_path)  # fmt: skip
        assert process.stdin is not None
        process.stdin.write(PASSWORD.encode())
        process.stdin.close()
        until(lambda: any("authorization" in seen.headers for seen in fake.seen))
        family = tree(process.pid)
        shown = b"".join(map(seen_by_others, family))
        for member in reversed(family):
            os.kill(member, signal.SIGABRT)
        process.wait(20)
    until(lambda: not processes(cli))
    assert not [secret for secret in SECRET if secret.encode() in shown]
    places = [log, *(path for path in (*tmp_path.rglob("*"), *cli.home.rglob("*")) if path.is_file())]
    assert [str(path) for path in places if path != auth_file(cli) and holds_secret(path)] == []


def holds_secret(path: Path) -> bool:
    data = path.read_bytes()
    return any(secret.encode() in data for secret in SECRET)


@pytest.mark.needs("subuid")
def test_password_is_not_kept_with_a_container_row_88(cli: Cli, fake: FakeRegistry) -> None:
    creds = f"{USER}:{PASSWORD}"
    words = ("--creds", creds, "--name", "c", f"{fake.host}/app", "echo", creds[:4])
    container = cli.ok("create", INSECURE, *words).strip()
    kept = json.loads(cli.ok("inspect", container))[0]["Config"]["CreateCommand"]
    assert kept[-2:] == ["echo", creds[:4]] and kept[kept.index("--creds") + 1] == USER
    assert [str(path) for path in cli.home.rglob("*") if path.is_file() and holds_secret(path)] == []
    assert PASSWORD not in cli.ok("events", "--stream=false")


def needs_cores_here() -> None:
    if Path("/proc/sys/kernel/core_pattern").read_text().startswith(("|", "/")):
        pytest.skip("needs core files in the working directory")


@pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")
@pytest.mark.parametrize("pull", ["missing", "never"])
def test_container_has_the_callers_limit_and_its_engine_leaves_no_password_row_88(
    cli: Cli, fake: FakeRegistry, tmp_path: Path, pull: str
) -> None:
    """The program that pulls with a password, or need not, goes on as the engine of a container."""
    needs_cores_here()
    fake.add_image("app", [busybox_tar()])
    if pull == "never":
        cli.ok("pull", "-q", INSECURE, "--creds", f"{USER}:{PASSWORD}", f"{fake.host}/app")
    words = ("run", "--network=none", INSECURE, f"--pull={pull}", f"--creds={USER}:{PASSWORD}", f"{fake.host}/app")
    command = cli.command(*words, "sh", "-c", "ulimit -c; exec sleep 1000")
    process = subprocess.Popen(
        ["sh", "-c", 'ulimit -c unlimited; exec "$@"', "sh", *command], env=cli.environment, cwd=tmp_path,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
    )  # fmt: skip
    with process:
        assert process.stdout is not None
        limit = process.stdout.readline()
        process.send_signal(signal.SIGSEGV)  # it is not handed on to the container
        process.wait(20)
        cli.ok("rm", "-f", "-a", "-t0")
    assert limit == "unlimited\n"
    (core,) = tmp_path.glob("core*")
    assert core.stat().st_size > 0 and not holds_secret(core)


def test_core_file_would_have_been_left(tmp_path: Path) -> None:
    """The measure of the tests above: without the program's care there is one."""
    needs_cores_here()
    python = shutil.which("python3") or "python3"
    subprocess.run(
        ["sh", "-c", 'ulimit -c unlimited; exec "$@"', "sh", python, "-c", "import os; os.abort()"],
        cwd=tmp_path, check=False, capture_output=True,
    )  # fmt: skip
    assert any(path.name.startswith("core") for path in tmp_path.iterdir())
