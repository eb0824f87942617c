"""The name that an image gets from the path it was read from."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.engine.images.transports.local import name_of_path
from storage import reference


@pytest.mark.parametrize(
    ("path", "name"),
    [
        ("/srv/images/web", "localhost/srv/images/web:latest"),
        ("/var/tmp/rl-_fc6d_2m/layout", "localhost/var/tmp/rl-fc6d_2m/layout:latest"),
        ("/my.dir/a_b..c/", "localhost/my.dir/a_b-c:latest"),
        ("./___", "localhost/image:latest"),
        ("/" + "x" * 5000, "localhost/image:latest"),
        ("/Größe/A B", "localhost/gr-e/a-b:latest"),
    ],
)
def test_name_of_path(path: str, name: str) -> None:
    assert name_of_path(path) == name


@given(st.text(alphabet="abZ09._-/ é\n", max_size=60))
def test_every_path_gives_a_name(path: str) -> None:
    name = name_of_path(path)
    assert reference.parse(name).tagged() == name
