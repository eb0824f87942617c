"""The flags that limit a container, as podman understands them."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rootless.cgroups import resources
from rootless.cli.resources import duration, size
from rootless.engine.containers.resources import host_config
from rootless.engine.options.resources import merge, parse
from rootless.engine.options.run import LIMITS, RunOptions
from rootless.errors import RootlessError, UsageError


@pytest.mark.parametrize(
    ("values", "found"),
    [
        ({"memory": "64m"}, {"memory": {"limit": 64 << 20, "swap": 128 << 20}}),
        ({"memory": "1g", "memory_swap": "-1"}, {"memory": {"limit": 1 << 30, "swap": -1}}),
        ({"memory": "1g", "memory_swap": "1g"}, {"memory": {"limit": 1 << 30, "swap": 1 << 30}}),
        ({"memory_reservation": "10k"}, {"memory": {"reservation": 10240}}),
        ({"cpus": "1.5"}, {"cpu": {"quota": 150000, "period": 100000}}),
        ({"cpus": "0.001"}, {"cpu": {"quota": 1000, "period": 100000}}),
        ({"cpus": "0"}, {}),
        ({"cpu_quota": "5000", "cpu_period": "10000"}, {"cpu": {"quota": 5000, "period": 10000}}),
        ({"cpu_shares": "512", "cpuset_cpus": "0-3,5"}, {"cpu": {"shares": 512, "cpus": "0-3,5"}}),
        ({"pids_limit": "5"}, {"pids": {"limit": 5}}),
        ({"pids_limit": "0"}, {"pids": {"limit": -1}}),
        ({"pids_limit": "-1"}, {"pids": {"limit": -1}}),
        ({"blkio_weight": "300"}, {"blockIO": {"weight": 300}}),
        ({"cgroup_conf": ["memory.high=5", "pids.max=max"]}, {"unified": {"memory.high": "5", "pids.max": "max"}}),
        ({"memory_swappiness": "-1", "cpu_rt_period": "0"}, {}),
    ],
)
def test_flags(values: dict[str, Any], found: dict[str, Any]) -> None:
    assert parse(values) == found
    resources.convert(found)


@pytest.mark.parametrize(
    "values",
    [
        {"memory": "x"}, {"memory_swap": "5m"}, {"memory": "5m", "memory_swap": "4m"},
        {"memory": "5m", "memory_reservation": "6m"}, {"memory_swappiness": "50"}, {"oom_kill_disable": True},
        {"cpus": "2", "cpu_quota": "5000"}, {"cpus": "-1"}, {"cpus": "x"}, {"cpus": "1e3"}, {"cpu_quota": "10"},
        {"cpu_period": "100"}, {"cpu_rt_period": "5"}, {"cpu_rt_runtime": "5"}, {"cpuset_cpus": "0;1"},
        {"pids_limit": "-2"}, {"pids_limit": "x"}, {"blkio_weight": "5"}, {"blkio_weight_device": ["/dev/null:100"]},
        {"blkio_weight_device": ["/etc/passwd:100"]}, {"device_read_bps": ["/dev/nope:1m"]}, {"cgroup_conf": ["x"]},
    ],
)  # fmt: skip
def test_refused_flags(values: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        parse(values)


@given(st.dictionaries(st.sampled_from(LIMITS), st.text("0123456789.-kmg:/x,=", max_size=8), max_size=4))
def test_any_text_is_understood_or_refused(values: dict[str, Any]) -> None:
    many = ("blkio_weight_device", "cgroup_conf", "device_read_bps", "device_write_bps", "device_read_iops")
    values = {key: [text] if key in (*many, "device_write_iops") else text for key, text in values.items()}
    try:
        resources.convert(parse(values))
    except RootlessError as error:
        assert error.message.startswith("cannot ")


def test_processes_are_bounded_by_default() -> None:
    assert RunOptions({}).resources == {"pids": {"limit": 2048}}
    assert RunOptions({"memory": "1g"}).resources["pids"] == {"limit": 2048}
    assert RunOptions({"cgroup_conf": ["pids.max=7"]}).resources == {"unified": {"pids.max": "7"}}
    assert RunOptions({"cgroups": "disabled"}).resources == {}
    with pytest.raises(UsageError):
        RunOptions({"cgroups": "disabled", "memory": "5m"})
    with pytest.raises(UsageError):
        RunOptions({"oom_score_adj": "1001"})


def test_update_changes_what_it_names() -> None:
    old = {"memory": {"limit": 5, "swap": 10}, "pids": {"limit": 3}}
    assert merge(old, {"memory": {"limit": 7}}) == {"memory": {"limit": 7, "swap": 10}, "pids": {"limit": 3}}
    assert old["memory"] == {"limit": 5, "swap": 10}


def test_inspect_shows_them() -> None:
    options = {"resources": parse({"memory": "1m", "cpus": "0.5", "pids_limit": "7"}), "cgroups": "enabled"}
    shown = host_config(options, "systemd")
    assert (shown["Memory"], shown["MemorySwap"], shown["NanoCpus"]) == (1 << 20, 2 << 20, 500_000_000)
    assert (shown["PidsLimit"], shown["CgroupManager"], shown["Cgroups"]) == (7, "systemd", "default")
    assert host_config({}, "")["CgroupManager"] == "disabled"


@pytest.mark.parametrize(
    ("nanoseconds", "text"),
    [(0, "0s"), (999, "999ns"), (1500, "1.5µs"), (19586000, "19.586ms"), (1_000_000_000, "1s"),
     (62_500_000_000, "1m2.5s"), (3_600_000_000_000, "1h0m0s")],
)  # fmt: skip
def test_durations_are_gos(nanoseconds: int, text: str) -> None:
    assert duration(nanoseconds) == text


def test_sizes_are_those_of_podmans_stats() -> None:
    assert [size(count) for count in (0, 999, 45056, 16_700_000_000)] == ["0B", "999B", "45.06kB", "16.7GB"]
