"""RUN: its forms, what its container is like, what can be mounted into it, and what it leaves."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.support.alone import Alone
from tests.support.building import build, built, config, layers, names, refused
from tests.support.cli import Cli, new_cli
from tests.support.drivers import DRIVERS

pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")


@pytest.fixture(scope="module")
def cli(shared_cli: Cli) -> Cli:
    """The store is shared with other tests."""
    return shared_cli


@pytest.fixture
def context(context: Path) -> Path:
    """A build context with a few files."""
    (context / "directory").mkdir()
    (context / "file").write_text("of the context\n")
    (context / "directory" / "below").write_text("below\n")
    (context / "link").symlink_to("/directory")
    return context


def test_forms_of_a_command(cli: Cli, context: Path) -> None:
    said = built(cli, context, """\
RUN echo "shell: $0 $((1 + 1))"
RUN ["echo", "exec: $HOME"]
RUN <<EOF
echo document one
cd /tmp && pwd
EOF
RUN <<SCRIPT
#!/bin/busybox cat
printed by cat
SCRIPT
RUN cat <<one <<-'two' - && cat <<three
of one
one
	of two
two
of three
three
SHELL ["/bin/busybox", "sh", "-euc"]
RUN false || echo "shell with -u: $-"
""", "--no-cache", "-t", "forms")  # fmt: skip
    for text in ("shell: /bin/sh 2", "exec: $HOME", "document one", "/tmp\n", "printed by cat", "of two", "of three"):
        assert text in said
    assert "/bin/busybox cat\n" in said  # of the interpreter, which is given the whole file
    assert all(not found for found in layers(cli, "forms")[2:]), "a command that changes nothing leaves an empty layer"


def test_arguments_and_variables(cli: Cli, context: Path) -> None:
    said = built(cli, context, """\
ARG ONE=first
ARG TWO
ENV TWO=of-the-image
ARG THREE=hidden
RUN echo "$ONE $TWO $THREE"; env | grep -c HTTP_PROXY
""", "--no-cache", "-t", "arguments", "--build-arg", "TWO=given", "--build-arg", "THREE=3",
        env={"HTTP_PROXY": "http://127.0.0.1:9"})  # fmt: skip
    assert "first of-the-image 3\n1\n" in said
    environment = config(cli, "arguments")["Config"]["Env"]
    assert "TWO=of-the-image" in environment and not any("first" in entry or "PROXY" in entry for entry in environment)
    assert "\n0\n" in build(cli, context, "RUN env | grep -c PROXY || true", "--no-cache", "--http-proxy=false",
                            env={"HTTP_PROXY": "http://127.0.0.1:9"}).stdout  # fmt: skip


@pytest.mark.parametrize(("command", "code"), [("exit 3", 3), ("/nowhere", 127)])
def test_a_command_that_fails(cli: Cli, context: Path, command: str, code: int) -> None:
    done = build(cli, context, f"RUN {command}", "--no-cache")
    assert done.returncode == code and command in done.stderr


def test_user_and_directory(cli: Cli, context: Path) -> None:
    said = built(cli, context, """\
RUN echo 'me:x:1234:1235::/home/me:/bin/sh' >> /etc/passwd
USER me
WORKDIR /new/place
RUN id; pwd; touch file; echo $HOME
WORKDIR below
USER 77:88
RUN id -u; id -g; pwd
""", "--no-cache", "-t", "user")  # fmt: skip
    assert "uid=1234(me) gid=1235" in said and "/new/place\n/home/me\n" in said and "77\n88\n/new/place/below\n" in said
    member = next(member for layer in layers(cli, "user") for member in layer if member.name == "new/place/file")
    assert (member.uid, member.gid) == (1234, 1235)


def test_what_is_generated_is_not_in_the_layer(cli: Cli, context: Path) -> None:
    said = built(cli, context, """\
