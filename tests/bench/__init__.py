"""Wall time and memory, side by side with podman and crun: ``python -m tests.bench``."""
