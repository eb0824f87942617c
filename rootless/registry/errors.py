"""What can go wrong between here and a registry.

::

    RegistryError            the answer is final: no such image, refused, unsafe, malformed
    ├── UnauthorizedError    401 or 403 after every credential was tried
    ├── NotFoundAtRegistry   404: the repository, tag or blob is not there
    └── TransientError       worth another try: connection lost, 429, 5xx, stalled
"""

from __future__ import annotations

from rootless.errors import RootlessError


class RegistryError(RootlessError):
    """A registry cannot give what was asked, or what it gave cannot be trusted."""


class UnauthorizedError(RegistryError):
    """The registry wants credentials, or refuses those it was given."""


class NotFoundAtRegistry(RegistryError):  # noqa: N818 - an answer, told apart from the engine's own NotFoundError
    """The registry does not know the repository, the tag or the blob."""


class TransientError(RegistryError):
    """The exchange failed in a way that another try may mend.

    ``retry_after`` is the number of seconds that the server asked for (None: it did not say). ``stalled`` marks a
    transfer that was slower than the idle limit; ``answered`` that the server itself said so, over a line that works.
    """

    def __init__(
        self,
        message: str,
        hint: str = "",
        *,
        retry_after: float | None = None,
        stalled: bool = False,
        answered: bool = False,
    ) -> None:
        super().__init__(message, hint)
        self.retry_after = retry_after
        self.stalled = stalled
        self.answered = answered