RUN cat /etc/hosts /etc/hostname; test -s /etc/resolv.conf; test -e /run/.containerenv; echo new > /etc/new; rm -rf /srv
RUN rm /etc/new; mkdir /run/kept
""", "--no-cache", "-t", "generated", "--add-host", "there:192.0.2.7")  # fmt: skip
    assert "192.0.2.7\tthere" in said and "sandbox" in said
    assert sorted(names(cli, "generated", -2)) == [".wh.srv", "etc", "etc/new"]
    assert sorted(names(cli, "generated")) == ["etc", "etc/.wh.new", "run", "run/kept"]


ALL_MOUNTS = """\
FROM localhost/busybox AS stage
RUN mkdir -p /data/sub; echo of the stage > /data/sub/file; chown -R 5:6 /data; chmod 700 /data
RUN echo second > /data/second
FROM localhost/busybox
USER 5:6
RUN --mount=type=bind,target=/new/context --mount=type=bind,source=link,target=/linked,rw \
    --mount=type=bind,from=stage,source=/data,target=/stage \
    --mount=type=bind,from=stage,source=data/sub/file,target=/new/single,rw \
    --mount=type=cache,target=/cache,id=all/mounts,uid=5,gid=6,mode=0750 \
    --mount=type=tmpfs,target=/memory,size=1m \
    --mount=type=secret,id=token,uid=5,mode=0440 --mount=type=secret,id=token,env=TOKEN \
    --mount=type=secret,id=other,required=false <<EOF
set -e
cat /new/context/file /linked/below /stage/sub/file /stage/second /new/single
touch /new/context/x 2> /dev/null && exit 1
touch /stage/x 2> /dev/null && exit 1
echo changed > /new/single; cat /new/single
stat -c '%a %u:%g' /cache /run/secrets/token | tr '\\n' ' '; echo
echo "$(cat /run/secrets/token) and $TOKEN"
echo kept >> /cache/kept; wc -l < /cache/kept
test $(df -k /memory | awk 'END { print $2 }') = 1024
ls /run/secrets
EOF
"""


def all_mounts(user: Cli, context: Path, text: str = ALL_MOUNTS) -> str:
    """Build with each kind of mount; what was said."""
    file = context.parent / "all.Containerfile"
    file.write_text(text)
    done = user.run(
        "build", "--network=none", "--no-cache", "-t", "all", "--secret", "id=token,env=A_TOKEN", "-f", str(file),
        str(context), env={"A_TOKEN": "hush"},
    )  # fmt: skip
    assert done.returncode == 0, done.stdout + done.stderr
    said = done.stdout
    assert "of the context\nbelow\nof the stage\nsecond\nof the stage\nchanged\n" in said
    assert "hush and hush\n" in said and "\ntoken\n" in said and "other" not in said.rpartition("hush and hush")[2]
    assert not names(user, "all"), "places of mounts are no part of the layer"
    assert (context / "directory" / "below").read_text() == "below\n"
    return said


@pytest.mark.parametrize("driver", DRIVERS)
def test_every_mount_with_each_driver(driver: str, busybox_layout: Path, context: Path) -> None:
    with new_cli() as user:
        user.environment["STORAGE_DRIVER"] = driver
        user.ok("tag", user.ok("pull", "--quiet", f"oci:{busybox_layout}:latest").strip(), "localhost/busybox")
        said = all_mounts(user, context)
        assert "750 5:6 440 5:0 \n" in said and "\n1\n" in said
        assert "\n2\n" in all_mounts(user, context), "a cache outlives the build"


@pytest.mark.parametrize("driver", DRIVERS)
def test_every_mount_with_a_single_id(driver: str, busybox_layout: Path, context: Path) -> None:
    with new_cli() as made:
        user = Alone(made.home, driver)
        user.ok("tag", user.ok("pull", "--quiet", f"oci:{busybox_layout}:latest").strip(), "localhost/busybox")
        all_mounts(user, context, ALL_MOUNTS.replace("USER 5:6", "USER 0"))


def test_what_the_ignore_file_leaves_out_is_not_mounted(cli: Cli, context: Path) -> None:
    (context / ".dockerignore").write_text("file\ndirectory/*\n!directory/again\n")
    (context / "directory" / "again").write_text("again\n")
    text = "RUN --mount=target=/m ls -a /m /m/directory; cat /m/directory/again; ! test -e /m/file; stat -c %a /m\n"
    context.chmod(0o750)
    for driver in ("overlay", "copy"):
        done = build(cli, context, text, "--no-cache", env={"STORAGE_DRIVER": driver})
        assert done.returncode == 0, done.stderr
        assert "again\n" in done.stdout and "below" not in done.stdout and "750" in done.stdout
    assert "ignore" in refused(cli, context, "RUN --mount=source=file,target=/m true")


def test_files_of_others_are_changed_for_a_command_alone(cli: Cli, context: Path) -> None:
    """An overlay of the kernel's cannot copy what belongs to nobody that the container has."""
    before = sorted(os.listdir("/etc/apt"))
    text = """\
RUN --mount=from=machine,source=apt,target=/m,rw echo changed > /m/new; mkdir /m/apt.conf.d/new; ls /m; \
    for name in /m/apt.conf.d/*; do test -d $name || echo changed > $name; done
RUN --mount=from=machine,source=debian_version,target=/f,rw echo changed > /f; cat /f
"""
    said = built(cli, context, text, "--no-cache", "--build-context", "machine=/etc")
    assert "\nnew\n" in said and said.count("changed\n") >= 1
    assert sorted(os.listdir("/etc/apt")) == before


