"""Atomic writes of folders, local and by URL.

A path with a scheme, such as `gs://bucket/folder`, goes through `tf.io.gfile`: it is written into a local folder first
and then copied, or copied into a local folder and then read. Local paths need no TensorFlow.
"""

import contextlib
import os
import pathlib
import re
import shutil
import tempfile

from kerasformer.errors import InputError

_URL = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*)://")
_SPOILED_URL = re.compile(r"[A-Za-z][A-Za-z0-9+.-]+:/[^/]")


def is_url(path):
    """Whether a path names a file system by a scheme. Raises `InputError` for a `pathlib.Path` made of a URL, which
    has lost a slash."""
    if isinstance(path, pathlib.PurePath) and _SPOILED_URL.match(os.fspath(path)):
        raise InputError(f"A URL must be a str here, and a `pathlib.Path` must be local. Received: {path}")
    return _URL.match(os.fspath(path)) is not None


def check_scheme(path):
    """Raises `InputError` for a URL whose scheme this TensorFlow does not implement."""
    if is_url(path):
        import tensorflow as tf

        scheme = _URL.match(os.fspath(path))[1]
        known = sorted(name for name in tf.io.gfile.get_registered_schemes() if name)
        if scheme not in known:
            raise InputError(
                f"TensorFlow has no file system for {scheme}:// (it has {', '.join(known)}). Use one of these or a "
                f"local path, and copy from there. Received: {os.fspath(path)}"
            )


def local_path(path, argument):
    """`path` as a `pathlib.Path`. Raises `InputError` for a URL, where only local paths are taken."""
    if is_url(path):
        raise InputError(f"`{argument}` takes local paths only. Received: {os.fspath(path)}")
    return pathlib.Path(path)


def join(folder, name):
    """The path of `name` in a folder: a str for a URL, else a `pathlib.Path`."""
    return f"{os.fspath(folder).rstrip('/')}/{name}" if is_url(folder) else pathlib.Path(folder) / name


@contextlib.contextmanager
def read_locally(folder):
    """`folder` as a local `pathlib.Path`: itself, or for a URL a copy that lives as long as the block.

    Raises:
        InputError: a scheme that is not implemented, or no folder at the URL.
    """
    if not is_url(folder):
        yield pathlib.Path(folder)
        return
    import tensorflow as tf

    check_scheme(folder)
    source = os.fspath(folder).rstrip("/")
    try:
        if not tf.io.gfile.isdir(source):
            raise InputError(f"There is no folder {source}")
        with tempfile.TemporaryDirectory() as scratch:
            copy = pathlib.Path(scratch) / source.rsplit("/", 1)[1]
            copy.mkdir()
            for name in _files_below(source):
                (copy / name).parent.mkdir(parents=True, exist_ok=True)
                tf.io.gfile.copy(f"{source}/{name}", str(copy / name))
            yield copy
    except tf.errors.OpError as error:
        raise OSError(f"{source} cannot be read: {error.message.splitlines()[0]}") from None


