"""`build`: stages, the cache, configuration, what comes of it, and what is left when it does not come about."""

from __future__ import annotations

import json
import os
import signal
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.support.cli import Cli
from tests.support.drivers import DRIVERS
from tests.support.registry import Registry

pytestmark = pytest.mark.needs("userns", "subuid", "newuidmap", "busybox")

BASE = "localhost/busybox"
NONE = "--network=none"


@pytest.fixture(scope="module")
def cli(shared_cli: Cli) -> Iterator[Cli]:
    """The program; in the end its store is sound, and as small as it was once builds are forgotten."""
    kept = set(shared_cli.parts_of_images())
    yield shared_cli
    for image in json.loads(shared_cli.ok("images", "--format", "json")):
        if f"{BASE}:latest" not in image["Names"]:
            shared_cli.ok("rmi", "-f", image["Id"])
    shared_cli.ok("builder", "prune", "-f")
    assert shared_cli.ok("system", "check") == ""
    assert set(shared_cli.parts_of_images()) <= kept


class Project:
    """A build context, and builds of it."""

    def __init__(self, cli: Cli, directory: Path) -> None:
        self.cli = cli
        self.path = directory

    def file(self, name: str, text: str) -> None:
        """Write a file of the context."""
        target = self.path / name
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)

    def build(self, *options: str) -> list[str]:
        """Build; the lines on standard output, the last of which is the id."""
        return self.cli.ok("build", NONE, *options, str(self.path)).splitlines()

    def fails(self, code: int, *options: str) -> str:
        """Fail to build; standard error."""
        return self.cli.fails(code, "build", NONE, *options, str(self.path))

    def shell(self, image: str, script: str, *options: str) -> str:
        """What a script prints in a container of an image."""
        return self.cli.ok("run", "--rm", NONE, *options, image, "sh", "-c", script)


@pytest.fixture
def project(cli: Cli, tmp_path: Path) -> Project:
    """An empty build context."""
    made = Project(cli, tmp_path / "project")
    made.path.mkdir()
    return made


def inspect(cli: Cli, image: str) -> dict[str, Any]:
    found: list[dict[str, Any]] = json.loads(cli.ok("image", "inspect", image))
    return found[0]


def cached(lines: list[str]) -> int:
    return sum("Using cache" in line for line in lines)


def test_every_instruction_of_the_configuration(cli: Cli, project: Project) -> None:
    project.file("Containerfile", f"""\
FROM {BASE}
MAINTAINER somebody
ENV A=1 B="two words"
ENV A=3 C=$A
LABEL x=y z="$B"
EXPOSE 80 53/udp 8000-8002
VOLUME /data "/more"
USER 1000:7
WORKDIR /w
WORKDIR below/../at
STOPSIGNAL SIGINT
SHELL ["/bin/busybox", "sh", "-c"]
ENTRYPOINT echo entry
CMD ["a", "b"]
HEALTHCHECK --interval=5s --timeout=1m30s --retries=4 CMD ["true"]
ONBUILD ENV LATER=1
""")  # fmt: skip
    lines = project.build("-t", "configured", "--label", "own=1", "--env", "MORE=2", "--unsetenv", "C",
                          "--annotation", "note=here")  # fmt: skip
    assert lines[0] == f"STEP 1/16: FROM {BASE}"
    assert lines[-3:-1] == ["COMMIT localhost/configured:latest", "Successfully tagged localhost/configured:latest"]
    found = inspect(cli, "configured")
    assert found["Id"] == lines[-1]
    config = found["Config"]
    environment = [entry for entry in config["Env"] if not entry.startswith("PATH=")]
    assert environment == ["A=3", "B=two words", "MORE=2"]
    assert config["Labels"] == {"maker": "tests", "x": "y", "z": "two words", "own": "1"}
    assert set(config["ExposedPorts"]) == {"80/tcp", "53/udp", "8000/tcp", "8001/tcp", "8002/tcp"}
    assert set(config["Volumes"]) == {"/data", "/more"}
    assert (config["User"], config["WorkingDir"], config["StopSignal"]) == ("1000:7", "/w/at", "SIGINT")
    assert config["Entrypoint"] == ["/bin/busybox", "sh", "-c", "echo entry"]
    assert config["Cmd"] == ["a", "b"]
    assert found["Author"] == "somebody"
    assert found["Healthcheck"] == {
        "Test": ["CMD", "true"], "Interval": 5_000_000_000, "Timeout": 90_000_000_000, "Retries": 4}  # fmt: skip
    assert found["Annotations"]["note"] == "here"
    assert found["Annotations"]["org.opencontainers.image.base.name"] == f"{BASE}:latest"
    assert project.shell("configured", "stat -c '%u:%g %a' /w /w/at", "--entrypoint", "").split("\n")[:2] == [
        "1000:7 755"] * 2  # fmt: skip
    steps = [entry["created_by"] for entry in found["History"]]
    assert steps[-2:] == [
        '/bin/sh -c #(nop) HEALTHCHECK --interval=5s --timeout=1m30s --retries=4 CMD ["true"]',
        "/bin/sh -c #(nop) ONBUILD ENV LATER=1",
    ]
    project.file("Containerfile", "FROM configured\nENTRYPOINT [\"x\"]\n")
    child = inspect(cli, project.build("-q")[0])
    assert "LATER=1" in child["Config"]["Env"]
    assert "OnBuild" not in child["Config"]
    assert "Cmd" not in child["Config"], "it belonged to the entrypoint of the base"


