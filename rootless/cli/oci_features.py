"""``rootless-oci features``: what the runtime can do. Source: OCI runtime-spec 1.3, features.md, features-linux.md."""

from __future__ import annotations

from rootless.runtime import hooks, mounts, validate
from rootless.security import capabilities

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_YES, _NO = {"enabled": True}, {"enabled": False}


def document() -> dict[str, Any]:
    """The features, taken from the tables by which the runtime itself works."""
    from rootless.runtime import attributes
    from rootless.security import seccomp_profile as profiles
    from rootless.security.seccomp_compile import architectures

    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": hooks.SPEC_VERSION,
        "hooks": list(validate.MOMENTS),
        "mountOptions": mounts.mount_options(),
        "linux": {
            "namespaces": sorted(validate.NAMESPACES),
            "capabilities": list(capabilities.NAMES),
            "cgroup": {"v1": False, "v2": True, "systemd": True, "systemdUser": True, "rdma": True},
            "seccomp": {
                "enabled": True,
                "actions": list(profiles.ACTIONS),
                "operators": list(profiles.OPERATORS),
                "archs": architectures(),
                "knownFlags": list(profiles.FLAGS),
                "supportedFlags": profiles.supported_flags(),
            },
            "apparmor": _YES,
            "selinux": _YES,
            "intelRdt": _NO,
            "mountExtensions": {"idmap": _YES},
            "memoryPolicy": {
                "modes": list(attributes.MEMORY_MODES),
                "flags": list(attributes.MEMORY_FLAGS),
            },
            "netDevices": _YES,
        },
    }
