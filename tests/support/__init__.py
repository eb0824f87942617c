"""What the tests share: probes of the machine, images made offline, registries on loopback."""
