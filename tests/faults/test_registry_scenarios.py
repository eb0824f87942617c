"""Pulls from registries that do wrong: each ends safely, and what can be mended by trying again is."""

from __future__ import annotations

import json
import re
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from random import Random

import pytest

from rootless.registry.client import Registry
from rootless.registry.errors import TransientError
from rootless.registry.options import ConnectionOptions
from rootless.registry.registries_conf import Endpoint
from rootless.registry.retry import Backoff, Limits
from storage import oci
from tests.fakes.registry import FakeRegistry, Reply, layer
from tests.faults.registry_scenarios import SCENARIOS
from tests.faults.registry_stage import MANIFEST, QUICK, Scenario, Stage, crawl
from tests.faults.telling import tell_ends, tell_stalls
from tests.support import pulling
from tests.support.certificates import Authority
from tests.support.cli import Cli
from tests.support.figures import Tell, amount

SEED = 4
SLOWEST = 15.0
"""Seconds that any scenario may take with quick limits, on a machine that has other work."""

MOST_SENT = 32 << 20
"""Bytes that a registry gets rid of in any scenario: four times what documents may have, and what buffers hold."""

ended: dict[str, str] = {}
"""How each scenario that was tried ended: '' for well, else what was wrong."""


def new_stage(stack: ExitStack, directory: Path, authority: Authority) -> Stage:
    """A registry that does nothing wrong, with an image of two layers, one of them of 1.5 MB."""
    monkeypatch = stack.enter_context(pytest.MonkeyPatch.context())
    monkeypatch.setenv("XDG_CONFIG_HOME", str(directory / "config"))
    fake = stack.enter_context(FakeRegistry())
    manifest = fake.add_image("app", [layer({"f": Random(SEED).randbytes(1_500_000)}), layer({"g": b"small"})])
    return Stage(fake, manifest, directory, lambda: authority, monkeypatch, stack, name=f"{fake.host}/app")


def arrange(scenario: Scenario, stage: Stage) -> None:
    """Have the registry of ``stage`` do what the scenario wants."""
    for prepare in (scenario.change, scenario.set_up):
        if prepare is not None:
            prepare(stage)
    for part, reply, times in scenario.script:
        stage.fake.script(stage.digest(part), reply, times)


def attempt(scenario: Scenario, directory: Path, authority: Authority) -> str:
    """Pull, and say what is wrong with how that ended."""
    with ExitStack() as stack:
        stage = new_stage(stack, directory, authority)
        arrange(scenario, stage)
        store = pulling.new_store(directory)
        started = time.monotonic()
        pulled = pulling.pull(store, stage.name, ConnectionOptions(limits=QUICK, tls_verify=stage.tls_verify))
        seconds = time.monotonic() - started
        part = scenario.script[-1][0] if scenario.script else MANIFEST
        requests = len(stage.fake.requests(stage.digest(part)))
        sent = sum(request.sent for request in stage.fake.seen)
    complete = all(
        oci.is_digest(entry["digest"]) and store.blobs.has(entry["digest"], entry["size"])
        for entry in stage.manifest["layers"]
    )
    wrong = [
        (seconds > SLOWEST, f"it took {seconds:.0f} s"),
        (bool(pulling.unsafe(store)), f"blobs that are not their name: {pulling.unsafe(store)}"),
        (bool(pulled.error) != bool(scenario.refused), f"it ended with {pulled.error!r}"),
        (not re.search(scenario.refused, pulled.error), f"it was refused with {pulled.error!r}"),
        (not re.search(scenario.said, pulled.said), f"it said {pulled.said!r}"),
        (not scenario.refused and not complete, "a layer is missing"),
        ("digest" in scenario.refused and bool(pulling.partial(store)), "wrong bytes are kept to be continued"),
        ("sesame" in pulled.error + pulled.hint + pulled.said, "it shows the password of the proxy"),
        (sent > MOST_SENT, f"{sent} bytes were sent"),
        (0 < scenario.most < requests, f"{requests} requests"),
    ]
    return "; ".join(words for is_wrong, words in wrong if is_wrong)


@pytest.mark.parametrize("scenario", SCENARIOS, ids=str)
def test_scenario(scenario: Scenario, tmp_path: Path, authority: Authority) -> None:
    ended[scenario.name] = "it raised something"
    ended[scenario.name] = attempt(scenario, tmp_path, authority)
    assert ended[scenario.name] == ""


@pytest.mark.timeout(600)
def test_all_scenarios_rows_33_85_86(tmp_path: Path, authority: Authority, figure: Tell) -> None:
    tell_ends(
        figure, "registry faults", "≥ 40", SCENARIOS, ended,
        lambda scenario, directory: attempt(scenario, directory, authority), tmp_path,
    )  # fmt: skip