def test_a_bind_is_part_of_the_key_and_a_secret_is_not(cli: Cli, context: Path) -> None:
    text = "RUN --mount=target=/m --mount=type=secret,id=s echo done\n"

    def ran(secret: str) -> bool:
        return "\ndone\n" in built(cli, context, text, "--secret", "id=s,env=S", env={"S": secret})

    assert ran("1") and not ran("2")
    (context / "directory" / "below").write_text("otherwise\n")
    assert ran("2") and not ran("3")
    (context / "directory" / "below").touch()
    assert not ran("3")


def test_caches(cli: Cli, context: Path) -> None:
    built(cli, context, "RUN --mount=type=cache,target=/c,id=one echo 1 > /c/f", "--no-cache")
    said = built(cli, context, """\
RUN --mount=type=cache,target=/c,id=one,ro cat /c/f; touch /c/x 2> /dev/null || echo read-only
RUN --mount=type=cache,target=/c,id=two ls -A /c | wc -l
RUN --mount=type=cache,target=/etc,id=three,from=localhost/busybox,source=/bin test -x /etc/busybox && echo begun
RUN --mount=type=cache,target=/a,id=one,sharing=locked --mount=type=cache,target=/b,id=one cat /a/f /b/f
""", "--no-cache")  # fmt: skip
    assert "1\nread-only\n" in said and "\n0\n" in said and "\nbegun\n" in said and "\n1\n1\n" in said
    assert "source" in refused(cli, context, "RUN --mount=type=cache,target=/c,id=four,source=/x true")


class Running:
    """A build in the background: what it says, and its end."""

    def __init__(self, cli: Cli, context: Path, text: str) -> None:
        file = context.parent / f"{os.urandom(4).hex()}.Containerfile"
        file.write_text(f"FROM localhost/busybox\n{text}")
        words = ("build", "--network=none", "--no-cache", "-f", str(file), str(context))
        self.process = cli.popen(*words, stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT)
        assert self.process.stdout is not None
        self.said = self.process.stdout

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.said.close()
        self.process.wait(60)

    def says(self, line: str) -> None:
        """Wait for a line of its output."""
        before = []
        for told in self.said:
            before.append(told.decode())
            if told.strip() == line.encode():
                return
        raise AssertionError(f"the build has ended: {''.join(before)}")

    def ends(self) -> tuple[int, str]:
        """Its exit code, and what it has said meanwhile."""
        rest = self.said.read().decode()
        return self.process.wait(60), rest


def test_sharing_of_a_cache(cli: Cli, context: Path) -> None:
    """While one build holds it: another waits for a locked one, has a private one of its own, or shares it."""
    mount = "RUN --mount=type=cache,target=/c,id=held,sharing="
    waits = "touch /c/mine; echo held; until test -e /m/go; do sleep 0.05; done; echo > /c/gone\n"
    with Running(cli, context, f"{mount}locked --mount=target=/m {waits}") as holder:
        holder.says("held")
        other = context.parent / "other"
        assert "\n0\n" in built(cli, other, f"{mount}private ls -A /c | wc -l", "--no-cache")
        with Running(cli, other, f"{mount}locked ls /c") as waiter:
            waiter.says("waiting for the cache held: another build has it")
            (context / "go").touch()
            code, said = waiter.ends()
            assert code == 0 and "gone\nmine\n" in said
        assert holder.ends()[0] == 0
    (context / "go").unlink()
    with Running(cli, context, f"{mount}shared --mount=target=/m {waits}") as holder:
        holder.says("held")
        built(cli, other, f"{mount}shared test -e /c/mine; touch /m/go || true", "--no-cache")


