"""The parsers of run's flags: what they take, what they refuse, and that they never fail in another way."""

from __future__ import annotations

from collections.abc import Callable

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.engine.options import env as parse_env
from rootless.engine.options import values as parse_values
from rootless.engine.options.device import parse_devices
from rootless.engine.options.limits import UNLIMITED, parse_sysctls, parse_ulimits
from rootless.engine.options.mount import parse_mount
from rootless.engine.options.run import RunOptions, parse_entrypoint
from rootless.engine.options.security import parse_security
from rootless.engine.options.userns import parse_userns
from rootless.engine.options.volume import parse_tmpfs, parse_volume
from rootless.errors import UsageError

WORDS = st.text(alphabet=st.sampled_from("abz09:/.,=-_*@\\\"' \n\0é"), max_size=40)


@pytest.mark.parametrize(
    "text, size",
    [("0", 0), ("65536", 65536), ("64k", 65536), ("64m", 64 << 20), ("1g", 1 << 30), ("1.5k", 1536), ("2MiB", 2 << 20)],
)
def test_bytes(text: str, size: int) -> None:
    assert parse_values.parse_bytes(text, "--shm-size") == size


@pytest.mark.parametrize("text", ["", "-1", "k", "1x", "1.2.3m", "9" * 30, "٣", "1e3"])
def test_wrong_bytes(text: str) -> None:
    with pytest.raises(UsageError):
        parse_values.parse_bytes(text, "--shm-size")


@pytest.mark.parametrize("text", ["TERM", "sigterm", "15"])
def test_signal(text: str) -> None:
    assert parse_values.parse_signal(text, "--stop-signal") == 15


def test_environment() -> None:
    host = {"A": "host", "LC_ALL": "C", "LC_TIME": "de", "SECRET": "x"}
    assert parse_env.parse_variables(["A", "B=1=2", "LC_*", "NONE", "C="], host) == {
        "A": "host", "B": "1=2", "LC_ALL": "C", "LC_TIME": "de", "C": "",
    }  # fmt: skip
    assert parse_env.image_variables(["SECRET", "X*", "=a", "A", "OK=1"]) == {"OK": "1"}
    assert parse_env.merge_variables(["P=$A:${B}/x$$ $"], {"A": "1", "B": "2"}) == {"P": "1:2/x$$ $"}
    for wrong in ("", "=x", " A=1", "A =1", "A=\0"):
        with pytest.raises(UsageError):
            parse_env.parse_variables([wrong], {})


def test_ulimits() -> None:
    assert parse_ulimits(["host"]) == (True, [])
    inherit, (first, second) = parse_ulimits(["nofile=10:20", "core=-1"])
    assert not inherit
    assert first == {"type": "RLIMIT_NOFILE", "soft": 10, "hard": 20}
    assert second == {"type": "RLIMIT_CORE", "soft": UNLIMITED, "hard": UNLIMITED}
    for wrong in ("nofile", "wrong=1", "nofile=20:10", "nofile=x", "nofile=1:2:3"):
        with pytest.raises(UsageError):
            parse_ulimits([wrong])


def test_sysctls() -> None:
    spaces = ("ipc", "network", "uts")
    assert parse_sysctls(["net.ipv4.ip_forward=1", "kernel/msgmax=5"], spaces) == {
        "net.ipv4.ip_forward": "1", "kernel.msgmax": "5",
    }  # fmt: skip
    for wrong in (
        "kernel.core_pattern=|/x", "a=1+kernel.core_pattern=x", "net.x=1\nkernel.core_pattern=y", "kernel.hostname=x",
        "vm.swappiness=1", "net..x=1", "=1", "net.x", "fs.file-max=1", "../kernel.msgmax=1", "kernel.msg max=1",
        "fs.mqueue.\0=1",
    ):  # fmt: skip
        with pytest.raises(UsageError):
            parse_sysctls([wrong], spaces)
    with pytest.raises(UsageError):
        parse_sysctls(["net.ipv4.ip_forward=1"], ("ipc", "uts"))


def test_volume() -> None:
    mount = parse_volume("/src:/dst:ro,Z")
    assert (mount["type"], mount["source"], mount["destination"]) == ("bind", "/src", "/dst")
    assert set(mount["options"]) == {"ro", "nosuid", "nodev", "rbind", "rprivate"}
    assert (mount["relabel"], parse_volume("name:/x:z")["relabel"]) == ("private", "shared")
    assert parse_mount("type=bind,src=/src,dst=/dst,relabel=shared")["relabel"] == "shared"
    mount = parse_volume("name:/dst/../x:exec,rslave")
    assert (mount["type"], mount["source"], mount["destination"]) == ("volume", "name", "/x")
    assert {"exec", "rslave", "rw"} <= set(mount["options"])
    assert parse_volume("/anonymous")["source"] == ""
    assert parse_volume(r"/with\:colon:/dst")["source"] == "/with:colon"
    assert parse_volume("./here:/dst")["source"].startswith("/")
    assert parse_volume("/a:/b:U,O")["chown"] and parse_volume("/a:/b:U,O")["overlay"]


@pytest.mark.parametrize(
    "text",
    ["", ":", "a:b", "/a:/", "/a:/proc", "/a:/proc/self", "/a:/x/../proc", "/a:/b:ro,rw", "/a:/b:shared,slave",
     "/a:/b:idmap", "/a:/b:z,Z",
     "/a:/b:what", "/a:/b:c:d", "/a:/b:upperdir=/x", "/a:/b:O,upperdir=x,workdir=/y", "../x y:/b\0"],
)  # fmt: skip
def test_wrong_volume(text: str) -> None:
    with pytest.raises(UsageError):
        parse_volume(text)


