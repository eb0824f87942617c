"""``storage.jsonfast`` against ``json``."""

from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from storage import jsonfast
from storage.errors import StorageError

values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner))


@given(values)
def test_reads_what_json_writes(value: Any) -> None:
    for text in (json.dumps(value), json.dumps(value, ensure_ascii=False, indent=2)):
        assert jsonfast.loads(text) == json.loads(text) == value


@given(values)
def test_writes_what_json_reads(value: Any) -> None:
    assert jsonfast.dumps(value) == json.dumps(value, separators=(",", ":"))
    assert jsonfast.dumps(value, sort_keys=True) == json.dumps(value, separators=(",", ":"), sort_keys=True)
    assert jsonfast.loads(jsonfast.dump_bytes(value)) == value


@given(st.text(alphabet='[]{}",:\\ \t\n0123456789.eE+-truefalsnu\x00\ud800é', max_size=30))
def test_accepts_only_what_json_accepts(text: str) -> None:
    try:
        ours = jsonfast.loads(text)
    except jsonfast.JSONError:
        return
    assert ours == json.loads(text)


@pytest.mark.parametrize("text", [
    "", " ", "nul", "[1,]", '{"a"}', '{"a":1,}', "[1] 2", '"\n"', "'a'", "01", "+1", "1.", ".5", "[", "{", '"', "NaN",
    "[Infinity]", "-Infinity", "1e999", "\ufeff1", '{"a":1}}', "[1]\0",
])
def test_refuses(text: str) -> None:
    with pytest.raises(jsonfast.JSONError):
        jsonfast.loads(text)


@pytest.mark.parametrize(
    "data", [b"\xff", b'"\xc3"', b'"\xed\xa0\x80"', b"\xef\xbb\xbf1", "[1]".encode("utf-16"), b"\0" * 64])
def test_refuses_bytes_that_are_not_utf8(data: bytes) -> None:
    with pytest.raises(jsonfast.JSONError):
        jsonfast.loads(data)


@pytest.mark.parametrize(("opening", "closing"), [("[", "]"), ('{"a":', "}"), ('[{"a":', "}]")])
def test_depth(opening: str, closing: str) -> None:
    step = opening.count("[") + opening.count("{")
    deepest = jsonfast.MAX_DEPTH // step
    jsonfast.loads(opening * deepest + "1" + closing * deepest)
    for depth in (deepest + 1, 500, 10_000, 1_000_000):
        with pytest.raises(jsonfast.JSONError, match="nested deeper"):
            jsonfast.loads(opening * depth + "1" + closing * depth)


def test_brackets_in_strings_are_no_depth() -> None:
    text = json.dumps(["[{" * 1000, [1] * 300, [[]] * 300])
    assert jsonfast.loads(text) == json.loads(text)


def test_long_integers() -> None:
    assert jsonfast.loads("9" * 4000) == int("9" * 4000)
    with pytest.raises(jsonfast.JSONError):
        jsonfast.loads("9" * 100_000)


def test_duplicate_keys() -> None:
    assert jsonfast.loads('{"a":1,"a":2}') == {"a": 2}
    with pytest.raises(jsonfast.JSONError, match="twice"):
        jsonfast.loads_strict('[{"b":{"a":1,"a":2}}]')
    assert jsonfast.loads_strict('{"a":{"a":1}}') == {"a": {"a": 1}}


def test_undecodable_names_come_back() -> None:
    """File names and variables that are not UTF-8 are surrogates in Python."""
    name = b"\xff\xfe".decode("utf-8", "surrogateescape")
    assert jsonfast.loads(jsonfast.dump_bytes({name: name})) == {name: name}


@pytest.mark.parametrize("value", [float("nan"), float("inf"), {1, 2}, b"bytes", object()])
def test_refuses_to_write(value: object) -> None:
    with pytest.raises((TypeError, ValueError)):
        jsonfast.dumps([value])


def test_the_error_is_both_kinds() -> None:
    assert issubclass(jsonfast.JSONError, StorageError)
    assert issubclass(jsonfast.JSONError, ValueError)


def test_without_the_accelerator() -> None:
    """The same results from the pure-Python half of ``json``."""
    program = (
        "import sys; sys.modules['_json'] = None\n"
        "from storage import jsonfast as j\n"
        "assert j.loads(' {\"a\": [1, 2.5, null]} ') == {'a': [1, 2.5, None]}\n"
        "assert j.dumps({'b': 1, 'a': 'é'}) == '{\"b\":1,\"a\":\"\\\\u00e9\"}'\n"
        "assert j.dumps({'b': 1, 'a': 2}, sort_keys=True) == '{\"a\":2,\"b\":1}'\n"
        "for bad in ('NaN', '[1', '{\"a\":1,\"a\":1}', '[' * 5000, '[' * 101 + ']' * 101):\n"
        "    try: j.loads_strict(bad)\n"
        "    except j.JSONError: continue\n"
        "    raise SystemExit(bad)\n")
    subprocess.run([sys.executable, "-c", program], check=True)


def test_needs_no_json_package() -> None:
    program = (
        f"import sys; sys.path[:0] = {sys.path!r}\n"
        "from storage import jsonfast as j\n"
        "j.loads('[1]')\n"
        "assert not {'json', 're'} & set(sys.modules)\n"
        "for cut in ('[\"a\"', '{', '{\"a\"', '\"x'):\n"
        "    try: j.loads(cut)\n"
        "    except j.JSONError: del sys.modules['json.decoder']\n"
        "    else: raise SystemExit(cut)\n")
    subprocess.run([sys.executable, "-I", "-S", "-c", program], check=True)
