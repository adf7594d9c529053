"""The versions of a model: which are in memory, and which one is current."""

import threading

from kerasformer.serving.errors import ServingError
from kerasformer.serving.preview import inference
from kerasformer.serving.preview.folders import find_versions, is_complete


class Version:
    """One version on disk. It is loaded when it is first needed.

    Attributes:
        state: "START" (not needed yet), "LOADING", "AVAILABLE", or "END" (let go again, or failed to load).
        error: the `ServingError` of the last load, or None.
    """

    def __init__(self, number, folder):
        self.number = number
        self.folder = folder
        self.state = "START"
        self.error = None
        self._model = None
        self._failed_with = None
        self._lock = threading.Lock()

    def load(self):
        """The `LoadedModel`. Raises `ServingError` if it cannot be loaded; tried again when its files change."""
        with self._lock:
            if self._model is not None:
                return self._model
            files = self._fingerprint()
            if self.error is not None and files == self._failed_with:
                raise ServingError(self.error.code, self.error.message)
            self.state = "LOADING"
            try:
                self._model = inference.load(self.folder)
            except ServingError as error:
                # A copy, for the traceback of the error itself holds the model that failed.
                self.state, self.error, self._failed_with = "END", ServingError(error.code, error.message), files
                raise
            self.state, self.error = "AVAILABLE", None
            return self._model

    def may_load(self):
        """False for a version without `saved_model.pb`, and for one that failed and has not changed since."""
        if not is_complete(self.folder):
            return False
        return self.error is None or self._fingerprint() != self._failed_with

    def release(self):
        """Lets the model go; requests that are under way finish with it."""
        with self._lock:
            self._model = None
            self.state = "END"

    def _fingerprint(self):
        try:
            files = [(path, path.stat()) for path in sorted(self.folder.rglob("*"))]
        except OSError:
            return None
        return [(str(path), stat.st_size, stat.st_mtime_ns) for path, stat in files]


class Model:
    """The versions of one model; the newest one that loads is current."""

    def __init__(self, name, folder):
        self.name = name
        self.folder = folder
        self.current = None
        self.versions = {}
        self._incomplete = set()

    def refresh(self, tell):
        """Takes up new versions and drops those that are gone. The old one answers until the new one is loaded.

        Args:
            tell: called with one line for each thing worth knowing.
        """
        found = find_versions(self.folder)
        versions = {number: self.versions.get(number) or Version(number, path) for number, path in found.items()}
        self.versions = versions
        for number in sorted(versions, reverse=True):
            version = versions[number]
            if version is self.current:
                return
            if not is_complete(version.folder):
                if number not in self._incomplete:
                    tell(f"{self.name} version {number} has no saved_model.pb (half-written?): it is not served.")
                self._incomplete.add(number)
            elif version.may_load() and self._take_up(version, tell):
                return
        if self.current is not None and self.current.number not in versions:
            tell(f"{self.name} version {self.current.number} is gone, and no other can be served.")
            self.current = None

    def _take_up(self, version, tell):
        try:
            version.load()
        except ServingError as error:
            instead = f"version {self.current.number} stays" if self.current else "it is not served"
            tell(f"{self.name} version {version.number} failed to load, {instead}. {one_line(error)}")
            return False
        previous, self.current = self.current, version
        if previous is not None:
            previous.release()
            tell(f"{self.name} version {version.number} now answers instead of {previous.number}.")
        return True


def one_line(error):
    """An error's message without line ends."""
    return " ".join(str(error).split())