def test_little_is_sent_again_after_twenty_resets(tmp_path: Path, authority: Authority, figure: Tell) -> None:
    with ExitStack() as stack:
        stage = new_stage(stack, tmp_path, authority)
        data = Random(SEED).randbytes(24_000_000)
        stage.manifest = stage.fake.add_image("app", [layer({"f": data})])
        stage.fake.script(stage.digest("layer"), Reply(cut_after=1_000_000, reset=True), times=20)
        store = pulling.new_store(tmp_path)
        assert pulling.pull(store, stage.name, ConnectionOptions(limits=QUICK, tls_verify=False)).error == ""
        requests = stage.fake.requests(stage.digest("layer"))
    assert len(requests) == 21
    size = stage.manifest["layers"][0]["size"]
    again = sum(request.sent for request in requests) - size
    figure("registry faults: sent again after 20 resets", "≤ 5 %", max(0.0, 100 * again / size))


STALLS = {
    "no answer": (MANIFEST, Reply(delay=60)),
    "headers byte by byte": (MANIFEST, Reply(raw=crawl(b"HTTP/1.1 200 OK\r\nX: " + b"y" * 500, 0.5))),
    "nothing after the headers": ("/blobs/", Reply(stall_after=0)),
    "nothing after a burst": ("/blobs/", Reply(stall_after=400_000)),
    "body byte by byte": ("/blobs/", Reply(rate=10)),
    "body at 500 bytes a second": ("/blobs/", Reply(rate=500)),
}
"""Ways to stop sending without an end of the connection."""


def test_stalls_are_noticed(figure: Tell) -> None:
    """The usual run shortens the limits to a fifth."""

    def prepare(fake: FakeRegistry, options: ConnectionOptions) -> Callable[[str], object]:
        entry = fake.put_blob(bytes(500_000), "x")
        registry = Registry(Endpoint(fake.host, "app"), options)
        registry.connect()

        def ask(part: str) -> None:
            if part == MANIFEST:
                registry.manifest("latest")
            else:
                for _ in registry.blob(entry["digest"], entry["size"]).chunks():
                    pass

        return ask

    tell_stalls(figure, "registry faults", STALLS, amount(usual=5, nightly=1), prepare)


def test_waits_that_a_registry_wishes_for_are_bounded(figure: Tell) -> None:
    """With the limits that the program has, and with `--retry 999`; a clock of the test's own is waited for."""
    most = 0.0
    for tries in (Limits().tries, 1000):
        for progress in (False, True):
            waits: list[float] = []
            backoff = Backoff(replace(Limits(), tries=tries), lambda _: None, waits.append)
            with pytest.raises(TransientError):
                for _ in range(tries + 1000):
                    backoff.failed(TransientError("too many requests", retry_after=100_000))
                    if progress:
                        backoff.fresh_start()
            assert waits and max(waits) <= 60
            most = max(most, sum(waits))
    figure("registry faults: all waits of a request for Retry-After: 100000", "≤ 300 s", most)


def test_waits_that_can_be_granted_are() -> None:
    waits: list[float] = []
    Backoff(Limits(), lambda _: None, waits.append).failed(TransientError("too many requests", retry_after=40))
    assert 40 <= waits[0] <= 44


MEASURED = """
import json, os, sys
pid = os.fork()
if pid == 0:
    os.execvp(sys.argv[1], sys.argv[1:])
_, status, used = os.wait4(pid, 0)
print(json.dumps([os.waitstatus_to_exitcode(status), used.ru_maxrss]))
"""
"""Runs a command; prints its exit code and the most memory, in KiB, that any of its processes had."""


@pytest.mark.needs("subuid")
def test_memory_of_the_program_rows_85_86(cli: Cli, tmp_path: Path, authority: Authority, figure: Tell) -> None:
    most = 0
    chosen = [scenario for scenario in SCENARIOS if scenario.by_command]
    for number, scenario in enumerate(chosen):
        directory = tmp_path / str(number)
        directory.mkdir()
        with ExitStack() as stack:
            stage = new_stage(stack, directory, authority)
            arrange(scenario, stage)
            flags = ["--retry-delay=50ms", *([] if stage.tls_verify is None else ["--tls-verify=false"])]
            command = [sys.executable, "-ISc", MEASURED, *cli.command("pull", "-q", *flags, stage.name)]
            done = subprocess.run(command, env=cli.environment, capture_output=True, text=True, timeout=60, check=True)
        code, kilobytes = json.loads(done.stdout.splitlines()[-1])
        errors = [line for line in done.stderr.splitlines() if line.startswith(("Error: ", "hint: "))]
        assert code == (125 if scenario.refused else 0), (scenario.name, done.stderr)
        assert bool(errors) == bool(scenario.refused) and re.search(scenario.refused, done.stderr), done.stderr
        assert "Traceback" not in done.stderr and "defect" not in done.stderr, done.stderr
        assert kilobytes <= 150 * 1024, f"{scenario.name}: {kilobytes >> 10} MiB"
        most = max(most, kilobytes)
        if not scenario.refused:
            cli.ok("rmi", "-af")
    figure("registry faults: memory of the program", "≤ 150 MiB", most / 1024)
