"""The older tree's side of `compare_commits.py`, in the API of kerasformer 0.1.0 (commit e8bb250).

It draws the tasks, writes them in a form that no API changes, and exports them. The form is a folder:

    encoder/                      the encoder and its tokenizer, as Hugging Face Transformers reads them
    TASK/settings.json            the class and the arguments of its constructor
    TASK/head.npz                 weights beside the encoder's, by the paths that Keras gives them in this tree
    translate/sentencepiece.model and all of the translator's weights in its head.npz
"""

import json
import sys
from pathlib import Path

import keras
import numpy as np
from compare_worker import serve_tree

import kerasformer as kf

LABELS = ["negative", "neutral", "positive"]
SETTINGS = {
    "classify": {"class": "TextClassifier", "label_names": LABELS, "pooling": "mean"},
    "classify_pairs": {"class": "TextClassifier", "label_names": LABELS[:2], "pairs": True},
    "regress": {"class": "TextClassifier", "label_names": None, "pairs": True, "pooling": "mean"},
    "tag": {"class": "Tagger", "entity_types": ["Disease", "Gene"]},
    "tag_crf": {"class": "Tagger", "entity_types": ["Disease", "Gene"], "crf": True},
    "answer": {"class": "QuestionAnswerer"},
    "summarize": {"class": "ExtractiveSummarizer", "pooling": "mean"},
    "embed": {"class": "TextEmbedder"},
    "translate": {"class": "Translator", "beam_size": 4, "max_length": 48},
    "pretrain": {"class": "BertPretraining"},
}
# Deviation of the logits over texts, or over tokens: answers vary and no probability is 1.
SPREAD = 2.0


# ---- drawing ----


def draw_encoder(folder, texts, tiny):
    """MiniLM where its package is installed, else (or if `tiny`) a small BERT with random weights."""
    folder = Path(folder)
    if (folder / "encoder").is_dir():
        return
    keras.utils.set_random_seed(0)
    minilm = None if tiny else kf.interop.minilm_folder()
    if minilm is None:
        encoder, tokenizer = kf.interop.random_encoder(texts, "mini", vocabulary_size=2000)
        disturb(encoder.weights, 0.1)
    else:
        encoder, tokenizer = kf.interop.load_huggingface(minilm)
    kf.interop.save_huggingface(encoder, tokenizer, folder / "encoder")


def draw(folder, name, texts, pieces):
    """Writes `settings.json` and `head.npz` of a task, and for a translator its pieces, learned from the texts."""
    target = Path(folder) / name
    target.mkdir(parents=True, exist_ok=True)
    keras.utils.set_random_seed(0)
    settings = dict(SETTINGS[name])
    if name == "translate":
        model = kf.text.learn_sentencepiece(texts, pieces, kind="bpe", at_most=True)
        (target / "sentencepiece.model").write_bytes(model)
        settings["config"] = {"size": "tiny", "vocabulary_size": pieces, "max_length": settings.pop("max_length")}
    (target / "settings.json").write_text(json.dumps(settings, indent=2))
    task = build(folder, name, filled=False)
    if name == "translate":
        disturb(task.transformer.weights, 0.15)
    else:
        draw_head(task, name, texts)
    np.savez(target / "head.npz", **{weight.path: keras.ops.convert_to_numpy(weight) for weight in own_weights(task)})


def draw_head(task, name, texts):
    random = np.random.default_rng(sum(name.encode()))
    inputs = task.tokenizer(texts)
    outputs = task.encoder(inputs, training=False)
    real = inputs["padding_mask"].numpy() > 0
    rows = outputs["sequence_output"].numpy()
    tokens = rows[real]
    means = np.array([row[mask].mean(0) for row, mask in zip(rows, real, strict=True)])
    pooled = outputs["pooled_output"].numpy() if "pooled_output" in outputs else None
    weights = {weight.path: weight for weight in own_weights(task)}

    def spread(layer, features):
        kernel, bias = weights[f"{layer}/kernel"], weights[f"{layer}/bias"]
        drawn = random.normal(size=kernel.shape) / np.sqrt(kernel.shape[0])
        logits = features @ drawn
        scale = SPREAD / logits.std(0)
        kernel.assign(drawn * scale)
        bias.assign(-logits.mean(0) * scale)

    if name.startswith(("classify", "regress")):
        spread("classifier", means if task.pooling == "mean" else pooled)
    elif name.startswith("tag"):
        spread("tagger", tokens)
        for path in set(weights) - {"tagger/kernel", "tagger/bias"}:
            weights[path].assign(random.normal(size=weights[path].shape))
    elif name == "answer":
        spread("spans/dense", tokens)
    elif name == "summarize":
        kernel = weights["inter_sentence_encoder/classifier/kernel"]
        kernel.assign(random.normal(size=kernel.shape) * SPREAD / np.sqrt(kernel.shape[0]))
    elif name == "pretrain":
        spread("next_sentence", pooled)
        heads = task.heads()
        width = heads["transform.kernel"].shape[0]
        heads["transform.kernel"] = random.normal(size=(width, width)) / np.sqrt(width)
        heads["bias"] = random.normal(size=heads["bias"].shape)
        task.assign_heads(heads)


def disturb(weights, deviation):
    random = np.random.default_rng(1)
    for weight in weights:
        if weight.dtype == "float32":
            weight.assign_add(random.normal(0, deviation, weight.shape))


# ---- the adapter ----


def build(folder, name, filled=True):
    """The task in `folder/name`."""
    folder = Path(folder)
    settings = json.loads((folder / name / "settings.json").read_text())
    kind = getattr(kf.tasks, settings.pop("class"))
    if name == "translate":
        config = settings.pop("config")
        tokenizer = kf.text.SentencePieceTokenizer(
            folder / name / "sentencepiece.model", max_length=config["max_length"]
        )
        task = kind(kf.models.transformer(kf.models.TransformerConfig.named(config.pop("size"), **config)), tokenizer,
                    **settings)  # fmt: skip
    else:
        task = kind(*kf.interop.load_huggingface(folder / "encoder"), **settings)
    if filled:
        head = np.load(folder / name / "head.npz")
        for weight in own_weights(task):
            weight.assign(head[weight.path])
    return task


def own_weights(task):
    """Weights that the encoder does not have."""
    if isinstance(task, kf.tasks.Translator):
        return task.transformer.weights
    encoder = {id(weight) for weight in task.encoder.weights}
    return [weight for weight in task.model.weights if id(weight) not in encoder]


def export(task, folder):
    """Writes a SavedModel with weights in float32."""
    kf.serving.export(task, folder)


def trainer_of(task):
    """An object whose `fit(dataset)` trains for one epoch."""
    return kf.training.Trainer(task, kf.training.adamw(1e-4, weight_decay=0.01), clip_norm=1.0)


if __name__ == "__main__":
    FOLDER = sys.argv[1]
    adapter = sys.modules["__main__"]
    serve_tree(
        adapter,
        FOLDER,
        {
            "draw_encoder": lambda **arguments: draw_encoder(FOLDER, **arguments),
            "draw": lambda **arguments: draw(FOLDER, **arguments),
        },
    )
