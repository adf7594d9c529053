"""What leaving padding out brings when a task is served: its export beside the same model padded to its full length.

    python -m benchmarks.padding --task work/named_entities/task --data test.tsv.gz

Both take strings and give answers, with the same weights. Beside the times stands how many multiplications the padded
model makes for each one that the texts themselves need: what could be won at most.
"""

import copy
import dataclasses
import json
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Literal

import numpy as np
import tyro

from benchmarks.measure import interleave, markdown_table, surroundings, usable_cores, warn_if_busy
from benchmarks.worker import Worker, run_alone

SYSTEMS = ("packed", "padded")
DISTRIBUTIONS = ("kerasformer", "tensorflow", "keras")


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Throughput of a task's export without and with padding.

    Attributes:
        task: a folder that `task.save` wrote, as a recipe leaves it in WORKDIR/task.
        data: what the task is asked: a source of the form that its recipe reads.
        precision: of both exports.
        batch: texts a batch.
        batches_a_pass: batches of one pass, the same in every pass, drawn from all of the data.
        repetitions: passes that are counted; one more comes first.
        threads: of both; by default the cores that this process may use.
    """

    task: Annotated[Path, tyro.conf.arg(metavar="FOLDER")]
    data: Annotated[str, tyro.conf.arg(metavar="SOURCE")]
    precision: Literal["float32", "bfloat16"] = "bfloat16"
    batch: int = 32
    batches_a_pass: int = 3
    repetitions: int = 3
    threads: int = dataclasses.field(default_factory=usable_cores)


def main(arguments: Arguments) -> None:
    warn_if_busy()
    with tempfile.TemporaryDirectory() as scratch:
        folder = Path(scratch)
        run_alone(__name__, "prepare", dataclasses.asdict(arguments), folder)
        plan = json.loads((folder / "plan.json").read_text())
        workers = {name: Worker(__name__, "load", folder / name, arguments.threads) for name in SYSTEMS}
        passes = interleave(workers, plan["batches"], arguments.repetitions)
        for worker in workers.values():
            worker.close()
    rows = []
    for name in SYSTEMS:
        each = passes[name].totals(passes[name].calls)
        count = arguments.batch * len(plan["batches"])
        rows.append([name, *(f"{count / seconds:.1f}" for seconds in (min(each), statistics.median(each)))])
    faster = passes["padded"].times_of(passes["packed"])
    print(f"\n{plan['kind']}, batch {arguments.batch}, {arguments.precision}; {plan['lengths']}:\n")
    print(markdown_table(["", "texts a second, max", "median"], rows))
    print(f"\nfaster without padding:  {faster:.2f} times")
    print(f"multiplications saved:   {plan['saved']:.2f} times")
    print(f"of what could be won:    {faster / plan['saved']:.2f}")
    print(f"\n{surroundings(DISTRIBUTIONS, arguments.threads)}; {arguments.repetitions} repetitions in turn.")


def prepare(arguments: dict, folder: Path) -> None:
    """Writes both exports, and `plan.json`: the batches, and how many multiplications are saved on them."""
    import kerasformer as kf

    task = kf.load(arguments["task"])
    columns = read_columns(task, arguments["data"])
    count = arguments["batch"] * arguments["batches_a_pass"]
    chosen = np.random.default_rng(0).permutation(len(next(iter(columns.values()))))
    chosen = np.resize(chosen, count).reshape(arguments["batches_a_pass"], arguments["batch"])
    batches = [{name: [str(values[i]) for i in rows] for name, values in columns.items()} for rows in chosen]
    length = getattr(task, "window", task.tokenizer.max_length)
    lengths = np.concatenate([task.batch_inputs(batch)["padding_mask"].numpy().sum(1) for batch in batches])
    config = task.encoder.config
    plan = {
        "kind": type(task).__name__,
        "batches": batches,
        "saved": len(lengths) * multiplications(config, length) / multiplications(config, lengths).sum(),
        "lengths": f"{len(lengths)} rows of {lengths.mean():.0f} tokens in the mean, padded to {length}",
    }
    (folder / "plan.json").write_text(json.dumps(plan))
    kf.serving.export(task, folder / "packed", precision=arguments["precision"])
    kf.serving.export(padded(task, length), folder / "padded", precision=arguments["precision"])


def read_columns(task, source: str) -> dict:
    """The inputs of the task's `serving_default`, `{name: [N]}`."""
    import kerasformer as kf

    names = task.warmup_inputs(1)
    if "question" in names:
        data = kf.data.load_questions(source)
        return {"question": data.questions, "context": data.contexts}
    if isinstance(task, kf.tasks.Tagger):
        return {"text": kf.data.load_tagging(source).texts}
    if isinstance(task, kf.tasks.ExtractiveSummarizer):
        return {"text": [" ".join(sentences) for sentences in kf.data.load_documents(source).sentences]}
    data = kf.data.load_classification(source)
    return {"text": data.texts} | ({"text_pair": data.pairs} if "text_pair" in names else {})


def multiplications(config, lengths):
    """Of a block of a `ModelConfig` for rows of so many tokens: projections and feed-forward network, and attention."""
    width, inner = config.hidden_dim, config.blocks[0].feed_forward.intermediate_dim
    return lengths * (4.0 * width**2 + 2.0 * width * inner) + 2.0 * width * np.square(lengths, dtype=np.float64)


def padded(task, length: int):
    """The task with a model that computes every text at full length, as models do that are told of padding by the mask
    of their attention alone."""
    import keras
    import tensorflow as tf

    def call_without_layout(layer, *args, **kwargs):
        return layer(*args, **({**kwargs, "layout": None} if "layout" in kwargs else kwargs))

    def serving_functions(core):
        def at_full_length(inputs):
            given = tf.shape(inputs["token_ids"])[1]
            outputs = core({name: tf.pad(values, [[0, 0], [0, length - given]]) for name, values in inputs.items()})
            return {
                name: values[:, :given] if values.shape.rank > 1 and values.shape[1] is None else values
                for name, values in outputs.items()
            }

        return {"serving_default": task.serving_functions(at_full_length)["serving_default"]}

    changed = copy.copy(task)
    changed.model = keras.models.clone_model(task.model, call_function=call_without_layout)
    changed.model.set_weights(task.model.get_weights())
    changed.row_groups, changed.serving_functions = 1, serving_functions
    return changed


def load(folder: Path, threads: int) -> Callable[[dict], list]:
    """Opens an export as the server does: `{input: N texts}` to all of its outputs."""
    import tensorflow as tf

    from kerasformer.serving.session import open_session
    from kerasformer.serving.warmup import asked, read_warmup

    config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads)
    session, signatures = open_session(folder, config)
    signature = signatures["serving_default"]
    names = sorted(signature.inputs)
    outputs = [info.name for _, info in sorted(signature.outputs.items())]
    call = session.make_callable(outputs, [signature.inputs[name].name for name in names])

    def serve(columns):
        return call(*[np.array([text.encode() for text in columns[name]], object) for name in names])

    for _, name, inputs, filtered in map(asked, read_warmup(folder)):
        if name == "serving_default" and not filtered:
            serve({name: [text.decode() for text in texts] for name, texts in inputs.items()})
    return serve


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
