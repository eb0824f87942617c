"""A case tried: built by both, and what is wrong with what came of it."""

from __future__ import annotations

import json
import os
import time
from collections.abc import Sequence
from pathlib import Path

from tests.build_cases import bases, trees
from tests.build_cases.builders import Buildah, Ours
from tests.build_cases.case import Case
from tests.build_cases.compare import differences, unexpected
from tests.support.cli import Cli


class Trials:
    """Both builders with their stores, below ``home``, whose path must have no capital letters."""

    def __init__(self, cli: Cli, home: Path, layout: Path, tags: Sequence[str] = bases.TAGS) -> None:
        self._home = home
        self._begun = time.time()
        self._ours = Ours(cli, layout, tags)
        self._theirs = Buildah(home, cli.environment, layout, tags)
        self._bases = {tag: trees.read(layout, tag) for tag in tags}
        index = json.loads((layout / "index.json").read_bytes())
        self._digests = {entry["digest"] for entry in index["manifests"]}

    def problems(self, case: Case) -> dict[str, str]:
        """What is not as it should be, by what it is about; empty: all is well."""
        directory = self._home / "contexts" / case.name
        directory.mkdir(parents=True)
        case.write(directory)
        ours = self._ours.build(case, directory)
        found: dict[str, str] = {}
        if bool(ours.code) != bool(case.fails):
            found["ours"] = f"exit {ours.code}: {ours.said[-800:]}"
        elif case.fails not in ours.said:
            found["message"] = f"{case.fails!r} is not in {ours.said[-800:]}"
        if "Traceback" in ours.said or "internal error" in ours.said:
            found["traceback"] = ours.said[-800:]
        if not case.peer:
            if ours.image:
                found |= unexpected(case, ours.image, self._bases[case.base])
            return found
        theirs = self._theirs.build(case, directory)
        if bool(theirs.code) != bool(case.fails):
            found["buildah"] = f"exit {theirs.code}: {theirs.said[-800:]}"
        if ours.image and theirs.image:
            unequal = differences(case, ours.image, theirs.image, self._begun, self._digests)
            found |= {key: text for key, text in unequal.items() if key not in case.differs}
            found |= {key: "equal, though a difference is explained" for key in case.differs if key not in unequal}
        return found


def homes() -> str:
    """A new directory for `Trials`."""
    name = f"/var/tmp/build-cases-{os.getpid()}-{time.monotonic_ns() % 10**9}"
    os.mkdir(name, 0o755)
    return name
