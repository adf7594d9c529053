"""The precision that a task is served in: what each costs on this machine and on the user's own data."""

import contextlib
import dataclasses
import pathlib
import platform
import tempfile
from collections.abc import Mapping

import keras
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.models.int8 import Int8Plan, int8_plan, int8_storage_plan, use_int8
from kerasformer.serving.measuring import BATCH, measure
from kerasformer.tasks import Task
from kerasformer.tasks.arrays import as_strings
from kerasformer.training import Trainer
from kerasformer.training.feeding import checked_form

PRECISIONS = ("float32", "bfloat16", "int8", "int8_storage")

# Those that may be the fastest.
_COMPARED = ("float32", "bfloat16", "int8")

# Kinds of processors by the instructions that oneDNN is to use.
MACHINES = {"avx2": "AVX2", "avx512_bf16": "AVX512_CORE_BF16"}

# Rows that show what a model computes with.
_CALIBRATION_ROWS = 256

# Texts that are timed one by one.
_SINGLE = 8

# The metric that a precision must keep: the first of these that a task has. Of the perplexity, the lower is better.
_MAIN = ("micro_f1", "f1", "spearman", "bleu", "rouge1", "accuracy", "mlm_accuracy", "perplexity")
_POINTS = ("bleu", "rouge1")

# What another precision's times may be of those in float32, to be chosen.
_WORTH = 0.95


@dataclasses.dataclass(frozen=True)
class Measured:
    """A task in one precision.

    Attributes:
        precision: "float32", "bfloat16" or "int8".
        single, batch: milliseconds of one text, and of a batch of 32.
        megabytes: of the export.
        metrics: of the data; empty without.
        lost: by how much the main metric is below that of float32; a fraction. Of a perplexity, by what part of that of
            float32 it is above.
        kept: projections that stay in floats.
        examples: in the data; 0 without.
    """

    precision: str
    single: float
    batch: float
    megabytes: float
    metrics: Mapping[str, float]
    lost: float
    kept: tuple[str, ...] = ()
    examples: int = 0


def plan_for(task, precision, data):
    """The `Int8Plan` of a task, or None for another precision.

    Args:
        data: batches of labelled examples.

    Raises:
        InputError: an unknown precision; int8 without data, or on a processor that is no x86.
    """
    if precision not in PRECISIONS:
        raise InputError(f"`precision` must be one of {list(PRECISIONS)}. Received: precision={precision!r}.")
    if precision == "int8_storage":
        return int8_storage_plan(task.model)
    if precision != "int8":
        return None
    if not _is_x86():
        raise InputError(
            f"int8 needs a processor with x86 instructions; int8_storage needs none. Received: {platform.machine()}."
        )
    if data is None:
        raise InputError(
            "int8 needs `data`, labelled examples that show the ranges of what is computed. Received: none."
        )

    def run():
        rows = 0
        for features, targets in formed(task, data):
            task.evaluation_batch(features, targets, task.forward)
            rows += tf.nest.flatten(features)[0].shape[0]
            if rows >= _CALIBRATION_ROWS:
                return

    return int8_plan(task.model, run)


def choose_precision(
    task: Task, data: tf.data.Dataset | None, *, max_loss: float = 0.005, machine: str | None = None
) -> tuple[str, Int8Plan | None, list[Measured]]:
    """Measures a task in each precision, and chooses.

    Chosen is the fastest for one text and a batch together, of those whose main metric is at most
    `max_loss` below that of float32; float32 where none is clearly faster.

    Args:
        task: as in `kerasformer.tasks`.
        data: batches of labelled examples, such as the validation data; without it int8 is left out.
        max_loss: largest fall of the main metric, a fraction.
        machine: None for this one, or a key of `MACHINES`: oneDNN is then limited to such instructions.

    Returns:
        `(precision, its Int8Plan or None, what was measured)`.

    Raises:
        InputError: `max_loss` is negative, or `machine` is unknown or can do more than this one.
    """
    if max_loss < 0:
        raise InputError(f"`max_loss` must not be negative. Received: max_loss={max_loss}.")
    if machine is not None and machine not in MACHINES:
        raise InputError(f"`machine` must be one of {list(MACHINES)}. Received: machine={machine!r}.")
    if machine == "avx512_bf16" and not _has("avx512_bf16"):
        raise InputError("This processor has no AVX512-BF16, so that its speed cannot be measured here.")
    names = [name for name in _COMPARED if name != "int8" or (data is not None and _is_x86())]
    if machine == "avx2" and _has("avx512_bf16"):
        # TensorFlow asks the processor itself, and oneDNN then has no such product.
        names.remove("bfloat16")
    plans = {name: plan_for(task, name, data) for name in names}
    times, sizes = _times(task, data, plans, machine)
    metrics = {name: metrics_in(task, name, plans[name], data) for name in names} if data is not None else {}
    examples = 0 if data is None else sum(tf.nest.flatten(batch)[0].shape[0] for batch in data)
    measured = [
        Measured(
            precision=name,
            single=times[name][0],
            batch=times[name][1],
            megabytes=sizes[name],
            metrics=metrics.get(name, {}),
            lost=_lost(metrics["float32"], metrics[name]) if metrics else 0.0,
            kept=plans[name].kept if plans[name] else (),
            examples=examples,
        )
        for name in names
    ]
    allowed = [found for found in measured if found.precision == "float32" or found.lost <= max_loss]
    exact = measured[0]
    best = min(allowed, key=lambda found: found.single * found.batch)
    if best.single * best.batch > _WORTH**2 * exact.single * exact.batch:
        best = exact
    return best.precision, plans[best.precision], measured


