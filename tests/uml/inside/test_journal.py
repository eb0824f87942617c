"""The log driver journald where the journal runs: what a container says is in the user's, and ``logs`` reads it."""

from __future__ import annotations

import json
import subprocess
import time

from tests.uml.inside.session import IMAGE, Session, until

JOURNALD = ("run", "--detach", "--network", "none", "--log-driver", "journald")


def entries(*matches: str) -> list[dict[str, object]]:
    """Entries of the user's journal."""
    command = ["journalctl", "--user", "--quiet", "--all", "--output=json", *matches]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_logs_reads_it_back(rootless: Session) -> None:
    """Both streams, each in its order, with all that conmon's fields tell, and nothing of other containers."""
    script = "echo one; echo two >&2; printf 'three'; sleep 0.2; echo; echo four"
    tag = ("--log-opt", "tag={{.Name}}/{{.ImageName}}")
    identity = rootless.ok(*JOURNALD, "--name", "said", *tag, IMAGE, "sh", "-c", script).strip()
    rootless.ok(*JOURNALD, "--name", "other", IMAGE, "echo", "other")
    rootless.ok("wait", "said", "other")
    until(lambda: "four" in rootless.ok("logs", "said"), "the journal has it all")
    done = rootless.run("logs", "said")
    assert (done.stdout.split(), done.stderr) == (["one", "three", "four"], "two\n")
    last = rootless.run("logs", "--tail", "1", "said")
    # Of two pipes that are read late nobody knows which one was written to first.
    assert (last.stdout, last.stderr) in {("four\n", ""), ("", "two\n")}
    assert rootless.ok("logs", "--until", "2020-01-01T00:00:00Z", "said") == ""
    assert rootless.ok("logs", "other") == "other\n"
    first = entries(f"CONTAINER_ID_FULL={identity}")[0]
    wanted = {"CONTAINER_NAME": "said", "CONTAINER_ID": identity[:12], "MESSAGE": "one", "PRIORITY": "6"}
    wanted |= {"CONTAINER_TAG": f"said/{IMAGE}", "SYSLOG_IDENTIFIER": f"said/{IMAGE}", "IMAGE_NAME": IMAGE}
    assert {key: first.get(key) for key in wanted} == wanted
    assert rootless.ok("inspect", "--format", "{{.HostConfig.LogConfig.Type}}", "said") == "journald\n"
    rootless.ok("start", "other")
    until(lambda: rootless.ok("logs", "other") == "other\nother\n", "the second run is in it too")


def test_followed(rootless: Session) -> None:
    """``logs -f`` ends with the container, and misses nothing of its end."""
    rootless.ok(*JOURNALD, "--name", "goes", IMAGE, "sh", "-c", "for n in 1 2 3; do echo $n; sleep 1; done; echo end")
    assert rootless.ok("logs", "--follow", "goes").split() == ["1", "2", "3", "end"]


def test_no_output_stops_it_row_92(rootless: Session) -> None:
    """A line without end, zeros, and more than the journal takes in: the payload goes on."""
    script = "head -c 3000000 /dev/zero; head -c 3000000 /dev/zero | tr '\\0' x; echo; yes | head -n 20000; echo over"
    began = time.monotonic()
    rootless.ok(*JOURNALD, "--name", "loud", IMAGE, "sh", "-c", script)
    assert rootless.ok("wait", "loud", timeout=100).strip() == "0"
    assert time.monotonic() - began < 100
    until(lambda: rootless.ok("logs", "--tail", "1", "loud").endswith("over\n"), "the last line is there", 60)
