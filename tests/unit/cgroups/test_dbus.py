"""Our D-Bus beside jeepney's: the same bytes, the same values, and nothing damaged is taken."""

from __future__ import annotations

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import jeepney
import pytest
from hypothesis import given
from hypothesis import strategies as st
from jeepney import HeaderFields

from rootless.cgroups import dbus, systemd
from rootless.cgroups.dbus import Broken, Connection, Message, socket_of

SCALARS = {"y": (0, 255), "n": (-(2**15), 2**15 - 1), "q": (0, 2**16 - 1), "i": (-(2**31), 2**31 - 1),
           "u": (0, 2**32 - 1), "x": (-(2**63), 2**63 - 1), "t": (0, 2**64 - 1)}  # fmt: skip
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=20)


def values_of(kind: str) -> st.SearchStrategy[Any]:
    """Values of one type."""
    if kind in SCALARS:
        return st.integers(*SCALARS[kind])
    if kind == "b":
        return st.booleans()
    if kind == "s":
        return TEXT
    if kind == "o":
        return st.sampled_from(["/", "/a", "/org/freedesktop/systemd1/job/17"])
    if kind == "g":
        return st.sampled_from(["", "s", "a(yv)", "ssa(sv)a(sa(sv))"])
    if kind == "v":
        return types(1).flatmap(lambda inner: st.tuples(st.just(inner), values_of(inner)))
    if kind[0] == "a":
        return st.lists(values_of(kind[1:]), max_size=4)
    return st.tuples(*map(values_of, dbus.split(kind[1:-1])))


def types(depth: int = 3) -> st.SearchStrategy[str]:
    """Single complete types. An array of bytes is left out: jeepney gives it as bytes."""
    simple = st.sampled_from([*SCALARS, "b", "s", "o", "g"])
    if not depth:
        return simple
    inner = types(depth - 1)
    arrays = inner.filter(lambda kind: kind != "y").map(lambda kind: "a" + kind)
    structs = st.lists(inner, min_size=1, max_size=4).map(lambda kinds: f"({''.join(kinds)})")
    return st.one_of(simple, st.just("v"), arrays, structs)


BODIES = st.lists(types(), max_size=4).flatmap(
    lambda kinds: st.tuples(st.just("".join(kinds)), st.tuples(*map(values_of, kinds)))
)
WHERE = ("/org/freedesktop/systemd1", "org.freedesktop.systemd1", "org.freedesktop.systemd1.Manager")


def theirs(member: str, signature: str, body: tuple[Any, ...]) -> jeepney.Message:
    """jeepney's message of a call."""
    return jeepney.new_method_call(jeepney.DBusAddress(*WHERE), member, signature or None, body)


def ours(member: str, signature: str, body: tuple[Any, ...], serial: int) -> bytes:
    return dbus.encode(dbus.CALL, serial, {1: WHERE[0], 2: WHERE[2], 3: member, 6: WHERE[1]}, signature, body)


@given(BODIES, st.integers(1, 2**32 - 1))
def test_what_is_sent_is_byte_for_byte_what_jeepney_sends(body: tuple[str, tuple[Any, ...]], serial: int) -> None:
    assert ours("Do", *body, serial) == theirs("Do", *body).serialise(serial)


def answer(signature: str, body: tuple[Any, ...], order: jeepney.Endianness, serial: int = 7) -> bytes:
    """jeepney's answer to a call."""
    call = theirs("Do", "", ())
    call.header.serial = serial
    made = jeepney.new_method_return(call, signature or None, body)
    made.header.endianness = order
    data: bytes = made.serialise(9)
    return data


@given(BODIES, st.sampled_from(list(jeepney.Endianness)))
def test_what_jeepney_sends_is_read(body: tuple[str, tuple[Any, ...]], order: jeepney.Endianness) -> None:
    found = Message(answer(*body, order))
    assert (found.kind, found.reply_to, found.error) == (dbus.RETURN, 7, "")
    assert tuple(found.body()) == body[1]


