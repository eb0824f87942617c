"""Images that are files here: ``oci:``, ``oci-archive:``, ``docker-archive:``, ``dir:``, root file systems, podman's.

``files`` reads a directory or a tar archive alike; ``oci_layout``, ``docker_archive`` and ``plain_dir`` know one format
each; ``local`` chooses among them. What they read is a stranger's: names of members are compared, never opened, and
every blob is verified against its digest on the way into the store, and out of it: ``outgoing`` is an image that is
written, ``sinks`` are where to, ``write_*`` know a format each, and ``destinations`` chooses among these.
"""

TRANSPORTS = ("oci:", "oci-archive:", "docker-archive:", "dir:")
"""What images are read from and written to."""

SOURCES = (*TRANSPORTS, "containers-storage:")
"""What images are read from."""
