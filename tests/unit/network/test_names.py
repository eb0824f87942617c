"""``/etc/hosts``, ``/etc/resolv.conf`` and ``--network``."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless import network
from rootless.errors import UsageError
from rootless.network import Network, names, pasta, ports, slirp4netns


def private(own: str = "192.0.2.7", host: str = "169.254.1.2") -> Network:
    made = Network("pasta", "/usr/bin/pasta")
    made.own_address, made.host_address, made.nameserver = own, host, "169.254.1.1"
    return made


def test_hosts() -> None:
    text = names.hosts(private(), "box", "web", ["db:10.0.0.1", "a;b:::1"], base="127.0.0.1 localhost me # x\n")
    assert text.splitlines() == [
        "10.0.0.1\tdb",
        "::1\ta b",
        "127.0.0.1\tlocalhost me",
        "169.254.1.2\thost.containers.internal host.docker.internal",
        "192.0.2.7\tbox web",
    ]


def test_hosts_without_network() -> None:
    assert names.hosts(Network("none"), "box", "box", base="").splitlines() == [
        "127.0.0.1\tlocalhost", "::1\tlocalhost", "127.0.0.1\tbox",
    ]  # fmt: skip


def test_added_names_hide_the_hosts_own() -> None:
    text = names.hosts(private(), "box", "web", ["db:10.0.0.1"], base="10.9.9.9 db other\n")
    assert "10.9.9.9\tother\n" in text and text.count("db") == 1


def test_host_gateway() -> None:
    assert names.hosts(private(), "b", "c", ["up:host-gateway"], base="").startswith("169.254.1.2\tup\n")
    with pytest.raises(UsageError, match="host-gateway"):
        names.hosts(private(host=""), "b", "c", ["up:host-gateway"], base="")


@pytest.mark.parametrize(
    "entry", ["", "db", "db:", ":1.2.3.4", "db:1.2.3", "d b:1.2.3.4", "a\nb:1.2.3.4", "a;:1.2.3.4"]
)
def test_bad_add_host(entry: str) -> None:
    with pytest.raises(UsageError):
        names.hosts(private(), "b", "c", [entry], base="")


@given(st.text(max_size=40))
def test_add_host_never_makes_a_line_of_its_own(entry: str) -> None:
    try:
        text = names.hosts(private(), "b", "c", [entry], base="127.0.0.1 localhost\n")
    except UsageError:
        return
    assert len(text.splitlines()) == 4


def files(monkeypatch: pytest.MonkeyPatch, main: str, upstream: str = "") -> None:
    texts = {"/etc/resolv.conf": main, "/run/systemd/resolve/resolv.conf": upstream}
    monkeypatch.setattr(names, "_read", lambda path: texts.get(path, ""))


def test_resolv_takes_over_the_hosts(monkeypatch: pytest.MonkeyPatch) -> None:
    files(monkeypatch, "# x\nsearch a.example b.example\nnameserver 10.0.0.53\noptions ndots:2\n")
    assert names.resolv(private()) == "search a.example b.example\nnameserver 10.0.0.53\noptions ndots:2\n"


def test_name_servers_out_of_reach_are_replaced(monkeypatch: pytest.MonkeyPatch) -> None:
    files(monkeypatch, "nameserver 127.0.0.53\n", "nameserver 10.0.0.9\n")
    assert names.resolv(private()) == "nameserver 10.0.0.9\n"
    files(monkeypatch, "nameserver 127.0.0.1\nnameserver 192.0.2.7\nnameserver fe80::1%eth0\n")
    assert names.resolv(private()) == "nameserver 169.254.1.1\n"
    assert names.resolv(Network("host")) == "nameserver 127.0.0.1\nnameserver 192.0.2.7\nnameserver fe80::1%eth0\n"


def test_dns_flags(monkeypatch: pytest.MonkeyPatch) -> None:
    files(monkeypatch, "search a.example\nnameserver 10.0.0.53\n")
    assert names.resolv(private(), ["1.1.1.1"], ["."], ["rotate"]) == "nameserver 1.1.1.1\noptions rotate\n"
    assert names.resolv(private(), ["none"]) is None
    for bad in (["1.1.1"], ["none", "1.1.1.1"], ["1.1.1.1\nx"]):
        with pytest.raises(UsageError):
            names.resolv(private(), bad)
    with pytest.raises(UsageError):
        names.resolv(private(), [], ["a\nnameserver 6.6.6.6"])


@given(st.text(max_size=200))
def test_any_resolv_conf_is_read(text: str) -> None:
    servers, _, _ = names.parse_resolv(text)
    assert all("\n" not in server for server in servers)


def test_pasta_forwards_nothing_by_itself() -> None:
    argv = pasta.arguments(private(host=""))
    for flag in ("-t", "-u", "-T", "-U"):
        assert argv[argv.index(flag) + 1] == "none"
    assert "--no-map-gw" in argv


def test_pasta_options() -> None:
    made = private()
    made.options = ["--map-gw", "-T,5432".partition(",")[0], "5432"]
    made.ports = ports.parse("127.0.0.1:40002:80") + ports.parse("40003:81/udp")
    argv = pasta.arguments(made)
    assert "--no-map-gw" not in argv and "--map-gw" not in argv
    assert argv[argv.index("-t") + 1] == "127.0.0.1/40002:80" and argv[argv.index("-u") + 1] == "40003:81"
    assert argv.count("-T") == 1 and argv[argv.index("-T") + 1] == "5432"


def test_slirp4netns_options() -> None:
    made = slirp4netns.describe("/x", "cidr=10.9.8.0/24,mtu=1500,allow_host_loopback=true", ("192.0.2.7", ""))
    assert (made.own_address, made.nameserver, made.host_address) == ("10.9.8.100", "10.9.8.3", "10.9.8.2")
    assert "--disable-host-loopback" not in made.options and made.options[made.options.index("--mtu") + 1] == "1500"
    assert "--disable-host-loopback" in slirp4netns.describe("/x", "", ("192.0.2.7", "")).options
    for bad in ("mtu=x", "cidr=1", "cidr=10.0.0.0/30", "x=1", "mtu", "enable_ipv6=2", "port_handler=rootlesskit"):
        with pytest.raises(UsageError):
            slirp4netns.describe("/x", bad, ("", ""))


@pytest.mark.parametrize("mode", ["bridge", "x", "none:a", "host:a"])
def test_unknown_modes(mode: str) -> None:
    with pytest.raises(UsageError):
        network.choose(mode)


def test_ports_need_a_network() -> None:
    with pytest.raises(UsageError):
        network.choose("none", ports.parse("40004:80"))
    assert network.choose("host", ports.parse("40004:80")).ports == []
