"""How often a bfloat16 or an int8 export gives the label of the float32 one, on texts of one's own.

python -m benchmarks.agreement --task work/sentiment/task --texts tweets.jsonl.gz --typical train.jsonl.gz
"""

import dataclasses
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

import kerasformer as kf
from benchmarks.measure import surroundings, usable_cores
from benchmarks.saved_model import open_signature


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Labels of exports in fewer bits against those of the float32 export.

    Attributes:
        task: folder of a saved TextClassifier, as recipes leave it in WORKDIR/task.
        texts: a file with a field "text", or one text a line.
        typical: labelled examples, whose first 256 give the ranges of int8; None leaves int8 out.
        batch: texts a call.
    """

    task: Path
    texts: Annotated[Path, tyro.conf.arg(metavar="FILE")]
    typical: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    batch: int = 64


def main(arguments: Arguments) -> None:
    task = kf.load(arguments.task)
    texts = list(kf.data.load_classification(arguments.texts).texts)
    typical = None if arguments.typical is None else task.labelled_batches(str(arguments.typical))
    precisions = {"float32": 4, "bfloat16": 2} | ({} if typical is None else {"int8": 1})
    labels, sizes = {}, {}
    with tempfile.TemporaryDirectory() as scratch:
        for precision in precisions:
            folder = Path(scratch) / precision
            kf.serving.export(task, folder, precision=precision, data=typical)
            sizes[precision] = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            serve = open_signature(folder, "text", "scores", usable_cores())
            chunks = [serve(texts[i : i + arguments.batch]) for i in range(0, len(texts), arguments.batch)]
            labels[precision] = np.concatenate(chunks).argmax(-1)
    weights = sum(int(np.prod(weight.shape)) for weight in task.model.trainable_variables)
    for precision, width in precisions.items():
        equal = (labels["float32"] == labels[precision]).mean()
        share = sizes[precision] / (width * weights)
        print(f"{precision}: {equal:.2%} of {len(texts)} labels as in float32")
        print(f"    {sizes[precision]:,} bytes, {share:.3f} of the weights")
    print(surroundings(("kerasformer", "tensorflow"), usable_cores()))


if __name__ == "__main__":
    with kf.errors.one_line_errors():
        main(tyro.cli(Arguments))
