"""Limits of a Spec as files of version 2, by the rules of crun's manual and the kernel's document."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.cgroups import resources
from rootless.errors import RootlessError

NUMBERS = st.integers(min_value=1, max_value=1 << 50)


def refused(given: dict[str, Any]) -> RootlessError:
    with pytest.raises(RootlessError) as caught:
        resources.convert(given)
    assert caught.value.message.startswith("cannot ")
    return caught.value


@pytest.mark.parametrize(
    ("given", "values"),
    [
        ({}, {}),
        ({"memory": {"limit": 1 << 20}}, {"memory.max": "1048576"}),
        ({"memory": {"limit": -1, "swap": -1}}, {"memory.max": "max", "memory.swap.max": "max"}),
        ({"memory": {"limit": 100, "swap": 250}}, {"memory.max": "100", "memory.swap.max": "150"}),
        ({"memory": {"limit": 100, "swap": 100}}, {"memory.max": "100", "memory.swap.max": "0"}),
        ({"memory": {"reservation": 5, "limit": 0, "swap": 0, "kernel": -1, "swappiness": 0}}, {"memory.low": "5"}),
        ({"memory": {"limit": 7, "useHierarchy": True, "disableOOMKiller": False}}, {"memory.max": "7"}),
        ({"memory": {"limit": (1 << 64) - 1}}, {"memory.max": str((1 << 63) - 1)}),
        ({"pids": {"limit": 20}}, {"pids.max": "20"}),
        ({"pids": {"limit": -1}}, {"pids.max": "max"}),
        ({"pids": {"limit": 0}}, {}),
        ({"cpu": {"shares": 1024}}, {"cpu.weight": "100"}),
        ({"cpu": {"quota": 50000, "period": 200000}}, {"cpu.max": "50000 200000"}),
        ({"cpu": {"quota": 50000}}, {"cpu.max": "50000 100000"}),
        ({"cpu": {"period": 50000}}, {"cpu.max": "max 50000"}),
        ({"cpu": {"quota": -1, "period": 50000}}, {"cpu.max": "max 50000"}),
        ({"cpu": {"quota": -1}}, {"cpu.max": "max 100000"}),
        ({"cpu": {"burst": 3, "idle": 1}}, {"cpu.idle": "1", "cpu.max.burst": "3"}),
        ({"cpu": {"cpus": "0-3,7", "mems": ""}}, {"cpuset.cpus": "0-3,7"}),
        ({"cpu": {"realtimeRuntime": 0, "realtimePeriod": None}}, {}),
        ({"blockIO": {"weight": 500, "leafWeight": 0}}, {"io.bfq.weight": "500"}),
        (
            {"blockIO": {"weight": 10, "weightDevice": [{"major": 8, "minor": 0, "weight": 1000}]}},
            {"io.bfq.weight": "10\n8:0 1000"},
        ),
        (
            {
                "blockIO": {
                    "throttleReadBpsDevice": [{"major": 8, "minor": 0, "rate": 10}],
                    "throttleWriteIOPSDevice": [{"major": 8, "minor": 16, "rate": 20}],
                }
            },
            {"io.max": "8:0 rbps=10\n8:16 wiops=20"},
        ),
        ({"hugepageLimits": [{"pageSize": "2MB", "limit": 0}]}, {"hugetlb.2MB.max": "0"}),
        ({"rdma": {"mlx5_1": {"hcaHandles": 3, "hcaObjects": 4}}}, {"rdma.max": "mlx5_1 hca_handle=3 hca_object=4"}),
        ({"network": {"classID": 0, "priorities": []}}, {}),
        ({"unified": {"memory.high": "100\n", "cpu.weight": ""}}, {"memory.high": "100"}),
        ({"memory": {"limit": 5}, "unified": {"memory.max": "9"}}, {"memory.max": "9"}),
        ({"devices": [{"allow": False}], "memory": None}, {}),
    ],
)
def test_conversion(given: dict[str, Any], values: dict[str, str]) -> None:
    assert resources.convert(given) == values


@pytest.mark.parametrize(
    "given",
    [
        {"memory": []},
        {"memory": {"limit": "5"}},
        {"memory": {"limit": True}},
        {"memory": {"limit": 1.5}},
        {"memory": {"limit": -2}},
        {"memory": {"swap": 5}},
        {"memory": {"limit": 5, "swap": 4}},
        {"memory": {"kernel": 5}},
        {"memory": {"kernelTCP": 5}},
        {"memory": {"swappiness": 5}},
        {"memory": {"useHierarchy": False}},
        {"memory": {"disableOOMKiller": True}},
        {"memory": {"disableOOMKiller": 1}},
        {"cpu": {"realtimeRuntime": 5}},
        {"cpu": {"realtimePeriod": 5}},
        {"cpu": {"shares": -1}},
        {"cpu": {"shares": 5, "idle": 1}},
        {"cpu": {"cpus": "0;rm"}},
        {"cpu": {"cpus": 3}},
        {"pids": {"limit": "max"}},
        {"pids": 5},
        {"blockIO": {"weight": 5}},
        {"blockIO": {"weight": 1001}},
        {"blockIO": {"leafWeight": 10}},
        {"blockIO": {"weightDevice": {}}},
        {"blockIO": {"weightDevice": [{"major": 8, "weight": 10}]}},
        {"blockIO": {"throttleReadBpsDevice": ["x"]}},
        {"hugepageLimits": [{"pageSize": "../2MB", "limit": 1}]},
        {"hugepageLimits": [{"limit": 1}]},
        {"hugepageLimits": ["x"]},
        {"rdma": {"a b": {}}},
        {"rdma": {"mlx": 3}},
        {"network": {"classID": 3}},
        {"network": {"priorities": [{"name": "eth0", "priority": 3}]}},
        {"unified": {"../../x": "1"}},
        {"unified": {"memory": "1"}},
        {"unified": {"memory.high\n": "1"}},
        {"unified": {"memory.high": 1}},
        {"unified": {"cgroup.procs": "1"}},
        {"unified": {"cgroup.freeze": "1"}},
        {"unified": {"cgroup.subtree_control": "-pids"}},
    ],
)
def test_refusal(given: dict[str, Any]) -> None:
    refused(given)


def test_weight_of_cpu_at_the_known_points() -> None:
    points = {0: 1, 1: 1, 2: 1, 1024: 100, 262144: 10000, 10**9: 10000}
    assert {shares: resources.cpu_weight(shares) for shares in points} == points


@given(st.integers(2, 262144), st.integers(2, 262144))
def test_weight_of_cpu_grows_with_the_shares(first: int, second: int) -> None:
    low, high = sorted((first, second))
    assert 1 <= resources.cpu_weight(low) <= resources.cpu_weight(high) <= 10000


@given(st.integers(10, 1000), st.integers(10, 1000))
def test_weight_of_block_devices_grows(first: int, second: int) -> None:
    low, high = sorted((first, second))
    assert 1 <= resources.io_weight(low) <= resources.io_weight(high) <= 10000
    assert (resources.io_weight(10), resources.io_weight(1000)) == (1, 10000)


@given(limit=NUMBERS, more=st.integers(0, 1 << 50))
def test_swap_is_the_sum_without_the_memory(limit: int, more: int) -> None:
    values = resources.convert({"memory": {"limit": limit, "swap": limit + more}})
    assert int(values["memory.max"]) + int(values["memory.swap.max"]) == limit + more


KEYS = st.sampled_from(
    "memory cpu pids blockIO hugepageLimits network rdma unified limit swap shares quota period weight weightDevice "
    "major minor rate pageSize cpus idle throttleReadBpsDevice memory.max reservation".split()
)
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 1 << 70) | st.floats(allow_nan=False) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(KEYS, inner, max_size=4),
    max_leaves=8,
)


@given(st.dictionaries(KEYS, JSON, max_size=4))
def test_anything_is_converted_or_refused(given: dict[str, Any]) -> None:
    try:
        values = resources.convert(given)
    except RootlessError:
        return
    for name, value in values.items():
        assert "/" not in name and "." in name and name.isascii()
        assert isinstance(value, str) and value and "\0" not in value


def test_controllers_that_are_needed() -> None:
    assert resources.needed({"memory.max": "", "io.bfq.weight": "", "hugetlb.2MB.max": "", "cgroup.max.depth": ""}) == [
        "hugetlb", "io", "memory",
    ]  # fmt: skip


def test_a_limit_that_limits_nothing_needs_no_controller() -> None:
    nothing = resources.convert({"cpu": {"shares": 1024, "quota": -1}, "memory": {"limit": -1}, "pids": {"limit": -1}})
    assert sorted(nothing) == ["cpu.max", "cpu.weight", "memory.max", "pids.max"]
    assert resources.without_defaults(nothing, []) == {}
    assert sorted(resources.without_defaults(nothing, ["cpu", "pids"])) == ["cpu.max", "cpu.weight", "pids.max"]
    something = resources.convert({"cpu": {"shares": 1025, "quota": 10}, "memory": {"reservation": -1}})
    assert resources.without_defaults(something, []) == something and len(something) == 3
