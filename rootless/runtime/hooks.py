"""The hooks that run in the caller's namespaces; those of the container run in ``rootless.init.main``."""

from __future__ import annotations

from rootless.init.hooks import run_hooks
from storage import jsonfast

TYPE_CHECKING = False
if TYPE_CHECKING:
    from rootless.runtime.spec import Spec

SPEC_VERSION = "1.3.0"


def state_document(spec: Spec, container_id: str, bundle: str, pid: int, status: str) -> bytes:
    """The state that hooks read on standard input (OCI runtime-spec, runtime.md, "State")."""
    document = {
        "ociVersion": SPEC_VERSION,
        "id": container_id,
        "status": status,
        "pid": pid,
        "bundle": bundle,
        "annotations": spec.get("annotations", {}),
    }
    return jsonfast.dumps(document).encode()


def run(spec: Spec, moment: str, state: bytes) -> None:
    """Run the hooks of one moment: ``prestart``, ``createRuntime``, ``poststart`` or ``poststop``."""
    run_hooks((spec.get("hooks") or {}).get(moment, []), moment, state)
