"""A black-box conformance suite for OCI runtimes (runtime-spec 1.3, Linux): see docs/development.md."""
