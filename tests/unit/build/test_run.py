"""What RUN reads of the words that it is given: mounts, secrets, agents, its command, the options of its container."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from rootless.build.run import command, layer, mounts, roots, secrets, settings, ssh
from rootless.build.run.mounts import Mount
from rootless.containerfile.parse import parse
from rootless.errors import UsageError

WORDS = st.text(alphabet=st.sampled_from("abz09:/.,=-_*@\\\"' \n\0é"), max_size=40)
KEYS = st.sampled_from(
    "type target dst source src from id uid gid mode ro rw readonly sharing required env size z Z U relabel "
    "bind-propagation".split()
)
FIELDS = st.one_of(KEYS, st.tuples(KEYS, st.one_of(WORDS, st.sampled_from(mounts.KINDS))).map("=".join))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("target=/m", Mount("bind", "/m", read_only=True)),
        ("type=bind,from=a,src=/x,dst=m/../n,rw", Mount("bind", "/w/n", "/x", "a")),
        ("type=bind,target=/m,readonly=false,z", Mount("bind", "/m", relabel="shared")),
        ("type=bind,target=/m,Z", Mount("bind", "/m", read_only=True, relabel="private")),
        ("type=cache,target=/c/", Mount("cache", "/c", id="/c")),
        ("type=cache,target=/c,id=a/b,ro,sharing=locked,mode=0700,uid=1,gid=2",
         Mount("cache", "/c", read_only=True, id="a/b", sharing="locked", mode=0o700, uid=1, gid=2)),
        ("type=tmpfs,target=/t,size=1m", Mount("tmpfs", "/t", size=1 << 20)),
        ("type=secret,id=a", Mount("secret", "/run/secrets/a", id="a")),
        ("type=secret,id=a/b,required", Mount("secret", "/run/secrets/b", id="a/b", required=True)),
        ("type=secret,id=a,env=A", Mount("secret", "", id="a", env="A")),
        ("type=secret,target=/x/name", Mount("secret", "/x/name", id="name")),
        ("type=ssh", Mount("ssh", "/run/buildkit/ssh_agent.2", id="default")),
        ('type=bind,"source=a,b",target=/m', Mount("bind", "/m", "a,b", read_only=True)),
    ],
)  # fmt: skip
def test_mounts(text: str, expected: Mount) -> None:
    assert mounts.parse(text, "/w", 2) == expected


def test_mounts_of_one_step() -> None:
    found = mounts.parse_all(["type=ssh", "type=ssh,id=b", "type=secret,id=a,env=A", "type=secret,id=b,env=B"], "/")
    assert [mount.target for mount in found] == [f"{mounts.AGENTS}/ssh_agent.0", f"{mounts.AGENTS}/ssh_agent.1", "", ""]
    with pytest.raises(UsageError, match="twice"):
        mounts.parse_all(["target=/a/b", "type=tmpfs,target=/a//b/"], "/")


@given(text=st.lists(FIELDS, max_size=6).map(",".join), directory=WORDS)
@example("type=bind,target=..", "/a/b")
def test_any_mount_is_read_or_refused(text: str, directory: str) -> None:
    """What is read has a target that is absolute, normal and no place of the kernel's."""
    try:
        mount = mounts.parse(text, directory)
    except UsageError:
        return
    assert mount.target == "" or mount.target.startswith("/")
    parts = mount.target.split("/")[1:]
    assert mount.target == "" or (parts != [""] and not {"", ".", ".."} & set(parts) and parts[0] != "proc")
    assert mount.kind in mounts.KINDS and ".." not in mount.id.split("/")
    assert mount.target or mount.env


@pytest.mark.parametrize(
    ("entries", "environ", "expected"),
    [
        (["id=a,src=/f"], {}, {"a": ("/f", False)}),
        (["id=a,source=f,type=file"], {}, {"a": ("f", False)}),
        (["id=a,env=V"], {}, {"a": ("V", True)}),
        (["type=env,id=a"], {}, {"a": ("a", True)}),
        (["id=a", "id=b"], {"a": "x"}, {"a": ("a", True), "b": ("b", False)}),
        (["id=a,src=V,type=env"], {}, {"a": ("V", True)}),
    ],
)
def test_secrets(entries: list[str], environ: dict[str, str], expected: dict[str, tuple[str, bool]]) -> None:
    assert secrets.parse(entries, environ) == expected


def test_agents() -> None:
    found = ssh.parse(["default", "b=/s", "c=k1,/k2"], {"SSH_AUTH_SOCK": "/agent"})
    assert found == {"default": ["/agent"], "b": ["/s"], "c": [str(Path("k1").resolve()), "/k2"]}
    for wrong in ("default", "=x", "a=", "a=,", "a\0=b"):
        with pytest.raises(UsageError):
            ssh.parse([wrong], {})


@pytest.mark.parametrize("read", [lambda text: secrets.parse([text], {}), lambda text: ssh.parse([text], {})])
@given(text=WORDS)
@example("type=env")
def test_any_secret_or_agent_is_read_or_refused(read: Callable[[str], Any], text: str) -> None:
    try:
        read(text)
    except UsageError:
        return


def of(text: str, **config: Any) -> command.Command:
    """The command of a Containerfile with one RUN."""
    return command.of(parse(f"FROM x\n{text}".encode(), "f").stages[0].instructions[0], config)  # type: ignore[arg-type]


