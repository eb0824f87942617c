"""Control groups, version 2: where a container's processes are, what limits them, and what they use.

Source of everything here: Documentation/admin-guide/cgroup-v2.rst of the kernel, and systemd's "Control Group APIs and
Delegation" (https://systemd.io/CGROUP_DELEGATION).
"""
