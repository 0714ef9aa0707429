"""The highest version of a model's folder, loaded, and exchanged while it is asked."""

from __future__ import annotations

import contextlib
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from tfrs_decay.serving.native import (
    NativeModel,
    TensorFlowError,
    version_directories,
)
from tfrs_decay.serving.statuses import HTTP_STATUS, RequestRefused

# What of a version's files tells whether they changed.
_Files = frozenset[tuple[str, int, int]]


@dataclass(frozen=True)
class VersionStatus:
    """Where a version is on its way.

    state: "LOADING", "AVAILABLE", "UNLOADING" or "END", as TensorFlow Serving says.
    code: "OK", or gRPC's name of why it failed.
    message: what was wrong; "" otherwise.
    """

    state: str
    code: str = "OK"
    message: str = ""


class Loaded:
    """A version that answers.

    Args:
        version: Its number.
        model: The model.
    """

    def __init__(self, version: int, model: NativeModel) -> None:
        self.version = version
        self.model = model
        self.leases = 0


class LiveModel:
    """A model's folder, as a server sees it.

    The highest version is served, as TensorFlow Serving does; one that does not load is
    passed over until its files change, and reported. Where the version that is served
    is removed, the highest that is left takes its place. A version that was replaced is
    closed after the last request that has it, which nothing else waits for.

    Args:
        directory: The model's folder, which holds a folder a version.
        load: Loads a version's folder, and asks its warm-up requests.
        say: Told in a line what becomes of versions.
    """

    def __init__(
        self,
        directory: Path,
        *,
        load: Callable[[Path], NativeModel],
        say: Callable[[str], object],
    ) -> None:
        self.directory = directory
        self._load = load
        self._say = say
        self._failed: dict[int, _Files] = {}
        self._statuses: dict[int, VersionStatus] = {}
        self._current: Loaded | None = None
        self._closed = False
        self._retiring: dict[Loaded, threading.Thread] = {}
        self._refreshing = threading.Lock()
        self._changed = threading.Condition()

    @property
    def version(self) -> int | None:
        """The version that is served; None before there is one, and once closed."""
        with self._changed:
            return None if self._current is None else self._current.version

    def statuses(self) -> dict[int, VersionStatus]:
        """What is known of each version, by its number."""
        with self._changed:
            return dict(sorted(self._statuses.items()))

    @contextlib.contextmanager
    def lease(self, version: int | None = None) -> Iterator[Loaded]:
        """Keeps the served version from being closed within.

        Args:
            version: The one that must be it; whichever is served when left out.

        Raises:
            RequestRefused: That version is not served, or none is.
        """
        with self._changed:
            loaded = self._current
            if loaded is None:
                raise RequestRefused(
                    "UNAVAILABLE", f"No version of {self.directory} is up."
                )
            if version is not None and version != loaded.version:
                raise RequestRefused(
                    "NOT_FOUND",
                    f"Version {version} is not served: {loaded.version} is.",
                )
            loaded.leases += 1
        try:
            yield loaded
        finally:
            with self._changed:
                loaded.leases -= 1
                self._changed.notify_all()

    def refresh(self) -> bool:
        """Looks at the folder once, and serves what should be served.

        The version that is replaced is closed in a thread of its own.

        Returns:
            Whether another version is served now.

        Raises:
            OSError: The folder cannot be read.
        """
        with self._refreshing:
            found = version_directories(self.directory)
            self._forget(found)
            for version in sorted(found, reverse=True):
                if version == self.version:
                    return False
                # Read before loading: what is written meanwhile is tried again.
                files = _files_of(found[version])
                if self._failed.get(version) == files:
                    continue
                loaded = self._try(version, found[version])
                if loaded is not None:
                    self._failed.pop(version, None)
                    return self._serve(loaded)
                self._failed[version] = files
            return False

    def close(self, timeout: float | None = None) -> None:
        """Serves nothing any more, and closes what was served.

        What loads meanwhile is closed once it is loaded, which nothing waits for.

        Args:
            timeout: Seconds to wait for the last requests, which are else left to
                themselves; no end when left out.
        """
        with self._changed:
            self._closed = True
            self._replace(None)
            retiring = dict(self._retiring)
            self._changed.wait_for(
                lambda: not any(old.leases for old in retiring), timeout
            )
            asked = {old for old in retiring if old.leases}
        for old, thread in retiring.items():
            if old in asked:
                self._say(f"Version {old.version} is still asked: it is left open.")
            else:
                thread.join()

    def _try(self, version: int, path: Path) -> Loaded | None:
        self._set(version, VersionStatus("LOADING"))
        try:
            model = self._load(path)
        except Exception as error:  # Whatever a folder holds, watching goes on.
            code = error.code if isinstance(error, TensorFlowError) else "UNKNOWN"
            code = code if code in HTTP_STATUS else "UNKNOWN"
            message = " ".join(str(error).split())
            if not isinstance(error, (OSError, RuntimeError, ValueError)):
                # Not made to be read, and little without its kind.
                message = f"{type(error).__name__}: {message}"
            self._set(version, VersionStatus("END", code, message))
            served = "none is" if self.version is None else f"{self.version} is still"
            self._say(f"Version {version} does not load, {served} served: {message}")
            return None
        return Loaded(version, model)

    def _serve(self, loaded: Loaded) -> bool:
        """Puts a version in the place of the one that is served, if any may be."""
        with self._changed:
            closed = self._closed
            if not closed:
                self._replace(loaded)
        if closed:
            loaded.model.close()
            self._set(loaded.version, VersionStatus("END"))
            return False
        self._say(f"Version {loaded.version} is served.")
        return True

    def _replace(self, loaded: Loaded | None) -> None:
        """Exchanges what is served; whoever calls holds `_changed`."""
        old, self._current = self._current, loaded
        if loaded is not None:
            self._statuses[loaded.version] = VersionStatus("AVAILABLE")
        if old is not None:
            self._statuses[old.version] = VersionStatus("UNLOADING")
            self._retiring[old] = threading.Thread(
                target=self._retire, args=(old,), name="retire", daemon=True
            )
            self._retiring[old].start()
        self._changed.notify_all()

    def _retire(self, old: Loaded) -> None:
        """Closes a version after its last request."""
        with self._changed:
            self._changed.wait_for(lambda: not old.leases)
        old.model.close()
        self._say(f"Version {old.version} is closed.")
        with self._changed:
            del self._retiring[old]
            # A version that was put back is on its way again.
            if self._statuses.get(old.version) == VersionStatus("UNLOADING"):
                self._statuses[old.version] = VersionStatus("END")
            self._changed.notify_all()

    def _set(self, version: int, status: VersionStatus) -> None:
        with self._changed:
            self._statuses[version] = status

    def _forget(self, found: dict[int, Path]) -> None:
        """Drops what is known of versions that have ended and are gone."""
        with self._changed:
            for version, status in list(self._statuses.items()):
                if version not in found and status.state == "END":
                    del self._statuses[version]
                    self._failed.pop(version, None)


def _files_of(version: Path) -> _Files:
    """Name, size and time of each file: of another set there is more to try."""
    files = set()
    for path in version.rglob("*"):
        # One may be moved away meanwhile.
        with contextlib.suppress(FileNotFoundError):
            about = path.stat()
            files.add((str(path), about.st_size, about.st_mtime_ns))
    return frozenset(files)
