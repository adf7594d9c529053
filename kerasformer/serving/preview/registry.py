"""All models of a folder: which version answers a request, and what is reported of them."""

import os
import threading
from pathlib import Path

from google.protobuf import text_format
from tensorflow_serving.apis import get_model_status_pb2
from tensorflow_serving.config import model_server_config_pb2

from kerasformer.errors import InputError
from kerasformer.serving.errors import CODES, ServingError
from kerasformer.serving.preview.folders import find_models, is_complete
from kerasformer.serving.preview.versions import Model, one_line

LABELS_FILE = "models.config"


def read_labels(folder):
    """Model name to {label: version}, from `models.config`, TensorFlow Serving's own configuration, in `folder`.

    Raises:
        InputError: the file is there and cannot be read.
    """
    path = Path(folder) / LABELS_FILE
    if not path.exists():
        return {}
    try:
        config = text_format.Parse(path.read_text("utf-8"), model_server_config_pb2.ModelServerConfig())
    except (OSError, UnicodeDecodeError, text_format.ParseError) as error:
        raise InputError(f"{str(path)!r} must be a ModelServerConfig in text format: {error}") from error
    return {model.name: dict(model.version_labels) for model in config.model_config_list.config}


class Registry:
    """All models of a folder.

    Args:
        folder: see `find_models`.
        tell: called with one line for each thing worth knowing.

    Raises:
        InputError: see `find_models` and `read_labels`.
    """

    def __init__(self, folder, tell):
        self._folder = Path(os.path.abspath(folder))
        self._tell = tell
        self._stopping = threading.Event()
        self._watcher = None
        self._labels = read_labels(self._folder)
        self._labels_error = None
        self.models = {name: Model(name, path) for name, path in find_models(folder).items()}

    def load(self):
        """Loads the newest version of each model. Raises `InputError` if no model can be served."""
        lines = []
        for model in self.models.values():
            model.refresh(lines.append)
        if all(model.current is None for model in self.models.values()):
            raise InputError(f"No model in {str(self._folder)!r} can be served: {' '.join(lines)}")
        for line in lines:
            self._tell(line)

    def watch(self, seconds=1.0):
        """Looks for changes on disk every so many seconds, in a thread, until `stop`."""
        self._watcher = threading.Thread(target=self._watch, args=(seconds,), name="versions", daemon=True)
        self._watcher.start()

    def _watch(self, seconds):
        while not self._stopping.wait(seconds):
            try:
                self.refresh()
            except Exception as error:  # the watcher must outlive any state of the disk
                if self._stopping.is_set():
                    return
                self._tell(f"Looking for new versions failed: {one_line(error)}")

    def refresh(self):
        """Takes up new models, new versions and new labels; drops those that are gone."""
        try:
            self._labels, self._labels_error = read_labels(self._folder), None
        except InputError as error:
            if str(error) != self._labels_error:
                self._tell(f"The labels stay as they were. {one_line(error)}")
            self._labels_error = str(error)
        try:
            found = find_models(self._folder)
        except InputError:
            found = {}
        for name in found.keys() - self.models.keys():
            self.models = {**self.models, name: Model(name, found[name])}
        for model in self.models.values():
            model.refresh(self._tell)

    def stop(self):
        """Looks for changes no more. A version that is being loaded is not waited for: its thread is a daemon."""
        self._stopping.set()

    def find(self, spec):
        """The version that a `ModelSpec` asks for.

        Returns:
            `(LoadedModel, version number)`.

        Raises:
            ServingError: there is no such model, version or label.
        """
        model = self._model(spec)
        wanted = spec.WhichOneof("version_choice")
        if wanted is None:
            version = model.current
            if version is None:
                raise ServingError("NOT_FOUND", f"No version of the model {spec.name!r} can be served.")
        else:
            version = self._version(model, self._number(spec))
        try:
            return version.load(), version.number
        except ServingError as error:
            message = f"Version {version.number} of the model {spec.name!r} failed to load: {error.message}"
            raise ServingError("NOT_FOUND", message) from error

    def status(self, spec):
        """The `GetModelStatusResponse` for a `ModelSpec`. Raises `ServingError`."""
        model = self._model(spec)
        if spec.WhichOneof("version_choice") is None:
            versions = sorted(model.versions.values(), key=lambda version: -version.number)
            if not versions:
                raise ServingError("NOT_FOUND", f"The model {spec.name!r} has no versions any more.")
        else:
            versions = [self._version(model, self._number(spec))]
        response = get_model_status_pb2.GetModelStatusResponse()
        for version in versions:
            entry = response.model_version_status.add(version=version.number)
            entry.state = get_model_status_pb2.ModelVersionStatus.State.Value(version.state)
            error = version.error
            entry.status.error_code = CODES.index(error.code) if error else 0
            entry.status.error_message = error.message if error else ""
        return response

    def _model(self, spec):
        if not spec.name:
            raise ServingError("INVALID_ARGUMENT", "The request names no model.")
        if spec.name not in self.models:
            raise ServingError("NOT_FOUND", f"There is no model {spec.name!r}. Served here: {self._names()}.")
        return self.models[spec.name]

    def _names(self):
        return ", ".join(sorted(name for name, model in self.models.items() if model.current is not None))

    def _number(self, spec):
        if spec.WhichOneof("version_choice") == "version":
            return spec.version.value
        labels = self._labels.get(spec.name, {})
        if spec.version_label not in labels:
            raise ServingError(
                "INVALID_ARGUMENT",
                f"The model {spec.name!r} has no version label {spec.version_label!r}. "
                f"Labels, from {LABELS_FILE}: {sorted(labels) or 'none'}.",
            )
        return labels[spec.version_label]

    def _version(self, model, number):
        version = model.versions.get(number)
        if version is None or not is_complete(version.folder):
            known = ", ".join(str(key) for key in sorted(model.versions)) or "none"
            raise ServingError(
                "NOT_FOUND", f"There is no version {number} of the model {model.name!r}. Versions: {known}."
            )
        return version
