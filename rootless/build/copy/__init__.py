"""COPY and ADD: the archive of a layer is written from the sources themselves, and nothing is mounted or extracted."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rootless.build.copy.digests import digest

if TYPE_CHECKING:
    from rootless.build.job import Job
    from rootless.build.state import State
    from rootless.containerfile import model
    from rootless.engine.images.layerfile import LayerFile

__all__ = ["copy_step", "digest"]


def copy_step(job: Job, state: State, step: model.Copy | model.Add) -> LayerFile:
    """Make the layer of an instruction whose variables are expanded. Raises ContainerfileError."""
    from rootless.build.copy.step import make_layer  # what a step that is in the cache does without

    return make_layer(job, state, step)
