"""The part of D-Bus that talking to systemd takes: a connection to a bus, calls of methods, their answers.

jeepney, which speaks all of D-Bus, takes as long to import as a third of a container's start. Tests hold this module
against it. Source: D-Bus specification, "Message Protocol", "Type System" and "Authentication Protocol".
"""

from __future__ import annotations

import _socket
import os
import time

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any, Literal

    Order = Literal["little", "big"]

CALL, RETURN, ERROR = 1, 2, 3
_PATH, _INTERFACE, _MEMBER, _ERROR_NAME, _REPLY_SERIAL, _DESTINATION, _SIGNATURE = 1, 2, 3, 4, 5, 6, 8
_CODES = {_PATH: "o", _INTERFACE: "s", _MEMBER: "s", _ERROR_NAME: "s", _REPLY_SERIAL: "u", _DESTINATION: "s",
          _SIGNATURE: "g"}  # fmt: skip
_SIZES = {"y": 1, "n": 2, "q": 2, "i": 4, "u": 4, "b": 4, "x": 8, "t": 8}
_SIGNED = frozenset("nix")
_STRINGS = frozenset("so")
_ALIGNED = {**_SIZES, "s": 4, "o": 4, "a": 4, "g": 1, "v": 1, "(": 8, "{": 8}
_BUS = "org.freedesktop.DBus"
_HEADER = 16
_LARGEST = 1 << 22
"""Bytes of a message that is still read: systemd's are some hundred."""
_DEEPEST = 32
_PIECE = 1 << 16
_LONGEST_LINE = 1 << 12


class Broken(Exception):
    """The peer cannot be reached, has gone, does not answer in time, or what it says is no D-Bus."""


class Message:
    """What was received: its ``kind``, its header's ``fields`` by number, and what its body holds."""

    __slots__ = ("_data", "_order", "_start", "fields", "kind")

    def __init__(self, data: bytes) -> None:
        """Raises ``Broken`` for what is no message."""
        self._data = data
        self._order = _order(data)
        self.kind = data[1]
        reader = _Reader(data, 12, self._order)
        self.fields: dict[int, Any] = {number: value for number, (_, value) in reader.all("a(yv)")[0]}
        reader.align(8)
        self._start = reader.position
        if any(not isinstance(self.fields.get(number, ""), str) for number in (_ERROR_NAME, _SIGNATURE)):
            raise Broken("a header's field is of another type")

    @property
    def error(self) -> str:
        """The name of an error; empty for anything else."""
        return str(self.fields.get(_ERROR_NAME, ""))

    @property
    def reply_to(self) -> int:
        """The serial of the call that this answers; 0 for none."""
        found = self.fields.get(_REPLY_SERIAL)
        return found if isinstance(found, int) else 0

    def body(self) -> list[Any]:
        """The arguments. Raises ``Broken`` where they are not what the signature says."""
        return _Reader(self._data[self._start :], 0, self._order).all(self.fields.get(_SIGNATURE, ""))