def test_what_did_not_change_is_not_done_again(cli: Cli, project: Project) -> None:
    project.file("first", "one")
    project.file("second", "one")
    project.file("Containerfile", f"""\
FROM {BASE}
ENV X=1
COPY first /
RUN cat first > made; date +%N >> made
COPY second /
CMD ["cat", "made"]
""")  # fmt: skip
    made = project.build("-t", "kept")
    before = {path: os.stat(cli.data / path).st_ctime_ns for path in cli.parts_of_images()}
    again = project.build("-t", "kept")
    assert (cached(made), cached(again), again[-1]) == (0, 5, made[-1])
    assert {path: os.stat(cli.data / path).st_ctime_ns for path in cli.parts_of_images()} == before
    os.utime(project.path / "first", (1, 1))  # not what the file holds
    assert cached(project.build()) == 5
    project.file("second", "two")
    changed = project.build()
    assert cached(changed) == 3
    assert project.shell(changed[-1], "cat made") == project.shell("kept", "cat made")
    (project.path / "first").chmod(0o600)
    assert cached(project.build()) == 1
    assert cached(project.build("--no-cache")) == 0
    assert cached(project.build("--cache-ttl", "0s")) == 0
    assert cached(project.build("--cache-ttl", "1h")) == 5


def test_stages(cli: Cli, project: Project) -> None:
    project.file("Containerfile", f"""\
ARG BASE=nowhere.invalid/nothing
FROM $BASE AS Tools
RUN echo tool > /tool
FROM {BASE} AS unneeded
RUN false
FROM tools AS more
RUN echo more >> /tool
FROM scratch
COPY --from=more /tool /one
COPY --from=0 /tool /two
""")  # fmt: skip
    output = project.path / "out"
    lines = project.build("--build-arg", f"BASE={BASE}", "-o", str(output))
    assert not any("RUN false" in line for line in lines)
    assert "[4/4] STEP 3/3: COPY --from=0 /tool /two" in lines
    assert sorted(path.name for path in output.iterdir()) == ["one", "two"]
    assert (output / "one").read_text() == "tool\nmore\n"
    assert (output / "two").stat().st_uid == os.getuid()
    assert "[4/4]" not in project.cli.ok(
        "build", NONE, "--build-arg", f"BASE={BASE}", "--target", "MORE", str(project.path))  # fmt: skip
    assert "there is no such stage" in project.fails(125, "--target", "none")
    project.file("odd", "FROM scratch\nCOPY --from=1 /x /\n")
    assert "there is no stage 1 before this one" in project.fails(125, "-f", str(project.path / "odd"))
    told = project.fails(1, "--build-arg", f"BASE={BASE}", "--skip-unused-stages=false")
    assert 'building at STEP "RUN false": while running runtime: exit status 1' in told


def test_stages_are_built_at_the_same_time(cli: Cli, project: Project) -> None:
    """Each waits for a word that the other has: one after the other they would never end."""
    project.file("Containerfile", f"""\
FROM {BASE} AS one
RUN --mount=type=cache,target=/c touch /c/one; until test -e /c/two; do sleep 0.05; done; echo one >/f
FROM {BASE} AS two
RUN --mount=type=cache,target=/c touch /c/two; until test -e /c/one; do sleep 0.05; done; echo two >/f
FROM {BASE}
COPY --from=one /f /one
COPY --from=two /f /two
""")  # fmt: skip
    lines = project.build("--jobs", "2", "--no-cache")
    assert project.shell(lines[-1], "cat /one /two") == "one\ntwo\n"
    cli.ok("builder", "prune", "-f")


