"""How often a bfloat16 export gives the label of the float32 one, on texts of one's own.

python -m benchmarks.agreement --task work/sentiment/task --texts tweets.jsonl.gz
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
    """Labels of the bfloat16 export against those of the float32 export.

    Attributes:
        task: folder of a saved TextClassifier, as recipes leave it in WORKDIR/task.
        texts: a file with a field "text", or one text a line.
        batch: texts a call.
    """

    task: Path
    texts: Annotated[Path, tyro.conf.arg(metavar="FILE")]
    batch: int = 64


def main(arguments: Arguments) -> None:
    task = kf.load(arguments.task)
    texts = list(kf.data.load_classification(arguments.texts).texts)
    labels, sizes = {}, {}
    with tempfile.TemporaryDirectory() as scratch:
        for precision in ("float32", "bfloat16"):
            folder = Path(scratch) / precision
            kf.serving.export(task, folder, precision=precision)
            sizes[precision] = sum(path.stat().st_size for path in folder.rglob("*") if path.is_file())
            serve = open_signature(folder, "text", "scores", usable_cores())
            chunks = [serve(texts[i : i + arguments.batch]) for i in range(0, len(texts), arguments.batch)]
            labels[precision] = np.concatenate(chunks).argmax(-1)
    equal = float((labels["float32"] == labels["bfloat16"]).mean())
    weights = sum(int(np.prod(weight.shape)) for weight in task.model.trainable_variables)
    print(f"{len(texts)} texts: {100 * equal:.2f} % equal labels")
    for precision, width in (("float32", 4), ("bfloat16", 2)):
        print(f"{precision}: {sizes[precision]:,} bytes, {sizes[precision] / (width * weights):.3f} of the weights")
    print(surroundings(("kerasformer", "tensorflow"), usable_cores()))


if __name__ == "__main__":
    with kf.errors.one_line_errors():
        main(tyro.cli(Arguments))
