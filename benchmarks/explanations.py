"""Explanations of a classifier: do they add up, are they the same when served, and what do they cost?

python -m benchmarks.explanations work/sentiment/task --texts $KF_DATA/tweeteval/sentiment/test.jsonl.gz
"""

import argparse
import statistics
import tempfile
import time

import numpy as np

from benchmarks.measure import markdown_table

BATCH, STEPS = 32, 16
METHOD = "integrated_gradients"  # whose attributions add up


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", help="of a saved task")
    parser.add_argument("--texts", required=True, metavar="F", help="records with a field `text`")
    parser.add_argument("--count", type=int, default=1000, help="of texts, evenly from the file, default %(default)s")
    parser.add_argument("--batches", type=int, default=5, help="of 32 texts that are timed, default %(default)s")
    parser.add_argument("--parts", nargs="+", default=["gaps", "served", "cost"], help="default: %(default)s")
    arguments = parser.parse_args()

    import kerasformer as kf

    task = kf.load(arguments.folder)
    texts = [record["text"] for record, _ in kf.data.read_records(arguments.texts)]
    texts = texts[:: max(len(texts) // arguments.count, 1)][: arguments.count]
    rows = []
    explanations = kf.explain.explain(task, texts, METHOD) if {"gaps", "served"} & set(arguments.parts) else []
    if "gaps" in arguments.parts:
        rows += gaps(task, texts, explanations)
    if "served" in arguments.parts:
        rows += served(task, texts, explanations)
    if "cost" in arguments.parts:
        rows += cost(task, texts, arguments.batches)
    print(markdown_table(["", "found", "limit"], rows))


def gaps(task, texts, explanations):
    """Completeness: against the difference of logits that the model itself has."""
    import tensorflow as tf

    from kerasformer.explain.classification import classifier_score
    from kerasformer.explain.vectors import model_functions
    from kerasformer.explain.words import read_words

    functions, score = model_functions(task.serving_model("float32"), classifier_score(task)), classifier_score(task)
    fine = []
    for first in range(0, len(texts), BATCH):
        chosen = explanations[first : first + BATCH]
        words = read_words(task.tokenizer, tf.constant(texts[first : first + BATCH]), tweets=task.normalize_tweets)
        inputs = task.model_inputs(words.inputs)
        target = tf.constant([task.label_names.index(one.label) for one in chosen])
        empty = {**inputs, "token_ids": tf.where(words.is_word, task.tokenizer.padding_id, inputs["token_ids"])}
        difference = score(functions.outputs(inputs), target) - score(functions.outputs(empty), target)
        gap = np.abs([one.attributions.sum() for one in chosen] - difference.numpy())
        fine += (gap <= np.maximum(0.01 * np.abs(difference), 0.01)).tolist()
    return [[f"complete, of {len(fine)} texts", f"{np.mean(fine):.1%}", "95 %"]]


def served(task, texts, explanations):
    """The export's signature against Python."""
    import tensorflow as tf

    import kerasformer as kf

    largest, cut = 0.0, True
    with tempfile.TemporaryDirectory() as folder:
        version = kf.publish(task, f"{folder}/model", explain=METHOD)
        explain = tf.saved_model.load(str(version)).signatures["explain"]
        for first in range(0, len(texts), BATCH):
            found = {key: value.numpy() for key, value in explain(tf.constant(texts[first : first + BATCH])).items()}
            for row, one in enumerate(explanations[first : first + BATCH]):
                count = len(one.words)
                values, data = found["attributions"][row], one.text.encode()
                largest = max(largest, np.abs(values[:count] - one.attributions).max(initial=0.0))
                spans = zip(found["word_starts"][row][:count], found["word_ends"][row][:count], strict=True)
                cut &= [data[start:end] for start, end in spans] == list(found["words"][row][:count])
                cut &= not values[count:].any() and (found["word_starts"][row][count:] == -1).all()
    return [
        [f"served against Python, {len(texts)} texts, largest difference", f"{largest:.1e}", "1e-4"],
        ["words are what the offsets cut", "all" if cut else "not all", "all"],
    ]


def cost(task, texts, batches):
    """Times of a batch of 32 texts, each as a multiple of the plain answer's, interleaved."""
    import kerasformer as kf

    # An answer in float32, as explanations are computed.
    plain = task.replace()
    plain.model = task.serving_model("float32")
    methods = {
        "gradient_x_input": (kf.explain.Explainer(task, "gradient_x_input"), 4.0),
        f"integrated_gradients, {STEPS} steps": (kf.explain.Explainer(task, "integrated_gradients", steps=STEPS), 55.0),
        "integrated_gradients": (kf.explain.Explainer(task, "integrated_gradients"), None),
        "occlusion": (kf.explain.Explainer(task, "occlusion"), None),
    }
    calls = {"plain": plain.predict} | {name: explainer for name, (explainer, _) in methods.items()}
    seconds = {name: [] for name in calls}
    words = []
    for first in range(0, BATCH * (batches + 1), BATCH):
        batch = texts[first : first + BATCH]
        for name, call in calls.items():
            began = time.perf_counter()
            found = call(batch)
            seconds[name].append(time.perf_counter() - began)
        words.append(sum(len(one.words) for one in found) / len(batch))
    # The first batch pays for tracing.
    median = {name: statistics.median(times[1:]) for name, times in seconds.items()}
    rows = [[f"plain answer, {BATCH} texts", f"{1e3 * median['plain']:.0f} ms", ""]]
    for name, (_, limit) in methods.items():
        rows.append(
            [f"{name}, times that", f"{median[name] / median['plain']:.1f}", "" if limit is None else f"{limit:.0f}"]
        )
    ratios = [o / p / w for o, p, w in zip(seconds["occlusion"], seconds["plain"], words, strict=True)]
    rows.append(["occlusion, times that and the words of a text", f"{statistics.median(ratios[1:]):.2f}", "1.15"])
    return rows


if __name__ == "__main__":
    main()
