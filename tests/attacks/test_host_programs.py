"""No image makes a program run on the host: not by its labels, not by its files, not by how its layers are packed."""

from __future__ import annotations

import bz2
import gzip
import hashlib
import lzma
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
import zstandard

from tests.support import hosts, images
from tests.support.cli import Cli, new_cli
from tests.support.fixtures import require

pytestmark = pytest.mark.needs("userns", "busybox")
TRAPS = ("ps", "nsenter", "tar", "xz", "unxz", "gzip", "gunzip", "pigz", "unpigz", "bzip2", "zstd", "sh", "bash",
         "cat", "newuidmap", "newgidmap", "ldconfig", "python3", "pasta", "fuse-overlayfs", "mount", "conmon",
         "crun")  # fmt: skip
LIBRARIES = ("libnss_files.so.2", "libnss_compat.so.2", "libc.so.6", "libseccomp.so.2", "ld-linux-x86-64.so.2")


class Marked:
    """Programs that leave a mark when they are run: ``host`` outside, /trapped inside a container."""

    def __init__(self, directory: Path) -> None:
        self.mark = directory / "mark"
        self.script = f"#!/bin/busybox sh\necho $0 $* >>{self.mark}\necho $0 $* >>/trapped\n".encode()
        self.evil = directory / "evil"
        self.evil.mkdir()
        for name in TRAPS:
            (self.evil / name).write_bytes(self.script)
            (self.evil / name).chmod(0o755)


@pytest.fixture
def marked(tmp_path: Path) -> Iterator[Marked]:
    """The programs; nothing may have been run on the host in the end."""
    made = Marked(tmp_path)
    yield made
    assert not made.mark.exists(), made.mark.read_text()


def control_labels(program: str) -> dict[str, str]:
    """Labels by which docker, podman, containerd, CRI-O, compose, systemd and their kin are told to do something."""
    return {
        "INSTALL": f"{program} install", "RUN": f"{program} run", "UNINSTALL": f"{program} uninstall",
        "com.docker.compose.container-number": f"$({program})",
        "com.docker.compose.oneoff": program,
        "com.docker.compose.project.config_files": program,
        "com.docker.extension.publisher-url": f"binary://{program}",
        "io.containerd.image.logger": f"binary://{program}",
        "containerd.io/logger": f"binary://{program}?id=1",
        "nerdctl/log-uri": f"binary://{program}",
        "nerdctl/log-config": f'{{"driver":"binary","address":"{program}"}}',
        "io.containers.autoupdate": "registry",
        "io.podman.annotations.privileged": "TRUE",
        "io.podman.annotations.seccomp": "unconfined",
        "io.podman.annotations.label": "disable",
        "io.podman.annotations.init": "TRUE",
        "io.podman.annotations.volumes-from": program,
        "io.podman.compose.config-hash": program,
        "PODMAN_SYSTEMD_UNIT": f"{program}.service",
        "io.kubernetes.cri-o.TrySkipVolumeSELinuxLabel": "true",
        "io.kubernetes.cri-o.Devices": "/dev/kmsg",
        "io.kubernetes.cri-o.ShmSize": "9999g",
        "io.kubernetes.cri-o.umask": "0000",
        "io.kubernetes.cri.untrusted-workload": "false",
        "org.opencontainers.image.base.name": f"$({program})",
        "org.opencontainers.runc.exec.isolated-cpu-affinity-transition": "1",
        "org.systemd.property.ExecStopPost": f"[('{program}', ['{program}'], false)]",
        "org.systemd.property.DeviceAllow": "[('/dev/kmsg', 'rwm')]",
        "run.oci.handler": "wasm",
        "run.oci.hooks.stderr": program,
        "run.oci.hooks.stdout": program,
        "run.oci.keep_original_groups": "1",
        "run.oci.mount_context_type": "rootcontext",
        "run.oci.pidfd_receiver": program,
        "run.oci.seccomp.receiver": program,
        "run.oci.seccomp_fail_unknown_syscall": "0",
        "run.oci.seccomp_bpf_data": "AAAA",
        "run.oci.systemd.force_cgroup_v1": "/sys/fs/cgroup",
        "run.oci.systemd.subgroup": "../..",
        "run.oci.timens_offset": "1000",
        "module.wasm.image/variant": "compat",
        "rootless.hooks": program,
        "dev.containers.hooks": program,
        "dev.containers.initializeCommand": program,
        "devcontainer.metadata": f'[{{"initializeCommand":"{program}","privileged":true}}]',
        "com.github.containers.toolbox": "true",
        "manager": "distrobox",
    }


