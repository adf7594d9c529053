"""A translator with and without its vocabulary map beside CTranslate2 with the same weights and the same map: sentences
a second, measured in turn, and BLEU.

    python recipes/translate.py ... --vocabulary-map 50
    python -m benchmarks.vocabulary_map --task work/translate/task --test test.jsonl.gz --validation valid.jsonl.gz

Ours goes from text to text, through the export's signature; CTranslate2 gets token ids and gives token ids. Both search
with the task's number of beams and its length penalty, which CTranslate2 applies to the length itself.
"""

import dataclasses
import json
import statistics
import tempfile
from collections.abc import Callable
from pathlib import Path

import numpy as np
import tyro

from benchmarks.measure import (
    PRECISIONS,
    Precision,
    interleave,
    markdown_table,
    surroundings,
    usable_cores,
    warn_if_busy,
)
from benchmarks.translator import read_pieces, write_weights
from benchmarks.worker import Worker, missing_for, run_alone

_OURS, _CTRANSLATE2 = "benchmarks.vocabulary_map", "benchmarks.peers.ctranslate2"
PACKAGES = ("kerasformer",)
DISTRIBUTIONS = ("kerasformer", "tensorflow", "ctranslate2", "sacrebleu")


@dataclasses.dataclass(frozen=True)
class Arguments:
    """What to translate, and with what.

    Attributes:
        task: folder of a saved Translator with a vocabulary map.
        test, validation: sources of pairs; the latter shows int8 the ranges of its values.
        source, target: languages, as the fields are named.
        batch: sentences a call, in the order of the source.
        precision: of ours.
        repetitions: passes that are counted; one more comes first.
        seconds_limit: a pass that takes longer is cut there.
        threads: of every system; by default the cores that this process may use.
        folder: where the exports are kept, and taken from where they are there.
    """

    task: Path
    test: str
    validation: str
    source: str = "en"
    target: str = "de"
    batch: int = 32
    precision: tuple[Precision, ...] = PRECISIONS
    repetitions: int = 5
    seconds_limit: float = 5.0
    threads: int = dataclasses.field(default_factory=usable_cores)
    folder: Path | None = None


def main(arguments: Arguments) -> None:
    import kerasformer as kf

    warn_if_busy()
    test, validation = (
        kf.data.load_translation(source, arguments.source, arguments.target)
        for source in (arguments.test, arguments.validation)
    )
    with tempfile.TemporaryDirectory() as scratch:
        folder = arguments.folder or Path(scratch)
        if not (folder / "weights.npz").is_file():
            run_alone(_OURS, "prepare", arguments.task, folder, list(test.texts), validation, arguments.precision)
        systems = {f"kerasformer {name}": (_OURS, name) for name in arguments.precision}
        if not missing_for(_CTRANSLATE2):
            systems |= {f"CTranslate2 {name}": (_CTRANSLATE2, name) for name in ("float32", "int8")}
        workers = {
            (title, has_map): Worker(module, "load_trained", folder, arguments.threads, name, has_map)
            for title, (module, name) in systems.items()
            for has_map in (False, True)
        }
        report(arguments, folder, workers, list(test.pairs))
        for worker in workers.values():
            worker.close()
    print(f"\n{surroundings(DISTRIBUTIONS, arguments.threads)}; {arguments.repetitions} repetitions in turn.")


def report(arguments: Arguments, folder: Path, workers: dict[tuple[str, bool], Worker], references: list[str]) -> None:
    """Prints one table: without and with the map across, systems down."""
    from sacrebleu.metrics import BLEU

    places = np.arange(len(references))
    calls = [places[start : start + arguments.batch] for start in range(0, len(places), arguments.batch)]
    passes = interleave(workers, calls, arguments.repetitions, arguments.seconds_limit)
    cells = {}
    for key, worker in workers.items():
        found = [text for call in calls for text in worker(call)]
        texts = found if isinstance(found[0], str) else [text.decode() for text in read_pieces(folder, found)]
        score = BLEU(lowercase=True).corpus_score(texts, [references]).score
        rates = [sum(map(len, calls[: passes[key].calls])) / total for total in passes[key].totals(passes[key].calls)]
        cells[key] = [f"{max(rates):.0f} / {statistics.median(rates):.0f}", f"{score:.2f}"]
    rows = [
        [name, *cells[name, False], *cells[name, True], f"{passes[name, False].times_of(passes[name, True]):.2f}"]
        for name in dict.fromkeys(name for name, _ in workers)
    ]
    headers = [f"batch {arguments.batch}", "sentences/s", "BLEU", "with the map: sentences/s", "BLEU", "gain"]
    print(f"\nBest / median:\n\n{markdown_table(headers, rows)}")


def prepare(saved: Path, folder: Path, texts: list[str], validation, precisions: tuple[Precision, ...]) -> None:
    """Writes `float32`, `float32-map` and so on, exports, and what the peer reads."""
    import kerasformer as kf

    folder.mkdir(parents=True, exist_ok=True)
    task = kf.load(saved)
    if task.vocabulary_map is None:
        raise SystemExit(f"{saved} has no vocabulary map: train it with --vocabulary-map.")
    data = kf.data.batches(validation, 32)
    for precision in precisions:
        for ending, vocabulary_map in (("", None), ("-map", task.vocabulary_map)):
            made = task.with_vocabulary_map(vocabulary_map)
            kf.serving.export(made, folder / f"{precision}{ending}", precision=precision, data=data)
    # The peer knows tokens by their ids.
    names = {piece: str(token) for token, piece in enumerate(task.tokenizer.vocabulary)}
    always, pieces = task.vocabulary_map.always, task.vocabulary_map.pieces
    of_ids = {names[source]: tuple(names[piece] for piece in found) for source, found in pieces.items()}
    kf.tasks.VocabularyMap(tuple(names[piece] for piece in always), of_ids).save(folder / "vmap.txt")
    settings = {name: getattr(task, name) for name in ("beam_size", "length_penalty")}
    settings["epsilon"] = task.transformer.config.decoder.blocks[0].norm.epsilon
    settings["sources"] = [[*row, task.tokenizer.end_id] for row in task.tokenizer.tokenize(texts).to_list()]
    (folder / "settings.json").write_text(json.dumps(settings))
    (folder / "sources.txt").write_text("\n".join(texts), encoding="utf-8")
    task.tokenizer.save(folder)
    write_weights(task.transformer, folder)


def load_trained(folder: Path, threads: int, precision: str, has_map: bool) -> Callable[[np.ndarray], list[str]]:
    """Opens an export as TensorFlow Serving does: from places of N sources to their translations."""
    from benchmarks.saved_model import open_signature

    run = open_signature(folder / f"{precision}{'-map' * has_map}", "text", "translation", threads)
    texts = (folder / "sources.txt").read_text(encoding="utf-8").split("\n")
    return lambda places: [text.decode() for text in run([texts[place] for place in places])]


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
