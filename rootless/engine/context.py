"""What every use case of the engine works with: the store, the driver, the id map, the settings."""

from __future__ import annotations

import os

from rootless import idmaps, paths
from rootless.errors import RootlessError
from storage.errors import StorageError, os_error
from storage.store import Store

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Callable, Mapping
    from typing import Any

    from rootless.engine.config import Config
    from rootless.engine.progress import Progress
    from rootless.idmaps import IdMap
    from storage.drivers.base import Driver, RootfsMount
    from storage.layers import Layers


class Engine:
    """One invocation's view of the user's containers and images; every part is made when first used."""

    __slots__ = ("_config", "_driver", "globals", "idmap", "say", "show_progress", "store")

    def __init__(self, store: Store, idmap: IdMap, global_values: Mapping[str, Any]) -> None:
        self.store = store
        self.idmap = idmap  # the user's default, with which layers are unpacked
        self.globals = global_values
        self.show_progress: Callable[[bool], Progress] | None = None
        self.say: Callable[[str], None] | None = None
        self._config: Config | None = None
        self._driver: Driver | None = None

    @property
    def config(self) -> Config:
        """The user's settings."""
        if self._config is None:
            from rootless.engine.config import read

            self._config = read()
        return self._config

    @property
    def layers(self) -> Layers:
        """The unpacked layers."""
        return self.store.layers

    @property
    def driver(self) -> Driver:
        """The storage driver: the one asked for, else the best one that works here."""
        if self._driver is None:
            from storage import drivers

            asked = self.globals.get("storage_driver") or os.environ.get("STORAGE_DRIVER") or self.config.storage_driver
            wanted = "copy" if asked == "vfs" else asked  # podman's name for it
            self._driver = drivers.choose(self.store.layout, self._probe, self.in_userns, wanted)
        return self._driver

    def in_userns(self, function: Callable[[], bytes]) -> bytes:
        """Run ``function`` as root of a user namespace with all the user's ids, in a process of its own."""
        from rootless import userns

        return userns.run_in_userns(function, self.idmap)

    def _probe(self, mount: RootfsMount) -> str:
        """Whether the mount works here: empty, or why not. Raises StorageError where it could not be tried."""
        from rootless import userns
        from rootless.engine.containers.probe import attempt

        try:
            return userns.run_in_userns(lambda: attempt(mount).encode(), self.idmap, mount_ns=True).decode()
        except RootlessError as error:
            raise StorageError(error.message, error.hint) from error
        except OSError as error:
            raise os_error("cannot try a storage driver", error) from error

    def run_directory(self, container_id: str) -> str:
        """Where the state of a running container is; gone after a reboot."""
        return self.store.layout.container_run(container_id)

    def progress(self, quiet: bool) -> Progress:
        """What tells the user of a pull before a run: bars on a terminal, if the caller gave ``show_progress``."""
        if self.show_progress is not None:
            return self.show_progress(quiet)
        from rootless.engine.progress import Progress

        return Progress()

    def tell(self, line: str) -> None:
        """Let the user know something while the command goes on; standard output is for results.

        It goes to standard error, or to ``say``, where that is set.
        """
        if self.say is not None:
            self.say(line)
            return
        import sys

        sys.stderr.write(line + "\n")

    def delete_tree(self, path: str) -> None:
        """Delete a tree with files of the user's subordinate ids."""
        from rootless.runtime.delete import delete_tree

        delete_tree(path, self.idmap)


def open_engine(global_values: Mapping[str, Any]) -> Engine:
    """Open the user's store; ``global_values`` are those of the flags before the command."""
    data = global_values.get("root")
    run = global_values.get("runroot")
    idmap = idmaps.default_map()
    store = Store.open(
        os.path.abspath(data) if data else paths.data_dir(),
        os.path.abspath(run) if run else paths.run_dir(),
        idmap.key(),
    )
    return Engine(store, idmap, global_values)
