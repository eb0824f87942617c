"""``--publish``."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.errors import RootlessError, UsageError
from rootless.network import ports

PORT = st.integers(1, 65535)


def one(text: str) -> tuple[str, int, int, str]:
    (mapping,) = ports.parse(text)
    return mapping["host_ip"], mapping["host_port"], mapping["container_port"], mapping["protocol"]


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("8080:80", ("", 8080, 80, "tcp")),
        ("8080:80/UDP", ("", 8080, 80, "udp")),
        ("127.0.0.1:8080:80", ("127.0.0.1", 8080, 80, "tcp")),
        ("0.0.0.0:8080:80", ("", 8080, 80, "tcp")),
        ("[::1]:8080:80", ("::1", 8080, 80, "tcp")),
        ("[0:0::0:1]:8080:80", ("::1", 8080, 80, "tcp")),
    ],
)
def test_forms(text: str, expected: tuple[str, int, int, str]) -> None:
    assert one(text) == expected


@pytest.mark.parametrize("text", ["80", "127.0.0.1::80", "[::1]::80/tcp", ":80"])
def test_a_free_port_is_found(text: str) -> None:
    assert one(text)[1] >= 1024 and one(text)[2] == 80


@given(PORT, st.integers(0, 20), PORT)
def test_ranges(host: int, more: int, container: int) -> None:
    if max(host, container) + more > 65535:
        return
    found = ports.parse(f"{host}-{host + more}:{container}-{container + more}/udp")
    assert [mapping["host_port"] for mapping in found] == list(range(host, host + more + 1))
    assert [mapping["container_port"] for mapping in found] == list(range(container, container + more + 1))


@pytest.mark.parametrize(
    "text",
    [
        "", ":", "::", "a", "0", "65536", "8080:0", "8080:80/sctp", "8080:80/", "1:2:3:4", "1.2.3:8080:80", "::1:80:80",
        "[::1:80", "[::1]80", "[1.2.3.4]:80:80", "80-79", "80-90:80-91", "-1", "+80", "８０", "80 ", "1:\n80",
        "x:8080:80", "[::1%eth0]:80:80", "9" * 5000,
    ],
)  # fmt: skip
def test_refused(text: str) -> None:
    with pytest.raises(UsageError):
        ports.parse(text)


@given(st.text(alphabet="0123456789:.-/[]tcpud x", max_size=30))
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        for mapping in ports.parse(text):
            assert 1 <= mapping["container_port"] <= 65535 and 1 <= mapping["host_port"] <= 65535
    except RootlessError as error:
        assert "\n" not in error.message


@pytest.mark.parametrize(
    "texts",
    [
        ["40001:1", "40001:2"], ["127.0.0.1:40001:1", "40001:2"], ["40001:1", "127.0.0.1:40001:2"],
        ["40000-40005:1-6", "40003:80"],
    ],
)  # fmt: skip
def test_conflicts(texts: list[str]) -> None:
    with pytest.raises(RootlessError, match="conflicting port mappings"):
        ports.check([mapping for text in texts for mapping in ports.parse(text)])


def test_no_conflict_between_protocols_and_addresses() -> None:
    texts = ["127.0.0.1:40001:1", "127.0.0.2:40001:2", "40001:1/udp"]
    ports.check([mapping for text in texts for mapping in ports.parse(text)])


def test_text() -> None:
    (mapping,) = ports.parse("[::1]:8080:80/udp")
    assert ports.text(mapping) == "80/udp -> [::1]:8080"
