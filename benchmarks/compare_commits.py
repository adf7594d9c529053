"""Answers and times of an older commit beside those of the working tree, in one run.

    python -m benchmarks.compare_commits --commit e8bb250                  # answers, then times
    python -m benchmarks.compare_commits --answers --tasks tag tag_crf     # answers of two tasks

The older commit is checked out into a temporary folder and draws every task with fixed seeds (`compare_old.py`). The
working tree makes the same tasks from their weights (`compare_new.py`). Both export them, and one loader, which imports
nothing but TensorFlow and tensorflow-text, asks both exports the same texts. Each tree and each export has a process of
its own. Measurements alternate between the two sides, and each pair of neighbors gives one ratio, new over old.

Texts come from the folder `$KF_DATA`, or from `recipes/samples`.
"""

import contextlib
import csv
import dataclasses
import gzip
import itertools
import json
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import zlib
from pathlib import Path
from typing import Annotated

import numpy as np
import tyro

from benchmarks.compare_worker import HERE, Worker, from_json
from benchmarks.measure import markdown_table, surroundings, usable_cores, warn_if_busy

TASKS = (
    "classify", "classify_pairs", "regress", "tag", "tag_crf", "answer", "summarize", "embed", "translate", "pretrain",
)  # fmt: skip
TIMES = (
    "serving 1",
    "serving 32",
    "serving 128",
    "wordpiece",
    "sentencepiece",
    "training",
    "decoding 1",
    "decoding 32",
)
SAMPLES = HERE.parent / "recipes" / "samples"
BATCH = 25  # texts of a call that is compared


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Compares an older commit with the working tree.

    Attributes:
        commit: the older side; `compare_old.py` is written for the API of 0.1.0.
        answers: compare answers only; without `answers` and `times`, both are done.
        times: compare times only.
        tasks: whose answers are compared.
        measure: which times are compared.
        texts: of each task.
        repetitions: ratios of each time.
        cache: folder where the older side's exports and answers stay for the next run.
        tiny: a small random BERT in place of MiniLM.
        threads: of every process.
    """

    commit: str = "e8bb250"
    answers: bool = False
    times: bool = False
    tasks: tuple[str, ...] = TASKS
    measure: tuple[str, ...] = TIMES
    texts: int = 200
    repetitions: int = 15
    cache: Annotated[Path, tyro.conf.arg(metavar="FOLDER")] = HERE.parent / "work" / "compare_commits"
    tiny: bool = False
    threads: int = dataclasses.field(default_factory=usable_cores)


def main(arguments: Arguments) -> None:
    unknown = [*(set(arguments.tasks) - set(TASKS)), *(set(arguments.measure) - set(TIMES))]
    if unknown:
        raise SystemExit(f"`--tasks` must be of: {' '.join(TASKS)}; `--measure` of: {', '.join(TIMES)}. "
                         f"Received: {', '.join(unknown)}.")  # fmt: skip
    everything = arguments.answers == arguments.times
    texts = read_texts(arguments.texts)
    commit = run_git("rev-parse", "--short=12", arguments.commit)
    # What the older side draws changes with its program.
    drawn = zlib.crc32((HERE / "compare_old.py").read_bytes())
    folder = arguments.cache.resolve() / f"{commit}-{drawn:08x}{'-tiny' if arguments.tiny else ''}"
    folder.mkdir(parents=True, exist_ok=True)
    # So that a run that is terminated removes its checkout as well.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    with contextlib.ExitStack() as stack:
        sides = Sides(stack, commit, folder, arguments.tiny, texts)
        alike = not (everything or arguments.answers) or compare_answers(sides, arguments, texts)
        if everything or arguments.times:
            warn_if_busy()
            compare_times(sides, arguments, texts)
    print(f"\n{surroundings(('tensorflow', 'keras'), arguments.threads)}; {commit} beside the working tree.")
    if not alike:
        raise SystemExit(1)


class Sides:
    """The processes of both trees, started when needed, and their exports.

    Attributes:
        folder: holds what the older side draws and exports, and what the working tree exports, anew in each run.
    """

    def __init__(self, stack, commit: str, folder: Path, tiny: bool, texts: dict):
        self.folder, self._stack, self._commit = folder, stack, commit
        self._tiny, self._texts, self._workers, self._exported = tiny, texts, {}, set()

    def worker(self, side: str) -> Worker:
        """The process of a tree, "old" or "new"."""
        if side not in self._workers:
            tree = HERE.parent if side == "new" else self._checkout()
            worker = self._workers[side] = Worker(f"compare_{side}.py", self.folder, tree=tree)
            self._stack.callback(worker.close)
            if not Path(worker.ask("where")).is_relative_to(tree):
                raise SystemExit(f"The {side} side imports another kerasformer: {worker.ask('where')}")
            if side == "old":
                worker.ask("draw_encoder", texts=self._texts["tweets"], tiny=self._tiny)
        return self._workers[side]

    def draw(self, name: str) -> None:
        """Lets the older side draw a task, unless an earlier run did."""
        if not (self.folder / name / "head.npz").is_file():
            source = "translation_training" if name == "translate" else "questions" if name == "answer" else "tweets"
            self.worker("old").ask("draw", name=name, texts=self._texts[source], pieces=1500)

    def export(self, side: str, name: str) -> Path:
        """The folder of an export, `TASK/old` or `TASK/new`."""
        self.draw(name)
        target = self.folder / name / side
        if (side, name) not in self._exported and not (side == "old" and (target / "saved_model.pb").is_file()):
            shutil.rmtree(target, ignore_errors=True)
            self.worker(side).ask("export", name=name, target=str(target))
        self._exported.add((side, name))
        return target

    def _checkout(self) -> Path:
        tree = Path(self._stack.enter_context(tempfile.TemporaryDirectory())).resolve() / "tree"
        run_git("worktree", "add", "--detach", str(tree), self._commit)
        self._stack.callback(run_git, "worktree", "remove", "--force", str(tree))
        return tree


def run_git(*command: str) -> str:
    done = subprocess.run(["git", *command], cwd=HERE, capture_output=True, text=True)
    if done.returncode:
        raise SystemExit(f"git {' '.join(command)}: {done.stderr.strip()}")
    return done.stdout.strip()


# ---- answers ----


def compare_answers(sides: Sides, arguments: Arguments, texts: dict) -> bool:
    """Prints one row a signature; returns whether all answers are equal, floats within 1e-5."""
    rows, alike = [], True
    renamed = None
    for name in arguments.tasks:
        paths = {side: sides.export(side, name) for side in ("old", "new")}
        renamed = renamed or sides.worker("new").ask("renamed_outputs")
        calls = questions(name, texts)
        answers = {side: ask_export(path, calls, arguments.threads, side == "old") for side, path in paths.items()}
        for signature, batches in calls.items():
            names = renamed.get(name, {}).get(signature, {})
            found = compare_signature(answers["old"][signature], answers["new"][signature], names)
            count = sum(len(next(iter(batch.values()))) for batch in batches)
            alike &= found["unequal"] == 0 and found["largest"] <= 1e-5
            rows.append([f"{name}: {signature}", f"{count}", f"{found['distinct']}", f"{found['unequal']}",
                         f"{found['largest']:.1e}"])  # fmt: skip
            print("  ".join(rows[-1]), file=sys.stderr)
    headers = ["signature", "texts", "different old answers", "unequal answers", "largest difference of floats"]
    print(markdown_table(headers, rows))
    return bool(alike)


def ask_export(folder: Path, calls: dict, threads: int, stored: bool) -> dict:
    """Answers of an export, `{signature: [outputs of a batch]}`; `stored` ones are kept beside it."""
    path = folder.parent / "answers.json"
    if stored and path.is_file():
        kept = json.loads(path.read_text())
        if kept["calls"] == calls:
            return kept["answers"]
    worker = Worker("compare_worker.py", threads)
    worker.ask("open", name="it", folder=str(folder))
    answers = {
        signature: [worker.ask("answer", name="it", signature=signature, columns=batch) for batch in batches]
        for signature, batches in calls.items()
    }
    worker.close()
    if stored:
        path.write_text(json.dumps({"calls": calls, "answers": answers}))
    return answers


def compare_signature(old: list, new: list, names: dict) -> dict:
    """Rows whose strings, integers or flags differ, the largest difference of floats (relative above 1), and how many
    different answers the old side gives, without their floats where there is something else."""
    unequal, largest, distinct = 0, 0.0, set()
    only_floats = all(value["dtype"].startswith("float") for value in old[0].values())
    for old_batch, new_batch in zip(old, new, strict=True):
        wrong = np.zeros(old_batch[next(iter(old_batch))]["shape"][0], bool)
        spelled = [[] for _ in wrong]
        for name, value in old_batch.items():
            if names.get(name, name) is None:
                continue
            expected, found = from_json(value), from_json(new_batch[names.get(name, name)])
            if only_floats or expected.dtype.kind != "f":
                for row, part in enumerate(expected.reshape(len(wrong), -1).tolist()):
                    spelled[row].append(part)
            if expected.shape != found.shape:
                wrong[:] = True
            elif expected.dtype.kind == "f":
                gap = np.abs(expected - found) / np.maximum(np.abs(expected), 1)
                largest = max(largest, float(np.max(gap, initial=0)))
                largest = largest if np.isfinite(found).all() else float("inf")
            else:
                wrong |= (expected != found).reshape(len(wrong), -1).any(1)
        unequal += int(wrong.sum())
        distinct |= {json.dumps(parts) for parts in spelled}
    return {"unequal": unequal, "largest": largest, "distinct": len(distinct)}


def questions(name: str, texts: dict) -> dict[str, list[dict]]:
    """What an export is asked: `{signature: [columns of a batch]}`."""

    def batches(**columns):
        count = len(next(iter(columns.values())))
        return [
            {key: values[start : start + BATCH] for key, values in columns.items()} for start in range(0, count, BATCH)
        ]

    tweets, pairs = texts["tweets"], {"text": texts["first"], "text_pair": texts["second"]}
    documents, sources = texts["documents"], batches(text=texts["sources"])
    masked = [" ".join(w if i % 7 != 3 else "[MASK]" for i, w in enumerate(text.split())) for text in tweets]
    return {
        "classify": lambda: {"serving_default": batches(text=tweets)},
        "classify_pairs": lambda: {"serving_default": batches(**pairs)},
        "regress": lambda: {"serving_default": batches(**pairs)},
        "tag": lambda: {"serving_default": batches(text=texts["sentences"])},
        "tag_crf": lambda: {"serving_default": batches(text=texts["sentences"])},
        "answer": lambda: {"serving_default": batches(question=texts["questions"], context=texts["contexts"])},
        "summarize": lambda: {
            "serving_default": batches(text=documents),
            "with_options": batches(text=documents, num_sentences=[1 + i % 4 for i in range(len(documents))]),
        },
        "embed": lambda: {"serving_default": batches(text=tweets)},
        "translate": lambda: {"serving_default": sources, "greedy": sources, "n_best": sources},
        "pretrain": lambda: {
            "fill_mask": batches(text=masked),
            "next_sentence": batches(text=texts["first"], next_text=texts["second"]),
        },
    }[name]()


# ---- times ----


def compare_times(sides: Sides, arguments: Arguments, texts: dict) -> None:
    """Prints, of each time, the ratios new over old."""
    rows = []
    for kind, wanted in itertools.groupby(arguments.measure, lambda name: name.split()[0]):
        wanted = list(wanted)
        for name, measure in measures(kind, wanted, sides, arguments, texts):
            seconds = alternate(measure, arguments.repetitions)
            ratios = seconds["new"] / seconds["old"]
            low, high = interval(ratios)
            rows.append([name, f"{1e3 * np.median(seconds['old']):.1f}", f"{1e3 * np.median(seconds['new']):.1f}",
                         f"{np.median(ratios):.3f}", f"{low:.3f} to {high:.3f}",
                         f"{seconds['new'].min() / seconds['old'].min():.3f}"])  # fmt: skip
            print("  ".join(rows[-1]), file=sys.stderr)
    print(markdown_table(["", "old ms", "new ms", "median ratio", "95 %", "ratio of minima"], rows))


def measures(kind: str, wanted: list[str], sides: Sides, arguments: Arguments, texts: dict):
    """`(name, function from a side to seconds)`, for as long as the processes that it takes are kept."""
    if kind in ("serving", "decoding"):
        task = "classify" if kind == "serving" else "translate"
        column = list(texts["tweets"] if kind == "serving" else texts["sources"])
        workers = {side: Worker("compare_worker.py", arguments.threads) for side in ("old", "new")}
        for side, worker in workers.items():
            worker.ask("open", name="it", folder=str(sides.export(side, task)))
            # The first calls as a warmup file has them: single texts, the longest first, then a batch.
            firsts = sorted(column[:8], key=len, reverse=True)
            batches = [{"text": [text]} for text in firsts] + [{"text": firsts}]
            worker.ask("time", name="it", signature="serving_default", batches=batches)
        for name in wanted:
            size = int(name.split()[1])
            endless = itertools.cycle(column)
            batches = [{"text": list(itertools.islice(endless, size))} for _ in range(max(1, 16 // size))]
            request = {"name": "it", "signature": "serving_default", "batches": batches}
            yield name, lambda side, request=request: workers[side].ask("time", **request)
        for worker in workers.values():
            worker.close()
        return
    task = "translate" if kind == "sentencepiece" else "classify"
    sides.draw(task)
    if kind == "training":
        column = list(itertools.islice(itertools.cycle(texts["tweets"]), 64))
        request = {"features": {"text": column}, "targets": [len(text) % 3 for text in column], "batch": 32}
        yield kind, lambda side: sides.worker(side).ask("train", name=task, **request)
    else:
        column = list(itertools.islice(itertools.cycle(texts["tweets" if task == "classify" else "sources"]), 32))
        request = {"texts": column, "calls": 20}
        yield kind, lambda side: sides.worker(side).ask("tokenize", name=task, **request)


def alternate(measure, repetitions: int) -> dict[str, np.ndarray]:
    """Seconds of each side, `[repetitions]`: old, new, new, old, old, new … after two of each that do not count."""
    seconds = {"old": [], "new": []}
    for repetition in range(-2, repetitions):
        for side in ("old", "new") if repetition % 2 else ("new", "old"):
            taken = measure(side)
            if repetition >= 0:
                seconds[side].append(taken)
    return {side: np.array(values) for side, values in seconds.items()}


def interval(values: np.ndarray, draws: int = 10_000) -> tuple[float, float]:
    """The 95 % bootstrap interval of the median."""
    drawn = np.random.default_rng(0).choice(values, (draws, len(values)))
    low, high = np.quantile(np.median(drawn, 1), [0.025, 0.975])
    return float(low), float(high)


# ---- texts ----


def read_texts(count: int) -> dict[str, list[str]]:
    """Columns of `count` texts, or fewer where there are no more."""
    data = os.environ.get("KF_DATA")
    root = Path(data) if data else SAMPLES

    def place(name, sample):
        return root / (name if data else sample)

    tweets = read_lines(place("tweeteval/sentiment/validation.jsonl.gz", "reviews/train.jsonl"))
    pairs = read_lines(place("glue/stsb/validation.jsonl.gz", "similarity/train.jsonl"))
    documents = read_lines(place("summarization/scitldr_a/validation.jsonl.gz", "summaries/train.jsonl"))
    translation = read_lines(place("translation/multi30k/train.jsonl.gz", "translation/train.jsonl"))
    sources = read_lines(place("translation/multi30k/validation.jsonl.gz", "translation/validation.jsonl"))
    questions = []
    files = ("qa/squad_v1.1/dev_shared_half.json.gz", "qa/nq_qed/dev.json.gz")
    for path in [root / name for name in files] if data else [root / "questions/train.json"]:
        questions.append([
            (question["question"], paragraph["context"])
            for article in json.loads(open_text(path).read())["data"]
            for paragraph in article["paragraphs"]
            for question in paragraph["qas"]
        ])  # fmt: skip
    # Spread over the file, so that not all are of one article, and of both files in turn.
    spread = [rows[:: max(1, len(rows) // count)] for rows in questions]
    questions = [row for rows in itertools.zip_longest(*spread) for row in rows if row][:count]
    columns = {
        "tweets": [row["text"] for row in tweets],
        "first": [row["text_a"] for row in pairs],
        "second": [row["text_b"] for row in pairs],
        "documents": [" ".join(row["sentences"]) if "sentences" in row else row["text"] for row in documents],
        "sources": [row["en"] for row in sources],
        "questions": [question for question, _ in questions],
        "contexts": [context for _, context in questions],
        "sentences": read_tagged(place("ner/ncbi_disease/test.tsv.gz", "entities/train.tsv")),
    }
    training = [row[language] for row in translation[:2000] for language in ("en", "de")]
    return {name: values[:count] for name, values in columns.items()} | {"translation_training": training}


def open_text(path: Path):
    return gzip.open(path, "rt", encoding="utf-8") if path.suffix == ".gz" else open(path, encoding="utf-8")


def read_lines(path: Path) -> list[dict]:
    with open_text(path) as file:
        return [json.loads(line) for line in file]


def read_tagged(path: Path) -> list[str]:
    """Sentences of a CoNLL file, words joined by spaces."""
    with open_text(path) as file:
        rows = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
        groups = itertools.groupby(rows, lambda row: bool(row))
        return [" ".join(row[0] for row in sentence) for is_sentence, sentence in groups if is_sentence]


if __name__ == "__main__":
    main(tyro.cli(Arguments, description=__doc__))
