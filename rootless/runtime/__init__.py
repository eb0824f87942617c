"""From a Spec (the OCI runtime's ``config.json``) to a running container, without knowing images or the store."""