def sync(path):
    """Flushes one file, or a folder's own list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def written_beside(folder, replaces=None):
    """A scratch folder beside `folder`, renamed to it when the block ends without an error.

    An older folder is replaced if it holds a file called `replaces`, a sign that it was written in the same way. Any
    other folder is left alone: InputError, or with `replaces` None OSError (ENOTEMPTY).

    On any failure, a full disk among them, the scratch folder is removed and what was there before stays. The scratch
    name begins with a dot and is not a number, so that TensorFlow Serving never loads it as a version.

    A URL gets a local scratch folder, which is copied. Object stores rename no folders, so the file that makes a folder
    complete, `saved_model.pb` or `replaces`, is removed first and copied last.
    """
    if is_url(folder):
        with _uploaded(folder, replaces) as scratch:
            yield scratch
        return
    folder = pathlib.Path(os.path.abspath(folder))
    if replaces and folder.exists() and not _may_give_way(folder, replaces):
        raise InputError(f"{folder} exists and holds no {replaces}: it is not overwritten. Name another folder.")
    folder.parent.mkdir(parents=True, exist_ok=True)
    scratch = pathlib.Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".writing", dir=folder.parent))
    scratch.chmod(0o755)
    try:
        yield scratch
        for path in [*scratch.rglob("*"), scratch]:
            sync(path)
        if replaces and folder.exists():
            old = pathlib.Path(tempfile.mkdtemp(prefix=f".{folder.name}.", suffix=".old", dir=folder.parent))
            folder.rename(old / folder.name)
            try:
                scratch.rename(folder)
            except OSError:
                (old / folder.name).rename(folder)
                raise
            finally:
                shutil.rmtree(old, ignore_errors=True)
        else:
            scratch.rename(folder)
        sync(folder.parent)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def writable_file(path, argument):
    """`path` as a `pathlib.Path` of a file that can be written; said before what takes long. Raises `InputError` for a
    URL, a folder, or a file in a folder that does not exist."""
    path = local_path(path, argument)
    if path.is_dir() or not path.parent.is_dir():
        what = "a folder" if path.is_dir() else f"no folder {path.parent}"
        raise InputError(f"`{argument}` must be a file in a folder that exists. Received: {path}, {what}.")
    return path


@contextlib.contextmanager
def written_file(path):
    """A text file beside `path`, renamed to it when the block ends without an error; an older one is replaced. On any
    failure nothing is left behind."""
    path = pathlib.Path(path)
    descriptor, scratch = tempfile.mkstemp(prefix=f".{path.name}.", dir=path.parent)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            yield file
        os.chmod(scratch, 0o644)
        os.replace(scratch, path)
    except BaseException:
        pathlib.Path(scratch).unlink(missing_ok=True)
        raise


def _may_give_way(folder, replaces):
    return folder.is_dir() and ((folder / replaces).exists() or not any(folder.iterdir()))


@contextlib.contextmanager
def _uploaded(folder, replaces):
    import tensorflow as tf

    check_scheme(folder)
    target = os.fspath(folder).rstrip("/")
    last = replaces or "saved_model.pb"
    try:
        before = _files_below(target)
        if before and last not in before:
            raise InputError(f"{target} exists and holds no {last}: it is not overwritten. Name another folder.")
        if before and not replaces:
            raise InputError(f"{target} exists: it is not overwritten. Name another folder.")
        with tempfile.TemporaryDirectory() as scratch:
            yield pathlib.Path(scratch)
            names = sorted(_local_files(scratch), key=lambda name: name == last)
            try:
                if before:
                    tf.io.gfile.remove(f"{target}/{last}")
                for name in names:
                    tf.io.gfile.makedirs(f"{target}/{name}".rpartition("/")[0])
                    tf.io.gfile.copy(f"{scratch}/{name}", f"{target}/{name}", overwrite=True)
            except BaseException:
                if not before:
                    _remove(target)
                raise
            for name in before - set(names):
                tf.io.gfile.remove(f"{target}/{name}")
    except tf.errors.OpError as error:
        raise OSError(f"{target} cannot be written: {error.message.splitlines()[0]}") from None


def _remove(url):
    import tensorflow as tf

    with contextlib.suppress(tf.errors.OpError):
        tf.io.gfile.rmtree(url)


def _local_files(folder):
    paths = pathlib.Path(folder).rglob("*")
    return {path.relative_to(folder).as_posix() for path in paths if path.is_file()}


def _files_below(url):
    """Names of the files below a URL, relative to it."""
    import tensorflow as tf

    if not tf.io.gfile.isdir(url):
        return set()
    names = set()
    for parent, _, files in tf.io.gfile.walk(url):
        inside = parent.rstrip("/")[len(url) :].strip("/")
        names |= {f"{inside}/{name}".lstrip("/") for name in files}
    return names
