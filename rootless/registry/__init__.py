"""The client side of the OCI distribution specification: names, credentials, manifests and blobs from registries.

Nothing outside this package speaks HTTP. Its parts, lowest first: ``errors``, ``headers`` (pure parsers), ``retry``
(how long to wait), ``registries_conf`` (short names, mirrors), ``helpers`` and ``authfile`` (stored credentials),
``options`` (the flags), ``memory`` (what holds a password), ``realm`` and ``trust`` (who may see one), ``tls``,
``pace`` (how fast an answer must come), ``http`` (one exchange), ``token`` (answers to challenges), ``client`` (the
API of one endpoint), ``download`` (many blobs at once), ``auth`` (login and logout).
"""
