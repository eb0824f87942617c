"""Images that are files here: ``oci:``, ``oci-archive:``, ``docker-archive:``, ``dir:``, and root file systems.

``files`` reads a directory or a tar archive alike; ``oci_layout``, ``docker_archive`` and ``plain_dir`` know one format
each; ``local`` chooses among them. What they read is a stranger's: names of members are compared, never opened, and
every blob is verified against its digest on the way into the store.
"""

TRANSPORTS = ("oci:", "oci-archive:", "docker-archive:", "dir:")