def hostile_image(directory: Path, marked: Marked) -> Path:
    """A layout of a busybox with traps in every directory of programs and libraries, labels and variables."""
    layout = images.Layout(directory)
    programs = [f"{place}/{name}" for place in ("usr/bin", "usr/sbin") for name in TRAPS]
    traps = [images.file(path, marked.script, 0o755) for path in programs]
    libraries = [
        images.file(f"{place}/{name}", b"\x7fELF" + marked.script, 0o755)
        for place in ("lib", "lib64", "lib/x86_64-linux-gnu", "usr/lib/x86_64-linux-gnu")
        for name in LIBRARIES
    ]
    modules = [images.file(f"usr/lib/python3/{name}.py", b"raise SystemExit(99)\n") for name in ("os", "encodings")]
    places = "lib lib64 lib/x86_64-linux-gnu usr/lib usr/lib/x86_64-linux-gnu usr/lib/python3 usr/sbin".split()
    tar = images.tar_of([*(images.directory(name) for name in places), *traps, *libraries, *modules])
    layers = [layout.add_layer(images.busybox_tar()), layout.add_layer(tar)]
    labels = control_labels(str(marked.evil / "sh"))
    config = {
        "Env": [images.PATH, "LD_PRELOAD=/lib/libc.so.6", "PYTHONPATH=/usr/lib/python3", "PYTHONHOME=/usr", "IFS=x",
                "BASH_ENV=/usr/bin/sh", "ENV=/usr/bin/sh"],
        "Cmd": ["/bin/busybox", "sleep", "100"],
        "Labels": labels,
        "StopSignal": "SIGKILL",
    }  # fmt: skip
    layout.add_image("latest", layers, config, annotations=labels)
    return directory


@pytest.fixture
def hostile(tmp_path: Path, marked: Marked) -> Iterator[Cli]:
    """The program with the hostile image, with a PATH that begins with programs that must not be run."""
    with new_cli() as cli:
        layout = hostile_image(tmp_path / "layout", marked)
        cli.ok("tag", cli.ok("pull", "--quiet", f"oci:{layout}:latest").strip(), "localhost/hostile:latest")
        yield cli


def test_labels_start_nothing_rows_29_30(hostile: Cli, marked: Marked) -> None:
    """security rows 29 and 30: every label that some tool takes for an order; none of them is one here."""
    image = ("--network", "none", "localhost/hostile")
    plain = hostile.ok("run", "--rm", *image, "/bin/busybox", "cat", "/proc/self/status")
    lines = dict(line.split(":\t", 1) for line in plain.splitlines())
    assert (lines["Seccomp"], lines["CapBnd"]) == ("2", "00000000800405fb")
    name = hostile.ok("run", "-d", *image).strip()
    try:
        annotations = hostile.ok("inspect", "--format", "{{json .Config.Annotations}}", name)
        assert annotations.strip() in ("{}", "null")
        spec = hostile.ok("inspect", "--format", "{{.OCIConfigPath}}", name).strip()
        text = Path(spec).read_text()
        assert not [word for word in (str(marked.evil), "run.oci", "org.systemd", "io.kubernetes") if word in text]
        hostile.ok("restart", "-t", "0", name)
        hostile.ok("stop", "-t", "0", name)
    finally:
        hostile.ok("rm", "-f", "-t", "0", name)
    assert hostile.ok("image", "inspect", "localhost/hostile", "--format", "{{len .Config.Labels}}").strip() != "0"