def test_commands() -> None:
    assert of("RUN a  b").arguments == ["/bin/sh", "-c", "a  b"]
    assert of("RUN a b", Shell=["x", "-y"]).arguments == ["x", "-y", "a b"]
    assert of('RUN ["a", "b c"]', Shell=["x"]).arguments == ["a", "b c"]
    assert of("RUN <<E\na\nb\nE").arguments == ["/bin/sh", "-c", "a\nb\n"]
    assert of("RUN <<-E\n\ta\nE").arguments == ["/bin/sh", "-c", "a\n"]
    assert of("RUN cat <<A <<B\na\nA\nb\nB").arguments == ["/bin/sh", "-c", "cat <<A <<B\na\nA\nb\nB"]
    assert of("RUN <<E\n#!/bin/x -y\na\nE") == (["/dev/pipes/E"], "/dev/pipes/E", "#!/bin/x -y\na\n")
    lines = "a\n" * (64 << 10)
    with pytest.raises(UsageError, match="KiB"):
        of(f"RUN <<E\n{lines}E")


CONFIG = SimpleNamespace(flags={"dns": ["192.0.2.1"], "name": "x"}, hardened=False)
ENGINE: Any = SimpleNamespace(config=CONFIG, globals={"debug": True}, tell=lambda line: None)


def test_options() -> None:
    given = {"dns": ["192.0.2.2"], "ulimit": ["nofile=5"], "tag": ["x"], "env": ["A=1"]}
    options = settings.read(ENGINE, given, "", "")
    assert options.dns == ["192.0.2.1", "192.0.2.2"] and options.rlimits[0]["soft"] == 5
    assert (options.name, options.env, options.entrypoint, options.passwd) == ("", [], [], False)
    assert settings.read(ENGINE, {"network": ["host"]}, "none", "").network == "none"
    assert settings.read(ENGINE, {"network": ["host"]}, "default", "sandbox").network == "host"
    assert settings.read(ENGINE, {"allow": ["security.insecure"]}, "", "insecure").privileged
    assert settings.read(ENGINE, {"uts": "host", "isolation": "chroot"}, "", "").hostname == ""


@pytest.mark.parametrize(
    ("values", "network", "security"),
    [
        ({}, "bridge", ""), ({}, "", "insecure"), ({}, "", "other"), ({"volume": ["name:/x"]}, "", ""),
        ({"volume": ["./x:/x"]}, "", ""), ({"isolation": "hyperv"}, "", ""), ({"userns": "auto"}, "", ""),
        ({"allow": ["all"]}, "", ""), ({"allow": ["network.host"]}, "", "insecure"),
    ],
)  # fmt: skip
def test_options_that_are_refused(values: dict[str, Any], network: str, security: str) -> None:
    with pytest.raises(UsageError):
        settings.read(ENGINE, values, network, security)


def test_what_changes_a_result() -> None:
    given = {"cap_add": ["x"], "memory": "1g", "secret": ["id=a,env=B"], "no_hosts": True, "dns": []}
    assert settings.key_part(ENGINE, given) == {"cap_add": ["x"], "no_hosts": True}
    configured = SimpleNamespace(flags={"cap_add": ["y"], "volume": ["/a:/b"], "memory": "2g"}, hardened=True)
    part = settings.key_part(cast(Any, SimpleNamespace(config=configured)), given)
    assert part == {"cap_add": ["y", "x"], "no_hosts": True, "hardened": True}, "the user's configuration counts too"


def job_of(context: Path, ignored: set[str], enters: set[str]) -> Any:
    """A job whose ignore file means these paths."""
    return SimpleNamespace(context=str(context), ignored=ignored.__contains__, enters=enters.__contains__)


def test_what_is_hidden_of_a_context(tmp_path: Path) -> None:
    for path in ("a/b/c", "a/d", "e/f", "g"):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(path)
    (tmp_path / "empty").mkdir()
    assert roots.ignored(job_of(tmp_path, {"a", "a/b", "a/b/c", "g"}, {"a"}), "") == ["a/b", "g"]
    assert roots.ignored(job_of(tmp_path, {"a", "a/b", "a/b/c", "a/d"}, {"a", "a/b"}), ".") == ["a"]
    assert roots.ignored(job_of(tmp_path, {"e/f", "empty"}, set()), "/") == ["e/f", "empty"]
    (tmp_path / "link").symlink_to("/a/b")
    assert roots.ignored(job_of(tmp_path, {"a/b/c", "g"}, set()), "link") == ["a/b/c"]
    assert roots.ignored(job_of(tmp_path, {"a/b/c", "g"}, set()), "../g") == ["g"]
    roots.whiteouts(str(tmp_path), ["a/b", "g"], str(tmp_path / "made"))
    assert (tmp_path / "made" / "a" / "b").is_char_device() and (tmp_path / "made" / "g").is_char_device()
    assert (tmp_path / "made" / "a").stat().st_mtime_ns == (tmp_path / "a").stat().st_mtime_ns


def test_places_of_mounts(tmp_path: Path) -> None:
    upper = tmp_path / "upper"
    (upper / "a" / "b").mkdir(parents=True)
    (upper / "etc").mkdir()
    (upper / "etc" / "hosts").touch()
    container: Any = SimpleNamespace(rootfs={"upper": str(upper)})
    assert layer.made_places(container, []) == {"a", "a/b", "etc", "etc/hosts"}
    root = tmp_path / "root"
    (root / "var" / "run").mkdir(parents=True)
    (root / "link").symlink_to("/var/run")
    spec = {"mounts": [{"destination": "/link"}, {"destination": "/missing/place"}]}
    copy: Any = SimpleNamespace(rootfs={"upper": "", "merged": str(root)}, spec=spec)
    assert layer.made_places(copy, ["/"]) == {"var", "var/run", "missing", "missing/place"}
