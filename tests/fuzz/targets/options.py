"""Targets: the words of the command line, files named there, and templates."""

from __future__ import annotations

import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rootless import durations
from rootless.cli import fastparse, grammar
from rootless.cli.gofuncs import TemplateError
from rootless.cli.gotemplate import Template
from rootless.engine import times
from rootless.engine.options import (
    detach_keys,
    device,
    env,
    health,
    limits,
    log,
    mount,
    security,
    userns,
    values,
    volume,
)  # fmt: skip
from rootless.network import names, ports
from rootless.security import capabilities
from tests.fuzz.targets.target import OURS, Target, text

_FILE = Path(tempfile.mkdtemp(prefix="fuzz-options-"), "file")
_HOST = {"HOME": "/home/me", "SECRET": "x"}


def rfc3339(word: str) -> None:
    """A time in a document of somebody else."""
    try:
        times.parse_rfc3339(word)
    except ValueError:
        return


# In the order of the first byte of an input.
PARSERS: tuple[Callable[[str], Any], ...] = (
    volume.parse_volume, volume.parse_tmpfs, mount.parse_mount, ports.parse,
    lambda word: limits.parse_ulimits([word]), lambda word: limits.parse_sysctls([word], ["net", "ipc"]),
    userns.parse_userns, lambda word: userns.parse_userns("", [word]), lambda word: log.parse_log_options([word]),
    lambda word: values.check_name("container", word), lambda word: values.parse_bool(word, "--x"),
    lambda word: values.parse_bytes(word, "--x"), lambda word: durations.parse_duration(word, "--x"),
    lambda word: values.parse_octal(word, "--x"), lambda word: values.parse_signal(word, "--x"),
    detach_keys.parse, lambda word: device.parse_devices([word]), lambda word: security.parse_security([word]),
    lambda word: health.parse_command(word, "--x"), lambda word: times.parse_moment(word, "--x"), rfc3339,
    capabilities.parse, names.parse_resolv,
)  # fmt: skip
_WORDS = (
    "/a:/b:ro,z", "/tmp:size=5m,mode=1777", "type=bind,src=/a,dst=/b,ro=true", "127.0.0.1:80-82:80-82/udp",
    "nofile=1:2", "net.ipv4.ip_forward=1", "keep-id:uid=5,gid=6", "0:1:5", "max-size=5m", "name", "true", "5m",
    "1h5m3.5s", "0755", "SIGTERM", "ctrl-p,ctrl-q", "/dev/null:/dev/x:rwm", "label=type:x", '["CMD", "true"]', "10m",
    "2026-01-01T00:00:00.5+01:00", "net_raw", "nameserver ::1",
)  # fmt: skip


def option_words(data: bytes) -> None:
    """A value of an option: the parser is chosen by the first byte."""
    if data:
        PARSERS[data[0] % len(PARSERS)](text(data[1:]))


def files_of_variables(data: bytes) -> None:
    """--env-file, --label-file: no variable of the host that was not named, and no text that could be two."""
    _FILE.write_bytes(data)
    found = env.parse_variables(env.read_lines(str(_FILE), "--env-file"), _HOST)
    assert not any("\0" in word or "\n" in word for pair in found.items() for word in pair)
    try:
        env.parse_labels([], [str(_FILE)])
    except OURS:
        return


def go_templates(data: bytes) -> None:
    """--format: an error, or a text of bounded length."""
    value = {"ID": "a", "Names": ["b", "c"], "State": {"Pid": 5, "Running": True}, "Labels": {"k": "v"}}
    assert len(Template(text(data)).render(value)) < 1 << 22


def command_lines(data: bytes) -> None:
    """The small parser: declines, or gives a command and its values."""
    words = text(data).split(" ")
    understood = fastparse.parse(words, grammar)
    assert understood is None or understood


TARGETS = (
    Target(option_words, [bytes([number]) + word.encode() for number, word in enumerate(_WORDS)]),
    Target(files_of_variables, [b"A=b\n# c\nHOME\nS*\n  X=y z\r\n", b"\xef\xbb\xbfA=1\n"]),
    Target(go_templates, [b"{{.ID}} {{range $i, $n := .Names}}{{$i}}{{$n | upper}}{{end}}", b"{{json .State}}",
                          b'{{if and .State.Running (gt .State.Pid 3)}}{{printf "%5d" .State.Pid}}{{else}}x{{end}}'],
           also=(TemplateError,)),
    Target(command_lines, [b"run --rm -it -v /a:/b --name=x alpine sh -c true", b"ps -a --format {{.ID}}",
                           b"exec -it a b"]),
)  # fmt: skip
