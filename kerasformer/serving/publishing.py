"""Publishing: a checked export becomes the next version by one rename."""

import errno
import os
import pathlib
from collections.abc import Callable

import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.files import check_scheme, is_url, join, written_beside
from kerasformer.serving.card import card_of, measured_figures, write_card
from kerasformer.serving.checking import check
from kerasformer.serving.explanations import check_explanation, measured_explanation
from kerasformer.serving.exporting import write_saved_model
from kerasformer.serving.precision import choose_precision, describe_choice, plan_for
from kerasformer.tasks import Task


def publish(
    task: Task,
    base_folder: str | os.PathLike,
    *,
    precision: str = "float32",
    data: tf.data.Dataset | None = None,
    data_source: str | None = None,
    metrics: dict[str, float] | None = None,
    max_loss: float = 0.005,
    machine: str | None = None,
    tell: Callable[[str], object] | None = None,
    explain: str | None = None,
) -> pathlib.Path | str:
    """Exports `task` as the next version of a model, visible to a server only when it is complete and checked.

    It is written beside the versions under a name that is not a version, checked in a fresh process (see `check`),
    flushed to the disk, and renamed to the next integer. For a URL it is written and checked in a local folder and then
    copied, `saved_model.pb` last. Beside it lies a model card, see `kerasformer.serving.card`.

    Args:
        task: as in `kerasformer.tasks`.
        base_folder: of the model, such as `savedmodels/sentiment` or `gs://bucket/sentiment`; made when missing.
        precision: as in `export`; or "auto" for the fastest on this machine whose metrics are good enough, see
            `choose_precision`.
        data: batches of labelled examples, such as the validation data, for "int8" and "auto" (see `export`) and for
            the figures in the model card.
        data_source: where `data` are from, for the model card.
        metrics: what `Trainer.evaluate` returned for `data` in float32, where that is known: a model that is published
            in float32 is then not evaluated again, unless it is a classifier, whose card also has its calibration.
        max_loss, machine: see `choose_precision`.
        tell: with "auto" called with what was measured and chosen, lines of text.
        explain: as in `export`: the method of the signature `explain`.

    Returns:
        The version's folder, a `pathlib.Path`; for a URL a str.

    Raises:
        InputError: the export does not pass its check, `base_folder` is a file, or a URL that TensorFlow has no file
            system for.
        OSError: the folder cannot be written. Nothing is left behind on any failure.
    """
    check_scheme(base_folder)
    if not is_url(base_folder):
        base = pathlib.Path(base_folder)
        if base.exists() and not base.is_dir():
            raise InputError(f"`base_folder` must be a folder of versions. Received a file: {base}")
    check_explanation(task, explain, precision)
    measured = []
    if precision == "auto":
        precision, plan, measured = choose_precision(task, data, max_loss=max_loss, machine=machine)
        if tell is not None:
            tell(describe_choice(measured, precision, max_loss))
    else:
        plan = plan_for(task, precision, data)
    known = metrics if precision == "float32" else None
    figures = None if data is None else measured_figures(task, precision, plan, data, known)
    explanation = None if explain is None else measured_explanation(task, explain, data)
    if not is_url(base_folder):
        pathlib.Path(base_folder).mkdir(parents=True, exist_ok=True)
    folder = join(base_folder, str(next_version(base_folder)))
    try:
        with written_beside(folder) as scratch:
            write_saved_model(task, scratch, precision, plan, explain)
            report = check(scratch)
            write_card(
                scratch,
                card_of(
                    task,
                    scratch,
                    name=os.fspath(base_folder).rstrip("/").rsplit("/", 1)[-1],
                    version=int(os.fspath(folder).rsplit("/", 1)[-1]),
                    precision=precision,
                    report=report,
                    figures=figures,
                    explanation=explanation,
                    data_source=data_source,
                    speed=next((found for found in measured if found.precision == precision), None),
                ),
            )
    except OSError as error:
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            raise OSError(f"Another process published {folder} at the same time; publish again.") from None
        raise
    return folder


def next_version(base_folder):
    """One more than the highest version in a model's folder; only integer names are versions."""
    if is_url(base_folder):
        names = tf.io.gfile.listdir(base_folder) if tf.io.gfile.isdir(base_folder) else []
    else:
        names = os.listdir(base_folder)
    versions = [int(name) for name in (name.rstrip("/") for name in names) if name.isascii() and name.isdigit()]
    return max(versions, default=0) + 1