class Connection:
    """A connection to the bus whose socket is ``path``; who is called there has ``patience`` seconds for each answer.

    Raises ``Broken``. The greeting is sent without waiting for each of its answers, as systemd's own programs do it.
    """

    __slots__ = ("_patience", "_received", "_serial", "_socket")

    def __init__(self, path: str, patience: float) -> None:
        self._socket = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
        self._patience = patience
        self._received = b""
        self._serial = 0
        try:
            self._connect(path)
        except Broken:
            self.close()
            raise

    def close(self) -> None:
        """Leave the bus."""
        self._socket.close()

    def call(self, destination: str, path: str, interface: str, member: str, signature: str, *body: Any) -> Message:
        """Call a method; its answer, which may be an error. What comes before it is passed over."""
        self._send(self._request(destination, path, interface, member, signature, body))
        return self._answer()

    def _connect(self, path: str) -> None:
        try:
            self._socket.connect(path)
        except OSError as error:
            raise Broken(error.strerror or str(error)) from None
        user = str(os.geteuid()).encode().hex().encode()
        hello = self._request(_BUS, "/org/freedesktop/DBus", _BUS, "Hello", "", ())
        self._send(b"\0AUTH EXTERNAL " + user + b"\r\nBEGIN\r\n" + hello)
        until = time.monotonic() + self._patience
        while b"\r\n" not in self._received:
            if len(self._received) > _LONGEST_LINE:
                raise Broken("what it says is no D-Bus")
            self._receive(until)
        line, _, self._received = self._received.partition(b"\r\n")
        if not line.startswith(b"OK "):
            raise Broken("it refuses this user")
        if self._answer().kind != RETURN:
            raise Broken("it refuses the connection")

    def _request(
        self, destination: str, path: str, interface: str, member: str, signature: str, body: tuple[Any, ...]
    ) -> bytes:
        self._serial += 1
        fields = {_PATH: path, _INTERFACE: interface, _MEMBER: member, _DESTINATION: destination}
        try:
            return encode(CALL, self._serial, fields, signature, body)
        except (ValueError, OverflowError) as error:
            raise Broken(f"{member} cannot be written: {error}") from None

    def _send(self, data: bytes) -> None:
        try:
            self._socket.settimeout(self._patience)
            self._socket.sendall(data)
        except OSError as error:
            raise Broken(_reason(error)) from None

    def _answer(self) -> Message:
        """The answer to the last request."""
        until = time.monotonic() + self._patience
        while True:
            while not (size := _whole(self._received)):
                self._receive(until)
            message = Message(self._received[:size])
            self._received = self._received[size:]
            if message.kind in (RETURN, ERROR) and message.reply_to == self._serial:
                return message

    def _receive(self, until: float) -> None:
        try:
            self._socket.settimeout(max(0.001, until - time.monotonic()))
            piece = self._socket.recv(_PIECE)
        except OSError as error:
            raise Broken(_reason(error)) from None
        if not piece:
            raise Broken("the other end hung up")
        self._received += piece


def _reason(error: OSError) -> str:
    return "no answer in time" if isinstance(error, TimeoutError) else error.strerror or str(error)


def socket_of(address: str) -> str:
    """The path of the socket that an address leads to, with a NUL before an abstract one; empty for none of the kind.

    Source: D-Bus specification, "Server Addresses".
    """
    for each in address.split(";"):
        transport, _, rest = each.partition(":")
        for pair in rest.split(",") if transport == "unix" else ():
            key, _, value = pair.partition("=")
            if key in ("path", "abstract"):
                return ("\0" if key == "abstract" else "") + _unescaped(value)
    return ""


def _unescaped(text: str) -> str:
    """``text`` with each ``%XX`` as the byte that it stands for; empty where one is damaged."""
    first, *others = text.split("%")
    data = os.fsencode(first)
    for part in others:
        if not part[:2].isalnum():
            return ""
        try:
            data += bytes.fromhex(part[:2]) + os.fsencode(part[2:])
        except ValueError:
            return ""
    return os.fsdecode(data)


def encode(kind: int, serial: int, fields: dict[int, Any], signature: str, body: tuple[Any, ...]) -> bytes:
    """A message, little-endian. Raises ``ValueError`` or ``OverflowError`` for values that are of other types."""
    content = bytearray()
    types = split(signature)
    if len(types) != len(body):
        raise ValueError("as many values as types are needed")
    for code, value in zip(types, body, strict=True):
        _put(content, code, value)
    if signature:
        fields = {**fields, _SIGNATURE: signature}
    out = bytearray(b"l")
    out += bytes((kind, 0, 1)) + len(content).to_bytes(4, "little") + serial.to_bytes(4, "little")
    _put(out, "a(yv)", [(number, (_CODES[number], value)) for number, value in sorted(fields.items())])
    _pad(out, 8)
    return bytes(out + content)


def split(signature: str) -> list[str]:
    """The single complete types of a signature. Raises ``ValueError``."""
    found = []
    start = 0
    while start < len(signature):
        end = _end(signature, start, 0)
        found.append(signature[start:end])
        start = end
    return found


def _end(signature: str, start: int, depth: int) -> int:
    """Where the type ends that begins at ``start``."""
    code = signature[start : start + 1]
    if code not in _ALIGNED or depth > _DEEPEST:
        raise ValueError("no signature")
    if code == "a":
        return _end(signature, start + 1, depth + 1)
    if code not in "({":
        return start + 1
    closing = ")" if code == "(" else "}"
    position = start + 1
    while signature[position : position + 1] != closing:
        position = _end(signature, position, depth + 1)
    if position == start + 1:
        raise ValueError("no signature")
    return position + 1


