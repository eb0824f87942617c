"""``--change`` of import."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.engine.images.changes import INSTRUCTIONS, apply_changes
from rootless.engine.images.listing import matches
from rootless.errors import UsageError


def changed(*changes: str) -> dict[str, Any]:
    config: dict[str, Any] = {}
    apply_changes(config, changes)
    return config


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        ('CMD ["a", "b c"]', {"Cmd": ["a", "b c"]}),
        ("CMD echo $HOME", {"Cmd": ["/bin/sh", "-c", "echo $HOME"]}),
        ("CMD=/bin/bash", {"Cmd": ["/bin/sh", "-c", "/bin/bash"]}),
        ('entrypoint ["/init"]', {"Entrypoint": ["/init"]}),
        ('ENV A=1 B="two words"', {"Env": ["A=1", "B=two words"]}),
        ("ENV A all of it", {"Env": ["A=all of it"]}),
        ("EXPOSE 80 53/udp", {"ExposedPorts": {"80/tcp": {}, "53/udp": {}}}),
        ("LABEL a=b c=", {"Labels": {"a": "b", "c": ""}}),
        ('VOLUME ["/a", "/b"]', {"Volumes": {"/a": {}, "/b": {}}}),
        ("VOLUME /a /b", {"Volumes": {"/a": {}, "/b": {}}}),
        ("USER 1000:1000", {"User": "1000:1000"}),
        ("WORKDIR /x y", {"WorkingDir": "/x y"}),
        ("STOPSIGNAL SIGINT", {"StopSignal": "SIGINT"}),
        ("ONBUILD RUN x", {"OnBuild": ["RUN x"]}),
    ],
)
def test_instructions(change: str, expected: dict[str, Any]) -> None:
    assert changed(change) == expected


def test_a_later_value_replaces_an_earlier_one() -> None:
    assert changed("ENV A=1", "ENV B=2", "ENV A=3") == {"Env": ["B=2", "A=3"]}


@pytest.mark.parametrize(
    "change", ["", "RUN x", "CMD", "ENV", "ENV A", "ENV =x", 'ENV "A', "EXPOSE x", "EXPOSE 80/x", "CMD [1]", "CMD [",
               "EXPOSE 0", "EXPOSE 70000", "VOLUME [1]"]
)  # fmt: skip
def test_bad_instructions(change: str) -> None:
    with pytest.raises(UsageError):
        changed(change)


@given(st.sampled_from(INSTRUCTIONS), st.text(max_size=40))
def test_any_value_is_taken_or_refused(word: str, rest: str) -> None:
    try:
        changed(f"{word} {rest}")
    except UsageError:
        pass


@pytest.mark.parametrize(
    ("pattern", "fits"),
    [
        ("alpine", True),
        ("alpine:3", True),
        ("alpine:4", False),
        ("library/alpine", True),
        ("docker.io/library/alpine:3", True),
        ("alp*", True),
        ("*:3", True),
        ("pine", False),
        ("quay.io/library/alpine", False),
    ],
)
def test_patterns_of_names(pattern: str, fits: bool) -> None:
    assert matches("docker.io/library/alpine:3", pattern) is fits
