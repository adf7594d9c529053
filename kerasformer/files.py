"""Writing folders so that nobody ever sees half of one."""

import contextlib
import os
import pathlib
import shutil
import tempfile

from kerasformer.errors import InputError


def sync(path):
    """Flushes one file, or a folder's own list of names, to the disk."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


@contextlib.contextmanager
def written_beside(folder, replaces=None):
    """A scratch folder beside `folder`, which takes its place by renaming when the block ends well.

    An older folder gives way if it holds a file called `replaces`, which tells that it was written in the same way;
    a folder of anything else is left alone: InputError, or with `replaces` None OSError (ENOTEMPTY).

    On any failure, a full disk among them, the scratch folder is removed and what was there before stays. The scratch
    name begins with a dot and is no number, so that TensorFlow Serving never takes it for a version.
    """
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


def _may_give_way(folder, replaces):
    return folder.is_dir() and ((folder / replaces).exists() or not any(folder.iterdir()))
