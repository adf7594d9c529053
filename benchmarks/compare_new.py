"""The working tree's side of `compare_commits.py`: the one file that changes when the API does.

It makes the tasks that `compare_old.py` wrote, from the form described there, and exports them.
"""

import json
import sys
from pathlib import Path

import numpy as np
from compare_worker import serve_tree

import kerasformer as kf

# Outputs whose names changed: {task: {signature: {old name: new name}}}. `None` in place of a new name: left out.
RENAMED_OUTPUTS = {}


def build(folder, name, filled=True):
    """The task in `folder/name`."""
    folder = Path(folder)
    settings = json.loads((folder / name / "settings.json").read_text())
    # Names of settings that changed since.
    settings |= {"pooling": "first"} if settings.get("pooling") == "cls" else {}
    if "inner_width" in settings:
        settings["intermediate_dim"] = settings.pop("inner_width")
    kind = getattr(kf.tasks, settings.pop("class"))
    if name == "translate":
        config = settings.pop("config")
        config["max_sequence_length"] = config.pop("max_length")
        tokenizer = kf.text.SentencePieceTokenizer(
            folder / name / "sentencepiece.model", max_length=config["max_sequence_length"]
        )
        task = kind(kf.models.transformer(kf.models.TransformerConfig.named(config.pop("size"), **config)), tokenizer,
                    **settings)  # fmt: skip
    else:
        task = kind(*kf.families.load_encoder(folder / "encoder"), **settings)
    if filled:
        head = np.load(folder / name / "head.npz")
        for weight in own_weights(task):
            weight.assign(head[old_path(weight.path)])
    return task


def old_path(path):
    """What 0.1.0 called a weight: head.npz has those names."""
    if path.startswith("decoder_block_"):
        path = path.replace("/cross_attention", "/memory_attention")
        path = path.replace("/attention/", "/self_attention/").replace("/attention_norm/", "/self_attention_norm/")
    return path.replace("spans/", "spans/dense/")


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
    serve_tree(sys.modules["__main__"], sys.argv[1], {"renamed_outputs": lambda: RENAMED_OUTPUTS})