@given(BODIES, st.data())
def test_a_damaged_message_is_refused_or_read(body: tuple[str, tuple[Any, ...]], data: st.DataObject) -> None:
    whole = bytearray(answer(*body, jeepney.Endianness.little))
    for _ in range(data.draw(st.integers(1, 3))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    del whole[data.draw(st.integers(16, len(whole))) :]
    try:
        Message(bytes(whole)).body()
    except Broken:
        pass


@given(BODIES, st.integers(1, 40))
def test_a_message_that_ends_too_early_is_refused(body: tuple[str, tuple[Any, ...]], missing: int) -> None:
    whole = answer("s", ("x" * 40,), jeepney.Endianness.little)
    with pytest.raises(Broken, match="damaged"):
        Message(whole[:-missing]).body()


@pytest.mark.parametrize("signature", ["a", "(", "()", "(s", "z", "a{sv", ")", "a" * 40 + "s", "(" * 40])
def test_what_is_no_signature(signature: str) -> None:
    with pytest.raises(ValueError):
        dbus.split(signature)


@pytest.mark.parametrize(
    ("signature", "value"),
    [("t", 2**64), ("u", -1), ("s", "a\0b"), ("s", "\udc80"), ("(ss)", ("a",)), ("g", "s" * 256)],
)
def test_values_that_do_not_fit(signature: str, value: object) -> None:
    with pytest.raises((ValueError, OverflowError)):
        dbus.encode(dbus.CALL, 1, {}, signature, (value,))


@pytest.mark.parametrize(
    ("address", "path"),
    [
        ("unix:path=/run/user/1000/bus", "/run/user/1000/bus"),
        ("unix:path=/tmp/dbus-x,guid=0123", "/tmp/dbus-x"),
        ("unix:guid=0123,path=/tmp/dbus-x", "/tmp/dbus-x"),
        ("unix:abstract=/tmp/dbus-x,guid=0123", "\0/tmp/dbus-x"),
        ("tcp:host=127.0.0.1,port=1;unix:path=/a", "/a"),
        ("unix:path=/a%20b%2c", "/a b,"),
        ("unix:path=/%zz", ""),
        ("unix:path=/a%", ""),
        ("unix:path=/a%2", ""),
        ("unix:runtime=yes", ""),
        ("tcp:path=/a", ""),
        ("", ""),
    ],
)
def test_addresses(address: str, path: str) -> None:
    assert socket_of(address) == path


GREETING = b"OK 0123456789abcdef0123456789abcdef\r\n"


def hello_answered(serial: int = 1) -> bytes:
    return answer("s", (":1.7",), jeepney.Endianness.little, serial)


@contextmanager
def bus(directory: Path, serve: Callable[[socket.socket], None]) -> Iterator[str]:
    """The path of a socket behind which ``serve`` gets one connection."""
    path = str(directory / "bus")
    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(path)
        listener.listen()

        def work() -> None:
            near, _ = listener.accept()
            with near:
                serve(near)

        thread = threading.Thread(target=work, daemon=True)
        thread.start()
        yield path
        thread.join(10)


def test_a_conversation(tmp_path: Path) -> None:
    """The greeting, a signal and another answer in between, one in pieces, an error, and a bus that hangs up."""
    received: list[jeepney.Message] = []

    def serve(near: socket.socket) -> None:
        parser = jeepney.Parser()
        greeting, _, rest = near.recv(1 << 16).partition(b"BEGIN\r\n")
        assert greeting.startswith(b"\0AUTH EXTERNAL ") and greeting.endswith(b"\r\n")
        received.extend(parser.feed(rest))
        near.sendall(GREETING + hello_answered())
        while len(received) < 2:
            received.extend(parser.feed(near.recv(1 << 16)))
        emitter = jeepney.DBusAddress("/org/freedesktop/DBus", interface="org.freedesktop.DBus")
        signal = jeepney.new_signal(emitter, "NameAcquired", "s", (":1.7",)).serialise(3)
        reply = answer("os", ("/a/1", "x" * 5000), jeepney.Endianness.little, 2)
        data = signal + hello_answered() + reply
        for start in range(0, len(data), 777):
            near.sendall(data[start : start + 777])
        while len(received) < 3:
            received.extend(parser.feed(near.recv(1 << 16)))
        received[2].header.serial = 3
        near.sendall(jeepney.new_error(received[2], "org.example.No", "s", ("not today",)).serialise(4))

    with bus(tmp_path, serve) as path:
        connection = Connection(path, 10)
        assert connection.call(WHERE[1], WHERE[0], WHERE[2], "First", "").body() == ["/a/1", "x" * 5000]
        refused = connection.call(WHERE[1], WHERE[0], WHERE[2], "Second", "su", "a", 5)
        assert (refused.error, refused.body()) == ("org.example.No", ["not today"])
        with pytest.raises(Broken, match="hung up|Broken pipe|reset"):
            connection.call(WHERE[1], WHERE[0], WHERE[2], "Third", "")
        connection.close()
    names = [message.header.fields[HeaderFields.member] for message in received]
    assert names == ["Hello", "First", "Second"]
    assert received[2].body == ("a", 5)


@pytest.mark.parametrize(
    ("said", "told"),
    [
        (b"REJECTED EXTERNAL\r\n", "refuses this user"),
        (b"x" * 10000, "no D-Bus"),
        (GREETING + b"HTTP/1.1 400 Bad Request\r\n", "no D-Bus"),
        (GREETING + b"l\2\0\1\xff\xff\xff\x7f" + bytes(8), "too large"),
        (GREETING, "hung up"),
        (b"", "hung up"),
    ],
)
def test_another_kind_of_server(tmp_path: Path, said: bytes, told: str) -> None:
    def serve(near: socket.socket) -> None:
        near.recv(1 << 16)
        near.sendall(said)

    with bus(tmp_path, serve) as path, pytest.raises(systemd.Refused, match=told) as refused:
        systemd.Bus(f"unix:path={path}")
    assert refused.value.name == ""


def test_a_server_that_says_nothing(tmp_path: Path) -> None:
    done = threading.Event()

    def serve(near: socket.socket) -> None:
        done.wait(10)

    with bus(tmp_path, serve) as path:
        with pytest.raises(Broken, match="no answer in time"):
            Connection(path, 0.05)
        done.set()


@pytest.mark.parametrize("address", ["tcp:host=127.0.0.1,port=1", "unix:path=/nowhere/bus", "unix:path=/" + "x" * 200])
def test_nobody_there(address: str) -> None:
    with pytest.raises(systemd.Refused, match="the bus cannot be reached"):
        systemd.Bus(address)
