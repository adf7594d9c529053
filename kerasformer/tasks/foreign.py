"""Tasks of other people's checkpoints: from the kind of a head to one of our tasks."""

import numpy as np

from kerasformer.errors import InputError
from kerasformer.families.sentence_transformers import is_cross_encoder, score_activation
from kerasformer.tasks.tag_sequences import TagScheme
from kerasformer.tasks.task import registered_tasks


def task_of(checkpoint, tokenizer, settings, task=None):
    """The task of a checkpoint, with its weights.

    Args:
        checkpoint: a `families.Checkpoint`, or what has its attributes.
        tokenizer: its tokenizer.
        settings: of the task, in place of those that the checkpoint says.
        task: class name of a task that the head can be used for, in place of the usual one.

    Raises:
        InputError: the checkpoint has no head that is known, or none for this task.
    """
    if task == "ZeroShotClassifier" and checkpoint.kind == "sequence_classification":
        return _filled(task, checkpoint, tokenizer, {"label_names": tuple(checkpoint.labels)} | settings, pooled=True)
    make = {
        "sequence_classification": _classifier,
        "token_classification": _tagger,
        "question_answering": _answerer,
        "masked_lm": _masked,
        "pretraining": _pretraining,
    }.get(checkpoint.kind)
    if make is None:
        raise InputError(
            f"{checkpoint.folder} holds {checkpoint.architecture or 'a model'} without a head that is a task. "
            'Its vectors are those of `kf.load(folder, task="TextEmbedder")`; for other tasks, give the encoder of '
            "`kf.load_encoder` to a task of `kf.tasks`."
        )
    made = make(checkpoint, tokenizer, settings)
    if task not in (None, type(made).__name__):
        raise InputError(f"The head in {checkpoint.folder} is of a {type(made).__name__}. Received: task={task!r}.")
    return made


def _classifier(checkpoint, tokenizer, settings):
    labels, problem = checkpoint.labels, checkpoint.problem_type
    if problem == "regression" and len(labels) > 1:
        raise InputError(
            f"{checkpoint.folder} is a regression with {len(labels)} outputs. One output can be read; take the encoder "
            "with `kf.load_encoder`."
        )
    own = {
        "label_names": None if problem == "regression" else tuple(labels),
        "multi_label": problem == "multi_label_classification",
        "pairs": is_cross_encoder(checkpoint.settings),
        "activation": score_activation(checkpoint.settings) if problem == "regression" else "linear",
        "dropout": checkpoint.head_dropout,
    }
    return _filled("TextClassifier", checkpoint, tokenizer, own | settings, pooled=True)


def _tagger(checkpoint, tokenizer, settings):
    labels = checkpoint.labels
    types = TagScheme(labels).entity_types
    own, is_bio = {"dropout": checkpoint.head_dropout}, sorted(TagScheme.bio(types).labels) == sorted(labels)
    own |= {"entity_types": types} if is_bio else {"labels": tuple(labels)}
    task = _filled("Tagger", checkpoint, tokenizer, own | settings)
    if not is_bio:
        return task
    # Their order of the labels to ours.
    order = np.array([labels.index(label) for label in task.tag_names])
    dense = task.head.output
    dense.kernel.assign(dense.kernel.numpy()[:, order])
    dense.bias.assign(dense.bias.numpy()[order])
    return task


def _answerer(checkpoint, tokenizer, settings):
    return _filled("QuestionAnswerer", checkpoint, tokenizer, settings)


def _masked(checkpoint, tokenizer, settings):
    return _filled("MaskedLanguageModel", checkpoint, tokenizer, settings)


def _pretraining(checkpoint, tokenizer, settings):
    return _filled("BertPretraining", checkpoint, tokenizer, settings, pooled=True)


def _filled(name, checkpoint, tokenizer, settings, pooled=False):
    task = registered_tasks()[name](checkpoint.backbone(pooled=pooled), tokenizer, **settings)
    checkpoint.assign(task.encoder, task.head)
    task.checkpoint_was_read()
    return task
