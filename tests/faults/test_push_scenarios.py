"""Pushes to registries that do wrong: each ends safely, and what can be mended by trying again is."""

from __future__ import annotations

import io
import json
import os
import re
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from random import Random

import pytest

from rootless.registry import upload
from rootless.registry.options import ConnectionOptions
from rootless.registry.registries_conf import Endpoint
from rootless.registry.upload_requests import PIECE, Blob, Target
from tests.fakes.registry import FakeRegistry, Reply, layer
from tests.faults.push_scenarios import PUSH_SCENARIOS
from tests.faults.push_stage import MANIFEST, PATCH, PUT, STEP, PushScenario, PushStage
from tests.faults.registry_stage import QUICK
from tests.faults.telling import tell_ends, tell_stalls
from tests.faults.test_registry_scenarios import MEASURED
from tests.support import pulling, pushing
from tests.support.certificates import Authority
from tests.support.cli import Cli
from tests.support.figures import Tell, amount

SEED = 5
SLOWEST = 20.0
"""Seconds that any scenario may take with quick limits, on a machine that has other work."""

ended: dict[str, str] = {}
"""How each scenario that was tried ended: '' for well, else what was wrong."""


def new_stage(stack: ExitStack, directory: Path, authority: Authority, large: int = 1_500_000) -> PushStage:
    """A registry that does nothing wrong, and an image of two layers."""
    monkeypatch = stack.enter_context(pytest.MonkeyPatch.context())
    monkeypatch.setenv("XDG_CONFIG_HOME", str(directory / "config"))
    monkeypatch.setattr(upload, "SMALLER", STEP)
    fake = stack.enter_context(FakeRegistry())
    image, blobs = pushing.image_of([layer({"f": Random(SEED).randbytes(large)}), layer({"g": b"small"})])
    store = pulling.new_store(directory)
    return PushStage(fake, image, blobs, store, directory, lambda: authority, monkeypatch, stack, f"{fake.host}/app")


def arrange(scenario: PushScenario, stage: PushStage) -> None:
    """Have the registry of ``stage`` do what the scenario wants."""
    if scenario.set_up is not None:
        scenario.set_up(stage)
    for part, reply, times in scenario.script:
        stage.script(part, reply, times)


def judge(scenario: PushScenario, stage: PushStage, error: str, said: str) -> str:
    """What is wrong with how a push ended."""
    part = scenario.script[-1][0] if scenario.script else MANIFEST
    requests = len(stage.fake.requests(part.format(layer=stage.layer)))
    held = all(stage.fake.blobs.get(digest) == data for digest, data in stage.blobs.items())
    named = ("app", "latest") in stage.fake.manifests
    twice = [digest for digest, count in Counter(stage.fake.finished).items() if count > 1]
    wrong = [
        (bool(error) != bool(scenario.refused), f"it ended with {error!r}"),
        (not re.search(scenario.refused, error), f"it was refused with {error!r}"),
        (not re.search(scenario.said, said), f"it said {said!r}"),
        (bool(scenario.refused) and named, "there is a manifest of what was refused"),
        (not scenario.refused and not (held and named), "the image is not there"),
        (bool(twice) and "once" not in scenario.name, f"sent twice: {twice}"),
        (bool(scenario.row) and any(part in error + said for part in ("sesame", "u:p")), "it shows a password"),
        (0 < scenario.most < requests, f"{requests} requests"),
    ]
    return "; ".join(words for is_wrong, words in wrong if is_wrong)


def attempt(scenario: PushScenario, directory: Path, authority: Authority) -> str:
    """Push, and say what is wrong with how that ended."""
    with ExitStack() as stack:
        stage = new_stage(stack, directory, authority)
        arrange(scenario, stage)
        started = time.monotonic()
        options = ConnectionOptions(limits=QUICK, tls_verify=stage.tls_verify)
        pushed = pushing.push(stage.store, stage.image, stage.name, options)
        seconds = time.monotonic() - started
        wrong = judge(scenario, stage, pushed.error, pushed.said)
    if seconds > SLOWEST:
        wrong += f"; it took {seconds:.0f} s"
    if any(other.seen for other in stage.others):
        wrong += "; another host was asked"
    return wrong


@pytest.mark.parametrize("scenario", PUSH_SCENARIOS, ids=str)
def test_scenario(scenario: PushScenario, tmp_path: Path, authority: Authority) -> None:
    ended[scenario.name] = "it raised something"
    ended[scenario.name] = attempt(scenario, tmp_path, authority)
    assert ended[scenario.name] == ""


@pytest.mark.timeout(600)
def test_all_scenarios_row_83(tmp_path: Path, authority: Authority, figure: Tell) -> None:
    tell_ends(
        figure, "registry faults of a push", "≥ 25", PUSH_SCENARIOS, ended,
        lambda scenario, directory: attempt(scenario, directory, authority), tmp_path,
    )  # fmt: skip


