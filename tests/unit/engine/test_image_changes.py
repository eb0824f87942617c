"""``--change`` of commit and import."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.engine.images.changes import INSTRUCTIONS, apply_changes
from rootless.engine.images.listing import matches
from rootless.errors import UsageError


def changed(*changes: str, **config: Any) -> dict[str, Any]:
    return apply_changes(config, changes)


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
        ("ENV=A=1", {"Env": ["A=1"]}),
        ("CMD [", {"Cmd": ["/bin/sh", "-c", "["]}),
        ("ENTRYPOINT []", {"Entrypoint": []}),
        ("EXPOSE 8000-8002", {"ExposedPorts": {"8000/tcp": {}, "8001/tcp": {}, "8002/tcp": {}}}),
    ],
)
def test_instructions(change: str, expected: dict[str, Any]) -> None:
    assert changed(change) == expected


def test_a_later_value_replaces_an_earlier_one() -> None:
    assert changed("ENV A=1", "ENV B=2", "ENV A=3") == {"Env": ["A=3", "B=2"]}


@pytest.mark.parametrize(
    "change", ["", "RUN x", "CMD", "ENV", "ENV A", "ENV =x", 'ENV "A', "EXPOSE x", "EXPOSE 80/x", "CMD [1]",
               "CMD=", "EXPOSE 0", "EXPOSE 70000", "VOLUME [1]", "STOPSIGNAL SIGNOT", "ONBUILD FROM x", "ONBUILD X",
               "ENV A=${", "USER a\nUSER b", "USER a\0", "USER \udcff", "LABEL --x a=b", "FROM x", "SHELL [\"sh\"]"]
)  # fmt: skip
def test_bad_instructions(change: str) -> None:
    with pytest.raises(UsageError) as caught:
        changed(change)
    assert caught.value.message.startswith(f"cannot use --change {change!r}")


def test_the_reason_and_its_hint_are_those_of_a_build() -> None:
    with pytest.raises(UsageError) as caught:
        changed("EXPOSE 80/x")
    assert caught.value.message == "cannot use --change 'EXPOSE 80/x': '80/x' is not a port"
    assert caught.value.hint == "write it like 80, 53/udp or 8000-8010"


def test_variables_are_those_of_the_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OF_HOST", "seen")
    found = changed("ENV B=$A/b C=$B", "USER ${OF_HOST:-none}", "WORKDIR $B", "LABEL l='$A'", Env=["A=/a"])
    assert found == {
        "Env": ["A=/a", "B=/a/b", "C="], "User": "none", "WorkingDir": "/a/b", "Labels": {"l": "$A"},
    }  # fmt: skip


def test_what_was_there_is_built_upon() -> None:
    config = {"WorkingDir": "/srv", "Shell": ["/bin/bash", "-c"], "Labels": None}
    found = changed("WORKDIR www", "CMD serve", "LABEL a=b", **config)
    assert found == {
        "WorkingDir": "/srv/www", "Shell": ["/bin/bash", "-c"], "Cmd": ["/bin/bash", "-c", "serve"],
        "Labels": {"a": "b"},
    }  # fmt: skip
    assert config == {"WorkingDir": "/srv", "Shell": ["/bin/bash", "-c"], "Labels": None}


def test_a_command_goes_with_its_entrypoint() -> None:
    assert changed('ENTRYPOINT ["/init"]', Cmd=["old"]) == {"Entrypoint": ["/init"]}
    assert changed('CMD ["new"]', 'ENTRYPOINT ["/init"]', Cmd=["old"]) == {"Entrypoint": ["/init"], "Cmd": ["new"]}


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