def test_arguments(project: Project) -> None:
    project.file("Containerfile", f"""\
ARG GLOBAL=global
FROM {BASE}
RUN echo "[$GLOBAL$GIVEN$http_proxy]" > /before
ARG GLOBAL
ARG GIVEN=default
ARG OVER=argument
ARG TARGETARCH
ENV OVER=environment
RUN echo "$GLOBAL $GIVEN $OVER $TARGETARCH" > /after
""")  # fmt: skip
    lines = project.build("--build-arg", "GIVEN=given", "--build-arg", "http_proxy=http://proxy.invalid", "--platform",
                          f"linux/{_architecture()}")  # fmt: skip
    image = lines[-1]
    assert project.shell(image, "cat /before /after") == (
        f"[http://proxy.invalid]\nglobal given environment {_architecture()}\n")  # fmt: skip
    assert "proxy.invalid" not in json.dumps(inspect(project.cli, image))
    assert cached(project.build("--build-arg", "GIVEN=given", "--build-arg", "http_proxy=http://other.invalid")) == 7
    assert cached(project.build("--build-arg", "GIVEN=other")) == 6


def _architecture() -> str:
    return {"x86_64": "amd64", "aarch64": "arm64"}.get(os.uname().machine, os.uname().machine)


def test_one_layer(project: Project) -> None:
    project.file("Containerfile", f"FROM {BASE}\nRUN echo 1 > /a; mkdir /d; echo x > /d/x\nRUN rm /d/x; echo 2 >> /a\n")
    base = inspect(project.cli, BASE)["RootFS"]["Layers"]
    for options, number in ((["--squash"], 1), (["--layers=false"], 1), (["--squash-all"], None)):
        found = inspect(project.cli, project.build("-q", *options)[0])
        layers = found["RootFS"]["Layers"]
        assert len(layers) == (1 if number is None else len(base) + number)
        assert len([entry for entry in found["History"] if not entry.get("empty_layer")]) == len(layers)
        assert project.shell(found["Id"], "cat a; ls d; busybox echo") == "1\n2\n\n"


@pytest.mark.parametrize("driver", DRIVERS)
def test_the_same_image_twice(project: Project, driver: str, tmp_path: Path) -> None:
    project.file("dir/a", "a")
    project.file("Containerfile", f"""\
FROM {BASE}
WORKDIR /new/place
COPY dir .
RUN echo x > x; ln x y; mkdir -p m/n; echo z > m/z; chown 7:8 m; rm -r /srv; touch -d @1000 old; touch /etc/passwd
RUN mkdir z && mv m z/ && rm a
ENV A=1
""")  # fmt: skip
    digests = set()
    for number, name in enumerate((driver, "copy")):
        os.utime(project.path / "dir/a", (2_000_000_000 + number, 2_000_000_000 + number))
        project.cli.ok("--storage-driver", name, "build", NONE, "-t", "same", "--no-cache",
                       "--source-date-epoch", "1700000000", str(project.path))  # fmt: skip
        digests.add(inspect(project.cli, "same")["Digest"])
    assert len(digests) == 1
    assert inspect(project.cli, "same")["Created"].startswith("2023-11-14T22:13:20")
    seen = project.shell("same", "stat -c '%n %Y' x old z/m/n /new")
    assert seen == "x 1700000000\nold 1000\nz/m/n 1700000000\n/new 1700000000\n"
    epoch = {"SOURCE_DATE_EPOCH": "1700000000"}
    done = project.cli.run("build", NONE, "-q", "--no-cache", str(project.path), env=epoch)
    assert done.stdout.strip() == inspect(project.cli, "same")["Id"]