def test_tmpfs_and_mount() -> None:
    assert {"size=65536", "mode=700", "tmpcopyup"} <= set(parse_tmpfs("/x:size=64k,mode=0700")["options"])
    mount = parse_mount('type=bind,"source=/a,b",target=/x,readonly=true,bind-propagation=rshared')
    assert mount["source"] == "/a,b" and {"ro", "rshared"} <= set(mount["options"])
    assert parse_mount("type=volume,dst=/x,volume-label=a=b,volume-nocopy")["labels"] == {"a": "b"}
    assert "tmpcopyup" not in parse_mount("type=tmpfs,dst=/x,notmpcopyup")["options"]
    assert parse_mount("type=devpts,destination=/dev/pts,gid=5,mode=0620")["options"][-2:] == ["gid=5", "mode=620"]


def test_user_namespace() -> None:
    space = parse_userns("keep-id:uid=5,gid=6,size=100")
    assert (space.mode, space.uid, space.gid, space.size) == ("keep-id", 5, 6, 100)
    assert parse_userns("").mode == "host"
    space = parse_userns("", ["0:1:10", "10:0"])
    assert space.uids == space.gids == [(0, 1, 10), (10, 0, 1)]
    for wrong in ("x", "host:size=1", "keep-id:x=1", "keep-id:uid=-1", "keep-id:uid=4294967295", "auto:size=0"):
        with pytest.raises(UsageError):
            parse_userns(wrong)
    for maps in (["0:0:0"], ["0:1:2", "1:5:2"], ["x"], ["0:1:4294967296"]):
        with pytest.raises(UsageError):
            parse_userns("", maps)
    with pytest.raises(UsageError):
        parse_userns("keep-id", ["0:1:2"])


def test_security() -> None:
    options = parse_security(["no-new-privileges", "mask=/a:/b", "unmask=ALL", "proc-opts=hidepid=2,subset=pid"])
    assert options.no_new_privileges is True
    assert (options.mask, options.unmask, options.proc_options) == (["/a", "/b"], ["ALL"], ["hidepid=2", "subset=pid"])
    options = parse_security(["label=disable", "apparmor:unconfined", "no-new-privileges:false"])
    assert options.no_new_privileges is False
    assert (options.label, options.apparmor) == ({"disable": ""}, "unconfined")
    options = parse_security(["label=type:x_t", "label=level:s0:c1,c2", "label:filetype:y_t", "apparmor=mine"])
    assert options.label == {"type": "x_t", "level": "s0:c1,c2", "filetype": "y_t"}
    assert options.apparmor == "mine"
    for wrong in ("what", "label=type", "apparmor=", "mask=x", "proc-opts=gid=1", "seccomp=/no/such"):
        with pytest.raises(UsageError):
            parse_security([wrong])


def test_devices() -> None:
    assert parse_devices(["/dev/null:/dev/x:rw"]) == [{"source": "/dev/null", "destination": "/dev/x"}]
    for wrong in ("null", "/dev/null:x", "/dev/null:/x:r", "/dev/no-such", "/etc/passwd", "/dev/null:/x:rwm:y"):
        with pytest.raises(UsageError):
            parse_devices([wrong])


def test_entrypoint() -> None:
    assert parse_entrypoint("") == []
    assert parse_entrypoint("sh") == ["sh"]
    assert parse_entrypoint('["sh","-c"]') == ["sh", "-c"]
    assert parse_entrypoint("[x") == ["[x"]


@pytest.mark.parametrize(
    "values",
    [
        {"hostname": "a b"}, {"hostname": "x\n127.0.0.1 y"}, {"hostname": "x" * 65}, {"network": ["a", "b"]},
        {"network": ["bridge"]}, {"workdir": "relative"}, {"attach": ["stdwhat"]}, {"group_add": ["keep-groups", "1"]},
        {"ipc": "ns:/x"}, {"log_driver": "syslog"}, {"umask": "999"}, {"stop_signal": "WHAT"}, {"timeout": "-1"},
        {"name": "../x"}, {"image_volume": "x"}, {"tty": True, "log_driver": "passthrough"},
        {"volume": ["/a:/x"], "tmpfs": ["/x"]},
    ],
)  # fmt: skip
def test_wrong_options(values: dict[str, object]) -> None:
    with pytest.raises(UsageError):
        RunOptions(values)


@pytest.mark.parametrize(
    "parse",
    [
        parse_volume, parse_tmpfs, parse_mount, parse_userns,
        lambda text: parse_userns("", [text]), lambda text: parse_ulimits([text]),
        lambda text: parse_sysctls([text], ("ipc", "network", "uts")), lambda text: parse_security([text]),
        lambda text: parse_env.parse_variables([text], {}), lambda text: parse_env.parse_labels([text]),
        lambda text: parse_values.parse_bytes(text, "-x"),
        lambda text: parse_values.parse_signal(text, "-x"), lambda text: parse_values.parse_octal(text, "-x"),
    ],
)  # fmt: skip
@given(text=st.one_of(WORDS, st.text(max_size=30)))
def test_any_text(parse: Callable[[str], object], text: str) -> None:
    try:
        parse(text)
    except UsageError as error:
        assert error.message and "\n" not in error.message


@given(text=WORDS)
def test_volume_destinations_stay_inside(text: str) -> None:
    try:
        mount = parse_volume(f"/src:/{text.replace(':', '')}")
    except UsageError:
        return
    parts = mount["destination"].split("/")
    assert parts[0] == "" and ".." not in parts and parts[1] not in ("", "proc")