def describe_choice(measured, precision, max_loss=0.005):
    """What `choose_precision` found, as lines of text; `max_loss` as it was given."""
    name = main_metric(measured[0].metrics) if measured[0].metrics else None
    rows = [["precision", "one text, ms", f"{BATCH} texts, ms", "MB", *([name] if name else [])]]
    for found in measured:
        shown = [found.precision, f"{found.single:.1f}", f"{found.batch:.0f}", f"{found.megabytes:.0f}"]
        rows.append([*shown, f"{found.metrics[name]:.4f}"] if name else shown)
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = []
    for first, *others in rows:
        cells = [cell.rjust(width) for cell, width in zip(others, widths[1:], strict=True)]
        lines.append("  ".join([first.ljust(widths[0]), *cells]))
    for found in measured:
        if found.kept:
            lines.append(f"{found.precision} keeps {len(found.kept)} projections in floats: {', '.join(found.kept)}")
    exact = measured[0]
    for found in measured[1:]:
        if found.lost > max_loss:
            lines.append(f"{found.precision} is left out: it loses {found.lost:.4f} of {name}, more than {max_loss:g}")
        elif found.single * found.batch > exact.single * exact.batch:
            lines.append(f"{found.precision} is slower than float32 here")
    known = {found.precision for found in measured}
    if name is None:
        lines.append("int8 is left out: it needs labelled examples")
    elif "int8" not in known:
        lines.append("int8 is left out: it needs an x86 processor")
    if "bfloat16" not in known:
        lines.append("bfloat16 is left out: this processor cannot be limited to AVX2 for it")
    if 0 < exact.examples * max_loss < 1:
        lines.append(f"The data have {exact.examples} examples, too few to see a loss of {max_loss:g}")
    return "\n".join([*lines, f"chosen: {precision}"])


def formed(task, data):
    """The data set as one of `(features, targets)`."""
    form = checked_form(task, data.element_spec)
    return data if form is None else data.map(tf.autograph.experimental.do_not_convert(form))


def _times(task, data, plans, machine):
    """`({precision: (single, batch)}, {precision: megabytes})`, milliseconds."""
    from kerasformer.serving.exporting import write_saved_model

    columns = {name: as_strings(values).tolist() for name, values in _texts(task, data).items()}
    count = len(next(iter(columns.values())))
    single = [{name: values[row : row + 1] for name, values in columns.items()} for row in range(min(count, _SINGLE))]
    with tempfile.TemporaryDirectory() as scratch:
        folders, sizes = {}, {}
        for name, plan in plans.items():
            folder = pathlib.Path(scratch) / name
            folder.mkdir()
            write_saved_model(task, folder, name, plan)
            folders[name] = folder
            sizes[name] = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file()) / 1e6
        environment = {} if machine is None else {"ONEDNN_MAX_CPU_ISA": MACHINES[machine]}
        found = measure(folders, [*single, columns], **environment)
    return {name: (sum(each[:-1]) / len(single), each[-1]) for name, each in found.items()}, sizes


def _texts(task, data):
    """The first columns of texts of the data, at most as many as are timed; else those of the warmup requests."""
    features = {} if data is None else next(iter(formed(task, data)))[0]
    if not isinstance(features, dict) or not set(task.feature_names) <= set(features):
        return task.warmup_inputs(BATCH)
    return {name: features[name].numpy()[:BATCH] for name in task.feature_names}


def metrics_in(task, precision, plan, data):
    """The metrics of the task's model in a precision, `{name: float}`; `plan` is of `plan_for`."""
    # A task of its own: what it traces must not stay with the user's.
    own = task.in_precision(precision) if precision == "bfloat16" else task.replace()
    with _int8(task.model, plan):
        return Trainer(own, keras.optimizers.SGD()).evaluate(data)


@contextlib.contextmanager
def _int8(model, plan):
    use_int8(model, plan)
    try:
        yield
    finally:
        use_int8(model, None)


def _lost(exact, found):
    name = main_metric(exact)
    if name == "perplexity":
        return found[name] / exact[name] - 1
    return (exact[name] - found[name]) / (100 if name in _POINTS else 1)


def main_metric(metrics):
    """The name of the metric that a precision must keep.

    Raises:
        InputError: the task has none of the known ones.
    """
    for name in _MAIN:
        if name in metrics:
            return name
    raise InputError(f"Precisions are compared by one of the metrics {list(_MAIN)}. Received: {list(metrics)}.")


def _is_x86():
    return platform.machine().lower() in ("x86_64", "amd64")


def _has(feature):
    try:
        return f" {feature} " in pathlib.Path("/proc/cpuinfo").read_text().replace("\n", " ")
    except OSError:
        return False
