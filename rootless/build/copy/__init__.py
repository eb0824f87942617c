"""COPY and ADD: the archive of a layer is written from the sources themselves, and nothing is mounted or extracted."""

from rootless.build.copy.digests import digest
from rootless.build.copy.step import copy_step

__all__ = ["copy_step", "digest"]
