"""The Spec of each example command line, as a file. ``ROOTLESS_UPDATE_SNAPSHOTS=1 pytest …`` writes them anew."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path
from typing import Any

import pytest

from rootless.cli import fastparse, grammar
from rootless.engine.containers import spec_builder, user_mounts
from rootless.engine.containers.mounts import device_mounts
from rootless.engine.options.run import RunOptions
from rootless.idmaps import IdMap

SNAPSHOTS = Path(__file__).parents[2] / "snapshots" / "spec"
IMAGE: dict[str, Any] = {
    "Env": ["PATH=/usr/bin:/bin", "LANG=C", "HOSTSECRET", "X*", "=a"],
    "Entrypoint": ["/entry"],
    "Cmd": ["serve"],
    "WorkingDir": "/srv/../app",
    "User": "app:web",
    "Labels": {"org.systemd.property.Delegate": "yes", "run.oci.keep_original_groups": "1"},
}
EXAMPLES = {
    "plain": "run --rm image",
    "command": "run --rm --entrypoint '' image echo hi",
    "environment": "run -t -e A=1 -e 'HOST*' --unsetenv LANG --env-merge 'PATH=${PATH}:/x' --hostname box image",
    "user": "run -u 1000:100 --group-add 5,adm -w /tmp --umask 0077 image",
    "root": "run -u root --cap-add net_raw --cap-drop setuid,setgid image",
    "privileged": "run --privileged image",
    "host_namespaces": "run --network host --pid host --ipc host --uts host image",
    "read_only": "run --read-only --network none --tmpfs /cache:size=1m,noexec image",
    "read_only_no_tmpfs": "run --read-only --read-only-tmpfs=false image",
    "volumes": "run -v /etc:/host:ro,rslave -v /dev:/dev --mount type=devpts,dst=/dev/pts "
    "--device /dev/null:/dev/x image",
    "limits": "run --ulimit nofile=10:20 --ulimit core=-1 --shm-size 1m --sysctl net.ipv4.ip_forward=1 image",
    "security": "run --security-opt no-new-privileges --security-opt unmask=/proc/kcore --security-opt mask=/x "
    "--security-opt proc-opts=hidepid=2 image",
    "hardened": "run --hardened --init image",
    "annotation": "run --annotation a=b --ulimit host --passwd=false --preserve-fds 2 image",
}


def built(line: str) -> dict[str, Any]:
    """Spec and extras of a command line, on a machine of which everything is known."""
    understood = fastparse.parse(shlex.split(line), grammar)
    assert understood is not None
    _, values, arguments, _ = understood
    options = RunOptions(values)
    wanted = [mount for mount in options.mounts if mount["type"] != "volume"]
    resolved = user_mounts.Resolved([])
    for mount in wanted:
        user_mounts._resolve_one(None, mount, "/scratch", False, resolved)  # type: ignore[arg-type]
    idmap = IdMap([(0, 1000, 1), (1, 100000, 65536)], [(0, 1000, 1), (1, 100000, 65536)], "")
    facts = spec_builder.Facts(
        idmap=idmap,
        environ={"HOSTNAME": "machine", "HOSTSECRET": "s", "HOST_A": "1", "http_proxy": "http://proxy"},
        hostname=spec_builder.host_name(options, "0123456789abcdef" * 4, "machine"),
        rootfs="/store/merged",
        files=[("/store/files/hosts", "/etc/hosts"), ("/store/files/resolv.conf", "/etc/resolv.conf")],
        mounts=resolved.mounts,
        devices=device_mounts(options.devices),
    )
    spec, extras = spec_builder.build(options, IMAGE, arguments[1:], facts)
    masked = spec["linux"].get("maskedPaths")
    if masked:  # one for each processor of this machine
        spec["linux"]["maskedPaths"] = [path for path in masked if "thermal_throttle" not in path]
    return {"spec": spec, "extras": extras}


@pytest.mark.parametrize("name", EXAMPLES)
def test_spec(name: str) -> None:
    path = SNAPSHOTS / f"{name}.json"
    text = json.dumps(built(EXAMPLES[name]), indent=1) + "\n"
    if os.environ.get("ROOTLESS_UPDATE_SNAPSHOTS"):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    assert text == path.read_text(encoding="utf-8")


def test_nothing_of_an_image_gives_power() -> None:
    plain, own = built(EXAMPLES["plain"])["spec"], json.dumps(built(EXAMPLES["plain"]))
    assert "annotations" not in plain
    assert "HOSTSECRET" not in own and "org.systemd" not in own
    assert plain["process"]["cwd"] == "/app"