def test_what_is_written(project: Project, tmp_path: Path) -> None:
    project.file("Containerfile", "FROM scratch\nCOPY --chown=5:6 Containerfile /f\nCMD [\"x\"]\n")
    out = tmp_path / "out"
    out.mkdir()
    project.build("-t", "one", "-t", "other.invalid/two:3", "--format", "docker", "--iidfile", f"{out}/iid",
                  "--metadata-file", f"{out}/meta", "-o", f"type=tar,dest={out}/tar",
                  "-o", f"type=oci,dest={out}/oci", "-o", f"type=oci,tar=false,dest={out}/layout")  # fmt: skip
    found = inspect(project.cli, "other.invalid/two:3")
    assert set(found["RepoTags"]) == {"localhost/one:latest", "other.invalid/two:3"}
    assert found["ManifestType"].startswith("application/vnd.docker")
    assert (out / "iid").read_text() == f"sha256:{found['Id']}"
    metadata = json.loads((out / "meta").read_text())
    assert metadata["containerimage.config.digest"] == f"sha256:{found['Id']}"
    assert metadata["containerimage.digest"] == found["Digest"]
    with tarfile.open(out / "tar") as archive:
        assert [(member.name, member.uid, member.gid) for member in archive] == [("f", 5, 6)]
    with tarfile.open(out / "oci") as archive:
        assert f"blobs/sha256/{found['Id']}" in archive.getnames()
    assert (out / "layout" / "blobs" / "sha256" / found["Id"]).exists()
    assert project.build("-q")[0] == inspect(project.cli, project.build("-q")[0])["Id"]
    assert "cannot use 'nonsense' in --output" in project.fails(125, "-o", "type=tar,nonsense")


def test_several_platforms(project: Project) -> None:
    project.file("Containerfile", "FROM scratch\nARG TARGETPLATFORM\nLABEL for=$TARGETPLATFORM\n")
    project.build("-t", "several", "--platform", "linux/amd64,linux/arm64/v8")
    found = json.loads(project.cli.ok("manifest", "inspect", "several"))
    platforms = [entry["platform"] for entry in found["manifests"]]
    assert [entry["architecture"] for entry in platforms] == ["amd64", "arm64"]
    project.build("--manifest", "listed", "--platform", "linux/s390x")
    project.build("--manifest", "listed", "--platform", "linux/ppc64le")
    found = json.loads(project.cli.ok("manifest", "inspect", "listed"))
    assert [entry["platform"]["architecture"] for entry in found["manifests"]] == ["s390x", "ppc64le"]
    for name in ("several", "listed"):
        project.cli.ok("manifest", "rm", name)
    project.cli.ok("image", "prune", "-f")


def test_a_failure_leaves_nothing_and_what_was_done_is_kept(cli: Cli, project: Project) -> None:
    project.file("Containerfile", f"FROM {BASE}\nRUN echo done\nRUN echo failing; exit 7\n")
    told = project.fails(7, "-t", "never")
    assert told == (
        'Error: building at STEP "RUN echo failing; exit 7": while running runtime: exit status 7\n'
        "Containerfile:3:1\n    RUN echo failing; exit 7\n    ^\n")
    assert os.listdir(cli.data / "tmp") == [] == os.listdir(cli.data / "trash")
    assert cli.run("image", "exists", "never").returncode == 1
    project.file("Containerfile", f"FROM {BASE}\nRUN echo done\nRUN echo works\n")
    assert cached(project.build()) == 1


def test_a_build_that_is_interrupted_leaves_nothing(cli: Cli, project: Project) -> None:
    project.file("Containerfile", f"""\
FROM {BASE} AS one
RUN exec sleep 543.21
FROM {BASE} AS two
RUN exec sleep 543.21
FROM {BASE}
COPY --from=one /etc/passwd /one
COPY --from=two /etc/passwd /two
""")  # fmt: skip
    with cli.popen("build", NONE, "--jobs", "2", str(project.path), start_new_session=True) as running:
        _await_sleepers(2)
        os.killpg(running.pid, signal.SIGINT)
        running.communicate(timeout=30)
    assert running.returncode == 130
    assert os.listdir(cli.data / "tmp") == [] == os.listdir(cli.data / "trash")
    _await_sleepers(0)


def _await_sleepers(number: int) -> None:
    deadline = time.monotonic() + 30
    while _sleepers() != number:
        assert time.monotonic() < deadline
        time.sleep(0.02)


def _sleepers() -> int:
    """Processes of the interrupted build's commands."""
    found = 0
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            found += b"sleep\x00543.21\x00" in Path(f"/proc/{name}/cmdline").read_bytes()
        except OSError:
            continue
    return found


