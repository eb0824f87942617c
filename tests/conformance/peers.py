"""What is not asked of which runtime, and why: the only place that says so.

A peer is named with the newest version of which the reason is known to hold. ``crun/user`` and ``crun/root`` speak of
one caller only. Our own runtime is never named here.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import pytest

    from tests.conformance.support import Runtime

Versions = dict[str, tuple[int, ...]]

FEATURES: dict[str, tuple[str, Versions]] = {
    "nosymfollow": ("1.1", {"crun": (1, 8, 1), "runc": (1, 1, 5)}),
    "recursive mount options": ("1.1", {}),
    "scheduler": ("1.1", {"crun": (1, 8, 1), "runc": (1, 1, 5)}),
    "ioPriority": ("1.1", {"crun": (1, 8, 1), "runc": (1, 1, 5)}),
    "execCPUAffinity": ("1.2.1", {"crun": (1, 8, 1), "runc": (1, 1, 5)}),
    "personality": ("1.0.2", {"runc": (1, 1, 5)}),
    "memoryPolicy": ("1.3", {"crun": (1, 8, 1), "runc": (1, 3, 6)}),
    "time namespace": ("1.1", {"runc": (1, 1, 5)}),
    "domainname": ("1.1", {"runc": (1, 1, 5)}),
    "errnoRet": ("1.0.3", {}),
    "defaultErrnoRet": ("1.1", {}),
    "seccomp flags": ("1.0.3", {"runc": (1, 1, 5)}),
    "seccomp notify": ("1.1", {}),
    "seccomp wait killable": ("1.1", {"crun": (1, 8, 1), "runc": (1, 1, 5)}),
    "netDevices": ("1.3", {"crun": (1, 8, 1), "runc": (1, 3, 6)}),
    "mapped mounts": ("1.1", {"crun": (1, 8, 1), "runc": (1, 1, 5)}),
}
"""A feature's name (the marker ``since``): the version of the spec that brought it, the peers that predate it."""

CRUN, RUNC = (1, 8, 1), (1, 1, 5)

