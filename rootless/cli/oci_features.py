"""``rootless-oci features``: what the runtime can do. Source: OCI runtime-spec 1.2, features.md, features-linux.md."""

from __future__ import annotations

from rootless.runtime import hooks, plan, validate
from rootless.security import capabilities

TYPE_CHECKING = False
if TYPE_CHECKING:
    from typing import Any

_NO = {"enabled": False}


def document() -> dict[str, Any]:
    """The features, taken from the tables by which the runtime itself works."""
    from rootless.security import seccomp_profile as profiles
    from rootless.security.seccomp_compile import architectures

    return {
        "ociVersionMin": "1.0.0",
        "ociVersionMax": hooks.SPEC_VERSION,
        "hooks": list(validate.MOMENTS),
        "mountOptions": plan.mount_options(),
        "linux": {
            "namespaces": sorted(validate.NAMESPACES),
            "capabilities": list(capabilities.NAMES),
            "cgroup": {"v1": False, "v2": False, "systemd": False, "systemdUser": False, "rdma": False},
            "seccomp": {
                "enabled": True,
                "actions": [action for action in profiles.ACTIONS if action != "SCMP_ACT_NOTIFY"],
                "operators": list(profiles.OPERATORS),
                "archs": architectures(),
                "knownFlags": list(profiles.FLAGS),
                "supportedFlags": list(profiles.FLAGS),
            },
            "apparmor": _NO,
            "selinux": _NO,
            "intelRdt": _NO,
            "mountExtensions": {"idmap": _NO},
            "netDevices": _NO,
        },
    }
