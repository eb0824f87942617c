"""Which of an index's images is for this machine, or for the platform that was asked for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from rootless.errors import RootlessError, UsageError
from storage import oci

if TYPE_CHECKING:
    from storage.oci import Descriptor, Index

# Names that other tools use for an architecture, and those of GOARCH.
_ALIASES = {
    "x86_64": ("amd64", ""),
    "x86-64": ("amd64", ""),
    "aarch64": ("arm64", ""),
    "armhf": ("arm", "v7"),
    "armel": ("arm", "v6"),
    "i386": ("386", ""),
    "i686": ("386", ""),
}

# The variants that a machine can run, best first, by the variant it has.
_ARM = {"v8": ("v8", "v7", "v6", "v5"), "v7": ("v7", "v6", "v5"), "v6": ("v6", "v5"), "v5": ("v5",)}


@dataclass(frozen=True)
class Wanted:
    """A platform; ``explicit`` if the user named it, and then a mismatch is an error."""

    os: str
    architecture: str
    variant: str
    explicit: bool

    def __str__(self) -> str:
        return "/".join(part for part in (self.os, self.architecture, self.variant) if part)

    def variants(self) -> tuple[str, ...]:
        """Acceptable variants, best first."""
        if self.architecture == "arm":
            return (*_ARM.get(self.variant or "v7", (self.variant,)), "")
        if self.architecture == "arm64" and self.variant in ("", "v8"):
            return ("", "v8")
        if self.architecture == "amd64" and self.variant in ("", "v1"):
            return ("", "v1")
        return (self.variant,) if self.variant else ("",)

    def accepts(self, platform: Mapping[str, Any]) -> bool:
        """Whether an image that is here will do: any, unless the user named a platform."""
        return not self.explicit or self.matches(platform)

    def matches(self, platform: Mapping[str, Any]) -> bool:
        """Whether an image configuration or a descriptor's platform is of this platform."""
        return (
            platform.get("os") == self.os
            and platform.get("architecture") == self.architecture
            and (not self.variant or (platform.get("variant") or "") in self.variants())
        )


def wanted(values: Mapping[str, Any]) -> Wanted:
    """The platform from ``--platform OS/ARCH[/VARIANT]``, ``--os``, ``--arch``, ``--variant``, else this machine's."""
    host = oci.host_platform()
    text = values.get("platform")
    parts = [values.get("os"), values.get("arch"), values.get("variant")]
    if text:
        if any(parts):
            raise UsageError("cannot use --platform together with --os, --arch or --variant")
        parts = [*text.split("/"), None, None][:3]
        if text.count("/") > 2 or not all(part is None or part for part in parts):
            raise UsageError(f"cannot use --platform {text}: not of the form OS/ARCH[/VARIANT]")
    name_os, architecture, variant = parts
    if architecture is None and variant is None:
        variant = host.get("variant", "")
    architecture, implied = _ALIASES.get(architecture, (architecture, "")) if architecture else (None, "")
    return Wanted(name_os or host["os"], architecture or host["architecture"], variant or implied, any(parts))


def choose(index: Index, platform: Wanted, name: str) -> Descriptor:
    """The descriptor of the image in ``index`` (of ``name``, for messages) that fits ``platform`` best.

    Raises RootlessError that lists what there is.
    """
    images = [entry for entry in index["manifests"] if entry["mediaType"] in oci.MANIFEST_TYPES | oci.INDEX_TYPES]
    fitting = [
        entry
        for entry in images
        if (has := entry.get("platform"))
        and has.get("os") == platform.os
        and has.get("architecture") == platform.architecture
    ]
    for variant in platform.variants():
        for entry in fitting:
            has = entry.get("platform")
            if has and has.get("variant", "") == variant:
                return entry
    if fitting and not platform.variant:
        return fitting[0]
    nameless = [entry for entry in images if not entry.get("platform")]
    if len(images) == 1 and nameless:
        return nameless[0]
    there = sorted({_shown(entry) for entry in images} - {"unknown/unknown", ""})
    raise RootlessError(
        f"cannot use {name}: no image found in image index for platform {platform}",
        f"it has: {', '.join(there)[:300]}" if there else "the index is empty",
    )


def _shown(entry: Descriptor) -> str:
    platform = entry.get("platform")
    if not platform:
        return ""
    parts = (platform.get("os", ""), platform.get("architecture", ""), platform.get("variant", ""))
    return "/".join(part for part in parts if part.isprintable() and part)
