"""Do explanations name the words that people would? SST-2's phrases, each labelled by people, say which these are.

python -m benchmarks.plausibility $KF_DATA/glue/sst2/train.jsonl.gz --write work/phrases
python recipes/sentiment.py --train work/phrases/train.jsonl --validation $KF_DATA/glue/sst2/validation.jsonl.gz \
    --workdir work/phrases
python -m benchmarks.plausibility $KF_DATA/glue/sst2/train.jsonl.gz --task work/phrases/task

The marks of a sentence are its phrases with the sentence's own label that have no smaller one of them inside:
"good" in "a good film", but all of "not good" in "not good at all". The first command holds the sentences and all their
phrases out of the training data.
"""

import argparse
import json
from pathlib import Path

import numpy as np

from benchmarks.measure import markdown_table

# Words of a sentence: shorter ones are often parts of others.
FEWEST = 12


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("phrases", help="records with `text`, words between spaces, and `label`")
    parser.add_argument("--count", type=int, default=500, help="of sentences, default %(default)s")
    parser.add_argument("--write", metavar="FOLDER", help="writes train.jsonl, what is left to train on")
    parser.add_argument("--task", metavar="FOLDER", help="of a saved task, which was trained on that")
    arguments = parser.parse_args()

    import kerasformer as kf

    labels = {tuple(record["text"].split()): record["label"] for record, _ in kf.data.read_records(arguments.phrases)}
    sentences = held_out(labels, arguments.count)
    if arguments.write:
        away = {part for sentence in sentences for part in [sentence, *map(sentence.__getitem__, parts(sentence))]}
        folder = Path(arguments.write)
        folder.mkdir(parents=True, exist_ok=True)
        left = [(phrase, label) for phrase, label in labels.items() if phrase not in away]
        with open(folder / "train.jsonl", "w", encoding="utf-8") as file:
            for phrase, label in left:
                file.write(json.dumps({"text": " ".join(phrase), "label": label}) + "\n")
        print(f"{len(left):,} of {len(labels):,} phrases are left to train on.")
    if arguments.task:
        print(markdown_table(["method", "AUPRC", "token F1"], measured(arguments.task, sentences, labels)))


def parts(sentence):
    """Slices of all its phrases but itself."""
    count = len(sentence)
    slices = [slice(first, last) for first in range(count) for last in range(first + 1, count + 1)]
    return [part for part in slices if part != slice(0, count)]


def held_out(labels, count):
    """Whole sentences: long phrases that are no part of another, a random sample."""
    inside = {part for phrase in labels for part in map(phrase.__getitem__, parts(phrase)) if part in labels}
    whole = [phrase for phrase in labels if len(phrase) >= FEWEST and phrase not in inside]
    order = np.random.default_rng(0).permutation(len(whole))[:count]
    return [whole[place] for place in np.sort(order)]


def marked(sentence, labels):
    """`(start, end)` in bytes of the smallest phrases that have the sentence's label."""
    same = [part for part in parts(sentence) if labels.get(sentence[part]) == labels[sentence]]
    same = [
        part
        for part in same
        if not any(part.start <= other.start and other.stop <= part.stop and other != part for other in same)
    ]
    ends = np.cumsum([len(word.encode()) + 1 for word in sentence]) - 1
    starts = [0, *(ends[:-1] + 1)]
    return [(int(starts[part.start]), int(ends[part.stop - 1])) for part in same]


def measured(folder, sentences, labels):
    import kerasformer as kf

    task = kf.load(folder)
    texts, spans = [" ".join(sentence) for sentence in sentences], [marked(each, labels) for each in sentences]
    answers = task.predict(texts)["label"]
    given = [task.label_names[labels[sentence]] for sentence in sentences]
    rights = [row for row, (one, other) in enumerate(zip(answers, given, strict=True)) if one == other]
    print(f"{len(rights)} of {len(texts)} answers are right; the others are left out.")
    rows = []
    for method in kf.explain.METHODS:
        explanations = kf.explain.explain(task, [texts[row] for row in rights], method)
        found = kf.explain.plausibility(explanations, [spans[row] for row in rights])
        rows.append([method, *(str(found[name]) for name in ("auprc", "token_f1"))])
    return sorted(rows, key=lambda row: row[1], reverse=True)


if __name__ == "__main__":
    main()
