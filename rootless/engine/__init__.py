"""The engine: what each command does, in terms of storage, runtime, registry and network."""