def test_little_is_sent_again_after_twenty_resets(tmp_path: Path, authority: Authority, figure: Tell) -> None:
    with ExitStack() as stack:
        stage = new_stage(stack, tmp_path, authority, large=24_000_000)
        stage.script(PUT, Reply(read=1_000_000, cut=True))
        stage.script(PATCH, Reply(read=100_000, cut=True), times=19)
        options = ConnectionOptions(limits=QUICK, tls_verify=False)
        assert pushing.push(stage.store, stage.image, stage.name, options).error == ""
        assert stage.fake.blobs[stage.layer] == stage.blobs[stage.layer]
        sent = sum(len(seen.body) for seen in stage.fake.seen if seen.method in ("PUT", "PATCH"))
    size = sum(map(len, stage.blobs.values())) + len(stage.image.manifest)
    figure("registry faults of a push: sent again after 20 resets", "≤ 5 %", max(0.0, 100 * (sent - size) / size))


def test_steps_do_not_read_a_blob_from_its_beginning(tmp_path: Path, authority: Authority) -> None:
    read = 0

    class Counted(io.FileIO):
        def read(self, size: int | None = -1, /) -> bytes:
            nonlocal read
            found = super().read(size)
            read += len(found or b"")
            return found or b""

    with ExitStack() as stack:
        stage = new_stage(stack, tmp_path, authority, large=4_000_000)
        stage.script(PUT, Reply(status=413))
        data = stage.blobs[stage.layer]
        path = tmp_path / "blob"
        path.write_bytes(data)
        target = Target(Endpoint(stage.fake.host, "app"), ConnectionOptions(limits=QUICK, tls_verify=False))
        blob = Blob(stage.layer, len(data), lambda: Counted(path))
        assert upload.Uploader(target, lambda *_: None).push(blob) == upload.SENT
        assert len(stage.fake.requests(PATCH)) == -(-len(data) // STEP)
        assert stage.fake.blobs[stage.layer] == data
    # As a whole, in steps, and what was read ahead of each step's end.
    assert read <= 2 * len(data) + len(data) // STEP * PIECE + PIECE


STALLS = {
    "no answer to the beginning": ("POST ", Reply(delay=60)),
    "nothing is taken": ("PUT ", Reply(read=0, hang=True)),
    "a part is taken": ("PUT ", Reply(read=500_000, hang=True)),
    "taken at 500 bytes a second": ("PUT ", Reply(read_rate=500)),
    "no answer to what was taken": ("PUT ", Reply(delay=60)),
}
"""Ways not to go on without an end of the connection."""


def test_stalls_are_noticed(figure: Tell) -> None:
    """The usual run shortens the limits to a third."""
    data = bytes(12_000_000)  # more than a connection of loopback holds
    blob = Blob(str(pushing.described(data, "")["digest"]), len(data), lambda: io.BytesIO(data))

    def prepare(fake: FakeRegistry, options: ConnectionOptions) -> Callable[[str], object]:
        target = Target(Endpoint(fake.host, "app"), options)
        target.connect()
        return lambda part: upload.Uploader(target, lambda *_: None).push(blob)

    tell_stalls(figure, "registry faults of a push", STALLS, amount(usual=3, nightly=1), prepare)


@pytest.mark.needs("subuid")
def test_memory_of_the_program_row_83(cli: Cli, tmp_path: Path, authority: Authority, figure: Tell) -> None:
    most = 0
    for number, scenario in enumerate(scenario for scenario in PUSH_SCENARIOS if scenario.by_command):
        directory = tmp_path / str(number)
        directory.mkdir()
        with ExitStack() as stack:
            stage = new_stage(stack, directory, authority, large=20_000_000)
            if not number:
                stage.fake.blobs.update(stage.blobs)
                stage.fake.put_manifest("app", stage.image.manifest)
                cli.ok("pull", "-q", "--tls-verify=false", stage.name)
                cli.ok("tag", stage.name, "localhost/app")
                stage.fake.blobs.clear()
                stage.fake.manifests.clear()
            stage.monkeypatch.delenv("REGISTRY_AUTH_FILE", raising=False)
            arrange(scenario, stage)
            environment = {**cli.environment, "REGISTRY_AUTH_FILE": os.environ.get("REGISTRY_AUTH_FILE", os.devnull)}
            words = ["push", "-q", "--tls-verify=false", "--retry-delay=50ms", "app", stage.name]
            command = [sys.executable, "-ISc", MEASURED, *cli.command(*words)]
            done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60, check=True)
            code, kilobytes = json.loads(done.stdout.splitlines()[-1])
            errors = [line for line in done.stderr.splitlines() if line.startswith("Error: ")]
            assert code == (125 if scenario.refused else 0), (scenario.name, done.stderr)
            assert judge(scenario, stage, "\n".join(errors), done.stderr) == "", scenario.name
            assert not any(other.seen for other in stage.others)
        assert "Traceback" not in done.stderr and "defect" not in done.stderr, done.stderr
        most = max(most, kilobytes)
    figure("registry faults of a push: memory of the program", "≤ 150 MiB", most / 1024)