def test_what_is_shown(project: Project) -> None:
    project.file("Containerfile", f"FROM {BASE}\nRUN echo said\n")
    assert len(project.build("--quiet", "--no-cache")) == 1
    folded = project.cli.run("build", NONE, "--no-cache", str(project.path), env={"GITHUB_ACTIONS": "true"}).stdout
    assert "::group::STEP 2/2: RUN echo said\nsaid\n--> " in folded
    assert folded.count("::endgroup::") == folded.count("::group::") == 2
    sections = project.cli.run("build", NONE, "--no-cache", str(project.path), env={"GITLAB_CI": "true"}).stdout
    assert "\n\x1b[0KSTEP 2/2: RUN echo said\nsaid\n" in sections
    assert sections.count("section_start:") == sections.count("section_end:") == 2
    plain = project.cli.run("build", NONE, "--no-cache", "--progress=plain", str(project.path),
                            env={"GITHUB_ACTIONS": "true"}).stdout  # fmt: skip
    assert plain.splitlines()[:3] == [f"STEP 1/2: FROM {BASE}", "STEP 2/2: RUN echo said", "said"]
    board = project.cli.run("build", NONE, "--no-cache", "--progress=tty", str(project.path)).stdout
    assert "[2/2] RUN echo said" in board


@pytest.mark.needs("docker-registry", "skopeo")
def test_steps_in_a_registry(cli: Cli, project: Project, registry: Registry) -> None:
    steps = f"{registry.address}/steps"
    plain = "--tls-verify=false"
    project.file("file", "x")
    project.file("Containerfile", f"FROM {BASE}\nENV A=1\nCOPY file /\nRUN date +%N > /made\nWORKDIR /etc\n")
    known = {image["Id"] for image in json.loads(cli.ok("images", "--format", "json"))}
    done = cli.run("build", NONE, plain, "-t", "sent", "--cache-to", steps, str(project.path))
    assert (done.returncode, done.stderr) == (0, "")
    made = project.shell("sent", "cat /made")
    cli.ok("rmi", "sent")
    assert cached(project.build(plain)) == 1, "ENV makes no layer"
    cli.ok("image", "prune", "-f")
    cli.ok("builder", "prune", "-f", "--all")
    again = project.build(plain, "-t", "fetched", "--cache-from", steps)
    assert cached(again) == 2, again
    assert project.shell("fetched", "cat /made") == made
    kept = {image["Id"] for image in json.loads(cli.ok("images", "--format", "json"))}
    assert kept - known == {again[-1]}
    done = cli.run("build", NONE, plain, "--retry", "0", "--cache-to", "127.0.0.1:1/nobody", str(project.path))
    assert done.returncode == 0
    assert done.stderr.count("WARNING: cannot keep steps in") == 1
    assert "leave the tag out" in project.fails(125, "--cache-from", f"{steps}:tag")
    name = f"{registry.address}/built:1"
    image = project.build(plain, "-t", name, "--push")[-1]
    cli.ok("rmi", name)
    assert cli.ok("pull", "-q", plain, name) == f"{image}\n"


def test_removing_an_image_forgets_its_steps(cli: Cli, project: Project) -> None:
    cli.ok("image", "prune", "-f")
    cli.ok("builder", "prune", "-f", "--all")
    kept = set(cli.parts_of_images())
    project.file("Containerfile", f"FROM {BASE}\nRUN echo 1 > /one\nRUN echo 2 > /two\n")
    project.build("-t", "two")
    cli.ok("rmi", "two")
    assert set(cli.parts_of_images()) == kept
    project.file("Containerfile", f"""\
FROM {BASE} AS one
RUN echo 3 > /one
FROM {BASE}
COPY --from=one --chown=1 /one /
""")  # fmt: skip
    project.build("-t", "stages")
    cli.ok("image", "prune", "-f")
    assert cached(project.build("-t", "stages")) == 1, "the steps of the image are kept, not those of other stages"
    cli.ok("builder", "prune", "--all", "-f")
    assert cached(project.build("-t", "stages")) == 0
    cli.ok("rmi", "stages")
    cli.ok("image", "prune", "-f")
    assert set(cli.parts_of_images()) == kept


def test_an_image_that_is_its_base(cli: Cli, project: Project) -> None:
    """Nothing was changed: it has the id of its base, which keeps its name when this one loses its own."""
    project.file("Containerfile", f"FROM {BASE}\nENV A=1\n")
    base = project.build("-t", "first")[-1]
    project.file("Containerfile", "FROM first\n")
    assert project.build("-t", "second", "--annotation", "another=manifest")[-1] == base
    assert cli.ok("rmi", "second") == "Untagged: localhost/second:latest\n"
    rows = [row for row in json.loads(cli.ok("images", "--format", "json")) if row["Id"] == base]
    assert [row["Names"] for row in rows] == [["localhost/first:latest"]]
    assert f"Deleted: {base}" in cli.ok("rmi", "first")