def test_prune_leaves_a_cache_that_is_in_use(context: Path, busybox_layout: Path) -> None:
    with new_cli() as cli:
        cli.ok("tag", cli.ok("pull", "--quiet", f"oci:{busybox_layout}:latest").strip(), "localhost/busybox")
        mount = "RUN --mount=type=cache,target=/c,id="
        built(cli, context, f"{mount}idle chown 7 /c; mkdir -m 700 /c/d; touch /c/d/f; chown -R 8:8 /c/d")
        with Running(cli, context, f"{mount}busy echo held; sleep 300") as holder:
            holder.says("held")
            assert len(os.listdir(cli.data / "caches")) == 2
            cli.ok("builder", "prune", "--force")
            assert len(os.listdir(cli.data / "caches")) == 1
            assert holder.process.poll() is None
        for words in (("image", "prune", "--build-cache"), ("system", "prune", "--all")):
            built(cli, context, f"{mount}again true", "--no-cache", "-t", "kept")
            assert os.listdir(cli.data / "caches")
            cli.ok(*words, "--force")
            assert not os.listdir(cli.data / "caches")


@pytest.fixture
def key(tmp_path: Path) -> Path:
    """A key of OpenSSH without a passphrase."""
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(path)], check=True)
    return path


@pytest.fixture
def agent(key: Path, tmp_path: Path) -> Iterator[str]:
    """The socket of an agent with the key."""
    path = f"/tmp/agent-{os.getpid()}"
    running = subprocess.Popen(["ssh-agent", "-D", "-a", path], stdout=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 30
        while not os.path.exists(path):
            assert time.monotonic() < deadline and running.poll() is None
            time.sleep(0.01)
        subprocess.run(["ssh-add", "-q", str(key)], check=True, env={**os.environ, "SSH_AUTH_SOCK": path})
        yield path
    finally:
        running.terminate()
        running.wait()



@pytest.mark.needs("ssh-agent")
def test_agents(cli: Cli, context: Path, key: Path, agent: str) -> None:
    """ssh-add is that of the machine, at whose root the socket stands in for a file."""
    comment = key.with_suffix(".pub").read_text().split()[2]
    keys = "SSH_AUTH_SOCK=/etc/hostname chroot /host ssh-add -l"
    text = f"""\
RUN --mount=type=ssh,target=/host/etc/hostname {keys}
RUN --mount=type=ssh,id=other,uid=5,target=/host/etc/hostname SSH_AUTH_SOCK=/etc/hostname \
    chroot /host /usr/sbin/chroot --userspec=5:5 / ssh-add -l
RUN --mount=type=ssh --mount=type=ssh,id=other echo $SSH_AUTH_SOCK; ls -A /run/buildkit
RUN --mount=type=ssh,id=none test -z "$SSH_AUTH_SOCK"
"""
    volumes = ("-v", "/:/host:ro", "-v", "/dev/null:/host/dev/null")
    flags = ("--no-cache", "--ssh", "default", "--ssh", f"other={key}", *volumes)
    said = built(cli, context, text, *flags, env={"SSH_AUTH_SOCK": agent})
    assert said.count(comment) == 2, said
    assert "/run/buildkit/ssh_agent.0\nssh_agent.0\nssh_agent.1\n" in said
    assert not [name for name in os.listdir(cli.home / "run" / "rootless") if name.endswith(".agent")]
    assert "--ssh" in refused(cli, context, "RUN --mount=type=ssh,required true")
    key.write_text("no key")
    assert "cannot use" in refused(cli, context, "RUN --mount=type=ssh true", "--ssh", f"default={key}")
    key.unlink()
    assert "cannot use" in refused(cli, context, "RUN --mount=type=ssh true", "--ssh", f"default={key}")


def test_options_of_the_container(cli: Cli, context: Path, tmp_path: Path) -> None:
    (tmp_path / "volume").mkdir()
    (tmp_path / "volume" / "file").write_text("of the volume\n")
    volume = tmp_path / "volume"
    said = built(
        cli, context, """\
RUN ulimit -n; df -k /dev/shm | awk 'END { print $2 }'; cat /v/file; touch /v/x 2>&1; echo x > /o/file; ls /o
RUN cat /etc/resolv.conf; grep CapBnd /proc/self/status; id
RUN --network=none ls /sys/class/net
""", "--no-cache", "-t", "options", "--ulimit", "nofile=123:123", "--shm-size", "2m", "-v", f"{volume}:/v:ro", "-v",
        f"{volume}:/o:O", "--dns", "192.0.2.9", "--dns-search", "example.org", "--cap-drop", "all", "--cap-add",
        "chown", "--group-add", "4321", "--isolation", "chroot",
    )  # fmt: skip
    assert "123\n2048\nof the volume\n" in said and "Read-only file system" in said
    assert "search example.org\nnameserver 192.0.2.9" in said and "CapBnd:\t0000000000000001" in said and "4321" in said
    assert (volume / "file").read_text() == "of the volume\n"
    assert not names(cli, "options") and not names(cli, "options", -3)
    for flags in (("-v", "name:/v"), ("--userns", "keep-id"), ("--isolation", "hyperv"), ("-v", f"{volume}:/v:U")):
        refused(cli, context, "RUN true", "--no-cache", *flags)
    assert "not allowed" in refused(cli, context, "RUN --security=insecure true")
    assert "--network" in refused(cli, context, "RUN --network=bridge true")
    built(cli, context, "RUN --security=sandbox --network=default true")
    said = built(cli, context, "RUN ls -A /etc; hostname; echo x > /etc/hostname", "--no-hostname", "--no-hosts",
                 "--no-cache", "-t", "named", "--allow", "security.insecure")  # fmt: skip
    assert "hosts" not in said.splitlines() and "sandbox" in said and names(cli, "named") == ["etc", "etc/hostname"]
    insecure = "RUN --security=insecure grep CapBnd /proc/self/status"
    assert "CapBnd:\t000001ff" in built(cli, context, insecure, "--allow", "security.insecure")


def test_the_container_is_hidden_and_goes_with_its_build(cli: Cli, context: Path) -> None:
    """Nobody lists it; a build that is killed leaves no process, and what it leaves on disk the next prune removes."""
    before = set(os.listdir(cli.data / "tmp"))
    text = "RUN mkdir -m 700 /d; touch /d/f; chown -R 7:7 /d; echo here; exec sleep 4711"
    for number in (signal.SIGKILL, signal.SIGTERM, signal.SIGINT):
        with Running(cli, context, text) as running:
            running.says("here")
            assert cli.ok("ps", "-aq") == ""
            running.process.send_signal(number)
            assert running.ends()[0] != 0
        deadline = time.monotonic() + 60
        while sleepers():
            assert time.monotonic() < deadline, "the command has outlived the build"
            time.sleep(0.01)
    cli.ok("system", "prune", "--force", timeout=120)
    assert set(os.listdir(cli.data / "tmp")) <= before and not os.listdir(cli.data / "trash")


def sleepers() -> list[int]:
    """Processes of the command above."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            if Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x004711\x00":
                found.append(int(pid))
        except OSError:
            continue
    return found


@pytest.mark.needs("overlay")
def test_equal_layers(cli: Cli, context: Path) -> None:
    """The same commands make the same layers, also with another driver, where the time is given."""
    text = """\
RUN --mount=type=cache,target=/new/cache mkdir -p /a/b; echo 1 > /a/b/c; ln /a/b/c /a/d; ln -s c /a/b/l; chown 3:4 /a/b
RUN rm -r /a/b; mkdir /a/b; hostname > /a/b/hostname
"""
    found = set()
    for driver in ("overlay", "overlay", "copy"):
        done = build(cli, context, text, "--no-cache", "-t", "equal", "--source-date-epoch", "1000000000",
                     "--rewrite-timestamp", env={"STORAGE_DRIVER": driver})  # fmt: skip
        assert done.returncode == 0, done.stderr
        found.add(tuple(config(cli, "equal")["RootFS"]["Layers"]))
        assert {member.mtime for member in layers(cli, "equal")[-1]} <= {0, 1000000000}
    assert len(found) == 1