DIFFERENCES: tuple[tuple[str, tuple[int, ...], str, tuple[str, ...]], ...] = (
    # What the peer does, against the specification or runc's command line, and the tests that show it:
    # ``file::name``, or ``file::name[parameters]``.
    ("crun", CRUN, "leaves out unknown capabilities without a word",
     ("test_capabilities.py::test_unknown_name_is_told",)),
    ("crun", CRUN, "refuses capabilities that the caller lacks",
     ("test_capabilities.py::test_what_the_caller_lacks_is_left_out",)),
    ("crun", CRUN, "a time-out of 0 is none",
     ("test_hooks.py::test_timeout_that_is_not_positive[0]",)),
    ("crun", CRUN, "a tmpfs has always the kernel's mode",
     ("test_mount_options.py::test_tmpfs_has_the_mode_of_what_it_hides",)),
    ("crun", CRUN, "resume of a container that is not paused succeeds",
     ("test_commands.py::test_resume_of_a_running_container",)),
    ("crun", CRUN, "refuses, but leaves the control group behind",
     ("test_commands.py::test_refused_unified",)),
    ("crun", (1, 22), "converts CPU shares by a straight line, which makes the default 39 instead of 100",
     ("test_commands.py::test_resources[cpu-resources7-cpu.weight-100]",)),
    ("runc", (1, 3, 6), "converts CPU shares by a straight line, which makes the default 39 instead of 100",
     ("test_commands.py::test_resources[cpu-resources7-cpu.weight-100]",)),
    ("crun", CRUN, "has no such command",
     ("test_commands.py::test_events", "test_commands.py::test_features",
      "test_commands.py::test_features_that_are_said_are_there")),
    ("crun/root", CRUN, "raises RLIMIT_MEMLOCK for its device filter, for which this root lacks CAP_SYS_RESOURCE",
     ("test_commands.py::test_allowed_devices_are_accepted", "test_commands.py::test_spec_runs_as_it_is[False]",
      "test_devices.py::test_rules")),
    ("crun", CRUN, "uses a file that is there, though it is not the device",
     ("test_devices.py::test_file_that_is_no_such_device",)),
    ("crun/root", CRUN, "passes over a device of an unknown type",
     ("test_devices.py::test_unknown_type",)),
    ("crun/user", CRUN, "cannot make its mount namespace when all devices are allowed",
     ("test_devices.py::test_device_of_the_host",)),
    ("crun", CRUN, "exec takes neither user nor directory of the configured process",
     ("test_exec.py::test_configured_process_is_the_template",)),
    ("crun", CRUN, "exec with --env forgets the configured environment",
     ("test_exec.py::test_flags",)),
    ("crun", CRUN, "poststart does not wait for startContainer",
     ("test_hooks.py::test_all_run_in_order", "test_hooks.py::test_which_operation_runs_which")),
    ("crun", CRUN, "the state for startContainer has / for the bundle",
     ("test_hooks.py::test_state_on_standard_input[startContainer]",)),
    ("crun", CRUN, "the state for hooks has another status: created for creating, starting for created",
     tuple(f"test_hooks.py::test_status[{moment}]"
           for moment in ("prestart", "createRuntime", "createContainer", "startContainer"))),
    ("crun", CRUN, "now and then a hook that leaves its state unread is one that failed (EPIPE)",
     tuple(f"test_hooks.py::test_state_may_be_left_unread[{moment}]"
           for moment in ("prestart", "createRuntime", "createContainer", "poststart", "poststop"))),
    ("crun/user", CRUN, "its init cannot be looked into while the hooks run",
     ("test_hooks.py::test_create_runtime_can_enter_the_container",)),
    ("crun", CRUN, "runs no poststop hooks when create fails",
     ("test_hooks.py::test_failure_runs_poststop",)),
    ("crun", CRUN, "a poststart hook that fails is a warning, as older versions of the specification have it",
     ("test_hooks.py::test_failure_of_poststart", "test_hooks.py::test_failure_in_run_runs_poststop_once[poststart]")),
    ("crun", CRUN, "takes an unknown signal for 0",
     ("test_lifecycle.py::test_unknown_signal",)),
    ("crun", CRUN, "adds the flags of all options: none takes an earlier one back",
     ("test_mount_options.py::test_later_option_wins",)),
    ("crun", CRUN, "sets times of access by mount_setattr(2) without clearing the others: invalid argument",
     ("test_mount_options.py::test_recursive_flag[rnoatime]",
      *(f"test_mount_options.py::test_accepted_recursive_flag[{name}]"
        for name in ("ratime", "rdiratime", "rnodiratime", "rstrictatime", "rnostrictatime")))),
    ("crun", CRUN, "gives silent, loud, noiversion and symfollow to the file system as options of its own",
     tuple(f"test_mount_options.py::test_accepted[{name}]" for name in ("loud", "silent", "noiversion", "symfollow"))),
    ("crun", CRUN, "knows no rnosymfollow",
     ("test_mount_options.py::test_recursive_flag[rnosymfollow]",)),
    ("crun/user", CRUN, "cannot join a pid namespace of a user namespace that it joins",
     ("test_namespaces.py::test_pid_by_path",)),
    ("crun", CRUN, "its init dies in a new time namespace without a user namespace, and the offsets are lost in one",
     ("test_namespaces.py::test_time_by_path", "test_namespaces.py::test_time_offsets")),
    ("crun/root", CRUN, "its init dies in a new time namespace",
     ("test_namespaces.py::test_new[time]",)),
    ("crun", CRUN, "takes the last of two namespaces of one type",
     ("test_namespaces.py::test_duplicate",)),
    ("crun", CRUN, "offsets of clocks that it does not set are no error",
     ("test_namespaces.py::test_time_offsets_without_a_time_namespace",
      "test_namespaces.py::test_time_offset_of_an_unknown_clock")),
    ("crun", CRUN, "a read-only path loses nosuid, nodev and noexec",
     ("test_paths.py::test_readonly_keeps_the_other_flags",)),
    ("crun", CRUN, "takes a relative working directory",
     ("test_process.py::test_working_directory_that_is_not_absolute[usr/bin]",)),
    ("crun", CRUN, "takes the last of two limits of one type",
     ("test_process.py::test_limit_given_twice",)),
    ("crun", CRUN, "passes over mountLabel where there is no SELinux",
     ("test_refused.py::test_mount_label",)),
    ("crun", CRUN, "passes over intelRdt",
     ("test_refused.py::test_intel_rdt",)),
    ("crun", CRUN, "takes an empty profile or label for one that is asked for",
     ("test_refused.py::test_empty_label_asks_for_nothing",)),
    ("crun", CRUN, "takes a value of the wrong type for an absent one",
     tuple(f"test_refused.py::test_value_of_the_wrong_type[{case}]"
           for case in ("process.args-sh", "process.user-value2", "process.rlimits-value6", "hooks-value7"))),
    ("crun", CRUN, "passes over an unknown rootfsPropagation",
     ("test_root.py::test_unknown_propagation",)),
    ("crun/user", CRUN, "cannot bind devices in a root that is recursively unbindable",
     ("test_root.py::test_propagation[runbindable-fields7]",)),
    ("crun", CRUN, "passes over unknown flags of seccomp",
     ("test_seccomp.py::test_unknown_word[flag]",)),
    ("crun", CRUN, "the seccomp agent's state has the version 0.2.0",
     ("test_seccomp_notify.py::test_state_and_descriptor",)),
    ("crun", CRUN, "a filter that notifies needs no listenerPath",
     ("test_seccomp_notify.py::test_notify_without_a_listener",)),
    ("crun", CRUN, "passes over a console socket that is not needed",
     ("test_terminal.py::test_console_socket_without_a_terminal",)),
    ("crun", CRUN, "run shows nothing of the container's terminal after the first line",
     ("test_terminal.py::test_run_passes_the_callers_terminal_on",)),
    ("crun", CRUN, "knows no version of the specification after 1.1",
     ("test_version.py::test_accepted_version[1.2.1]", "test_version.py::test_accepted_version[1.3.0]")),
    ("crun", CRUN, "takes the version 0.1.0",
     ("test_version.py::test_refused_version[0.1.0]",)),
    ("runc", RUNC, "refuses capabilities that the caller lacks",
     ("test_capabilities.py::test_what_the_caller_lacks_is_left_out",)),
    ("runc", RUNC, "does not give the control group to the container's root",
     ("test_commands.py::test_cgroup_is_owned_by_the_containers_root",)),
    ("runc", RUNC, "uses a file that is there, though it is not the device",
     ("test_devices.py::test_file_that_is_no_such_device",)),
    ("runc", RUNC, "exec takes no umask",
     ("test_exec.py::test_process_file",)),
    ("runc", RUNC, "runs poststart hooks at the end of create, with the status created",
     ("test_hooks.py::test_all_run_in_order", "test_hooks.py::test_which_operation_runs_which",
      "test_hooks.py::test_status[poststart]", "test_hooks.py::test_failure_of_poststart")),
    ("runc", RUNC, "a poststop hook that fails keeps the later ones from running",
     ("test_hooks.py::test_failure_of_poststop_is_no_failure",)),
    ("runc", RUNC, "gives defaults to the file system as an option of its own",
     ("test_mount_options.py::test_accepted[defaults]",)),
    ("runc", RUNC, "sets times of access by mount_setattr(2) without clearing the others: invalid argument",
     ("test_mount_options.py::test_accepted_recursive_flag[ratime]",
      "test_mount_options.py::test_accepted_recursive_flag[rnostrictatime]")),
    ("runc", RUNC, "cannot start without /proc",
     ("test_mounts.py::test_nothing_is_mounted_without_mounts",)),
    ("runc", RUNC, "demands mappings for a user namespace that exists",
     ("test_namespaces.py::test_user_by_path",)),
    ("runc/user", RUNC, "demands mappings for a user namespace that exists",
     ("test_namespaces.py::test_by_path", "test_namespaces.py::test_pid_by_path",
      "test_namespaces.py::test_several_by_path")),
    ("runc/user", RUNC, "cannot give streams to a user other than root",
     ("test_namespaces.py::test_identity_other_than_root",)),
    ("runc/user", RUNC, "passes over rules for devices",
     ("test_devices.py::test_rules_that_a_user_cannot_have",)),
    ("runc/user", RUNC, "refuses supplementary groups for a user",
     ("test_process.py::test_additional_groups",)),
    ("runc", RUNC, "takes the last of two limits of one type",
     ("test_process.py::test_limit_given_twice",)),
    ("runc", RUNC, "a root that is to be shared is private, and one that is to be unbindable cannot be bound to itself",
     tuple(f"test_root.py::test_propagation[{case}]"
           for case in ("shared-fields4", "rshared-fields5", "unbindable-fields6", "runbindable-fields7"))),
    ("runc/user", RUNC, "exec cannot fetch the descriptor of the filter (pidfd_getfd(2))",
     ("test_seccomp_notify.py::test_exec",)),
    ("runc", RUNC, "does not look at ociVersion",
     ("test_version.py::test_refused_version", "test_version.py::test_missing_version")),
)  # fmt: skip


def not_applicable(item: pytest.Item, runtime: Runtime) -> str:
    """Why the test is not asked of the runtime, or nothing."""
    who = "root" if os.getuid() == 0 else "user"
    keys = (runtime.name, f"{runtime.name}/{who}")
    for marker in item.iter_markers("since"):
        spec, predating = FEATURES[marker.args[0]]
        for key in keys:
            if runtime.version <= predating.get(key, ()):
                return f"{marker.args[0]} (runtime-spec {spec}) is newer than {key}"
    name = f"{item.path.name}::{item.name}"
    names = {name, name.partition("[")[0]}
    for peer, version, reason, tests in DIFFERENCES:
        if peer in keys and runtime.version <= version and not names.isdisjoint(tests):
            return f"{peer} {reason}"
    return ""
