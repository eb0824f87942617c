"""Half-done work: a directory below tmp/ that its maker keeps locked, and that appears elsewhere by one rename."""

from __future__ import annotations

import os

from storage import trees
from storage.errors import NotFoundError, StorageError, os_error
from storage.locks import Lock

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType

    from storage.layout import Layout


class WorkDirectory:
    """A new locked directory below tmp/, mode 0700; on leaving ``with`` it is deleted unless it was published.

    If its maker is killed the kernel drops the lock, and ``storage.gc.sweep`` removes the directory.
    """

    __slots__ = ("_layout", "_lock", "path")

    def __init__(self, layout: Layout) -> None:
        self._layout = layout
        while True:
            self.path = layout.new_temporary()
            try:
                os.mkdir(self.path, 0o700)
            except OSError as error:
                raise os_error(f"cannot make a directory in {layout.tmp}", error) from error
            self._lock = Lock(self.path, create=False)
            try:
                if self._lock.acquire(wait=False):
                    return
            except NotFoundError:
                continue  # a sweep came between mkdir and lock
            except StorageError:
                os.rmdir(self.path)  # there are no locks here
                raise

    def publish(self, target: str) -> None:
        """Move the directory to ``target``, complete as it is. Raises ``OSError`` (ENOTEMPTY, EEXIST: taken)."""
        os.rename(self.path, target)
        self.path = ""
        self._lock.release()

    def __enter__(self) -> WorkDirectory:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self.path:
            trees.delete(self.path)
        self._lock.release()