def _pad(out: bytearray, step: int) -> None:
    out += bytes(-len(out) % step)


def _put(out: bytearray, code: str, value: Any) -> None:
    """Append a value of the type ``code``."""
    _pad(out, _ALIGNED[code[0]])
    if code in _SIZES:
        out += int(value).to_bytes(_SIZES[code], "little", signed=code in _SIGNED)
    elif code in _STRINGS or code == "g":
        data = value.encode()
        if b"\0" in data:
            raise ValueError("a string cannot hold a NUL")
        out += len(data).to_bytes(1 if code == "g" else 4, "little") + data + b"\0"
    elif code == "v":
        kind, inner = value
        _put(out, "g", kind)
        _put(out, kind, inner)
    elif code[0] == "a":
        at = len(out)
        out += bytes(4)
        _pad(out, _ALIGNED[code[1]])
        start = len(out)
        for each in value:
            _put(out, code[1:], each)
        out[at : at + 4] = (len(out) - start).to_bytes(4, "little")
    else:
        for kind, each in zip(split(code[1:-1]), value, strict=True):
            _put(out, kind, each)


def _order(data: bytes) -> Order:
    """The order of bytes of a message, of which the first 16 are there."""
    if data[:1] not in (b"l", b"B") or data[3] != 1:
        raise Broken("what it says is no D-Bus")
    return "little" if data[:1] == b"l" else "big"


def _whole(data: bytes) -> int:
    """The bytes of the message that ``data`` begins with; 0 if some are still to come."""
    if len(data) < _HEADER:
        return 0
    order = _order(data)
    fields = int.from_bytes(data[12:16], order)
    size = (_HEADER + fields + 7) // 8 * 8 + int.from_bytes(data[4:8], order)
    if size > _LARGEST:
        raise Broken("a message is too large")
    return size if len(data) >= size else 0


class _Reader:
    """Takes values from ``data``, aligned to its begin."""

    __slots__ = ("_data", "_order", "position")

    def __init__(self, data: bytes, position: int, order: Order) -> None:
        self._data = data
        self.position = position
        self._order: Order = order

    def all(self, signature: str) -> list[Any]:
        """Values of all types of a signature."""
        try:
            return [self.take(code) for code in split(signature)]
        except ValueError as error:  # that of a text which is not UTF-8, too
            raise Broken(f"a message is damaged: {error}") from None

    def align(self, step: int) -> None:
        self.position += -self.position % step

    def _bytes(self, count: int) -> bytes:
        found = self._data[self.position : self.position + count]
        if len(found) != count:
            raise Broken("a message is damaged: it ends too early")
        self.position += count
        return found

    def _number(self, size: int, signed: bool = False) -> int:
        self.align(size)
        return int.from_bytes(self._bytes(size), self._order, signed=signed)

    def take(self, code: str, depth: int = 0) -> Any:
        """One value of the type ``code``; of a variant, its type and its value."""
        if depth > _DEEPEST:
            raise Broken("a message is damaged: it is nested too deeply")
        kind = code[0]
        if kind == "b":
            return self._number(4) != 0
        if kind in _SIZES:
            return self._number(_SIZES[kind], kind in _SIGNED)
        if kind in _STRINGS or kind == "g":
            text = self._bytes(self._number(1 if kind == "g" else 4))
            if self._bytes(1) != b"\0":
                raise Broken("a message is damaged: a text has no end")
            return text.decode()
        if kind == "v":
            inner = self.take("g")
            if len(split(inner)) != 1:
                raise Broken("a message is damaged: a variant is of several types")
            return inner, self.take(inner, depth + 1)
        if kind == "a":
            size = self._number(4)
            self.align(_ALIGNED[code[1]])
            end = self.position + size
            found = []
            while self.position < end:
                found.append(self.take(code[1:], depth + 1))
            if self.position != end:
                raise Broken("a message is damaged: a list ends amid a value")
            return found
        self.align(8)
        return tuple(self.take(each, depth + 1) for each in split(code[1:-1]))