def test_programs_and_libraries_of_the_image_are_not_run_row_62(hostile: Cli, tmp_path: Path) -> None:
    """security row 62: commands that look into a container use nothing of it, running or ended."""
    check = ("--health-cmd", '["/bin/busybox", "true"]', "--health-interval", "1s")
    name = hostile.ok("run", "-d", "--network", "none", *check, "localhost/hostile").strip()
    (tmp_path / "file").write_text("text")
    try:
        for state in ("running", "ended"):
            hostile.ok("cp", str(tmp_path / "file"), f"{name}:/copied-{state}")
            hostile.ok("cp", f"{name}:/etc", str(tmp_path / f"etc-{state}"))
            hostile.ok("export", "-o", str(tmp_path / f"{state}.tar"), name)
            hostile.ok("logs", name)
            hostile.ok("inspect", "--size", name)
            changes = hostile.ok("diff", name)
            assert "trapped" not in changes
            if state == "running":
                assert "sleep" in hostile.ok("top", name)
                hostile.ok("healthcheck", "run", name)
                hostile.ok("exec", name, "/bin/busybox", "true")
                hostile.ok("stop", "-t", "0", name)
        hostile.ok("commit", "-q", name, "localhost/committed")
    finally:
        hostile.ok("rm", "-f", "-t", "0", name)


def packed_layout(directory: Path) -> Path:
    """A layout of busybox, and of a file in a layer for each way of packing."""
    layout = images.Layout(directory)
    layers = [layout.add_layer(images.busybox_tar())]
    pack: dict[str, Callable[[bytes], bytes]] = {
        "gzip": gzip.compress, "bzip2": bz2.compress, "xz": lzma.compress, "zstd": zstandard.compress,
    }  # fmt: skip
    for number, (name, function) in enumerate(pack.items()):
        tar = images.tar_of([images.file(f"packed-{number}", f"{name}\n".encode())])
        kind = f"+{name}" if name in ("gzip", "zstd") else ""
        media_type = f"{images.MEDIA_TYPE}.layer.v1.tar{kind}"
        layers.append((layout.add_blob(function(tar), media_type), f"sha256:{hashlib.sha256(tar).hexdigest()}"))
    layout.add_image("latest", layers, {"Cmd": ["sh"]})
    return directory


def test_layers_are_unpacked_by_no_other_program_row_63(cli: Cli, tmp_path: Path, marked: Marked) -> None:
    """security row 63: gzip, bzip2, xz and zstd, programs of these names in front in PATH; traced."""
    layout = packed_layout(tmp_path / "layout")
    evil = {"PATH": f"{marked.evil}:{cli.environment['PATH']}"}
    # The interpreter is found by its path, as the launcher does it.
    image = cli.run("pull", "--quiet", f"oci:{layout}:latest", env=evil)
    assert image.returncode == 0, image.stderr
    run = ("run", "--rm", "--network", "none", image.stdout.strip(), "sh", "-c", "cat /packed-?")
    assert cli.ok(*run).split() == ["gzip", "bzip2", "xz", "zstd"]
    require("strace")
    strace = shutil.which("strace") or ""
    trace = tmp_path / "trace"
    # A traced set-user-ID helper has no power: on a host without a range none is needed.
    poor = hosts.prefix(tmp_path / "host", files={"/etc/subuid": "", "/etc/subgid": ""})
    with new_cli() as fresh:
        command = fresh.command("pull", "--quiet", f"oci:{layout}:latest")
        traced = [*poor, strace, "-f", "-e", "trace=execve,execveat", "-o", str(trace), *command]
        done = subprocess.run(traced, env=fresh.environment, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
    calls = [line for line in trace.read_text().splitlines() if "exec" in line and " = 0" in line]
    started = {line.split('"')[1] for line in calls}
    # Where libseccomp is, the machine's own ldconfig knows.
    usual = {"/usr/bin/env", "/sbin/ldconfig", *(name for name in started if "/python" in name or "rootless" in name)}
    assert started <= usual, calls
