"""The client side of the OCI distribution specification: names, credentials, manifests and blobs from registries.

Nothing outside this package speaks HTTP. Its parts, lowest first: ``headers`` (pure parsers), ``errors``,
``registries_conf`` (short names, mirrors), ``authfile`` and ``helpers`` (stored credentials), ``realm`` (who may see a
password), ``http`` (one exchange, with limits), ``token`` (answers to challenges), ``client`` (the API of one
endpoint), ``download`` (many blobs at once), ``auth`` (login and logout).
"""
