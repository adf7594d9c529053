"""kerasformer's pretraining, in the shape of a peer."""

from pathlib import Path

import numpy as np

from benchmarks.optimizer import CLIP_NORM, EPSILON, LEARNING_RATE, WEIGHT_DECAY

PACKAGES = ("kerasformer",)


def load_training(folder: Path, size: str, threads: int, precision: str):
    """A callable that trains once on each of a list of batches and returns their mean loss.

    Args:
        folder: with `vocab.txt`.
        size: of the BERT, as published.
        precision: "float32" or "mixed_bfloat16".
    """
    import tensorflow as tf

    import kerasformer as kf

    tf.config.threading.set_intra_op_parallelism_threads(threads)
    tf.config.threading.set_inter_op_parallelism_threads(threads)
    tokenizer = kf.text.WordPieceTokenizer(folder / "vocab.txt", max_length=512)
    config = kf.models.BertConfig.named(size, vocabulary_size=tokenizer.vocabulary_size)
    task = kf.tasks.BertPretraining(kf.models.bert(config, pooled=True, dtype=precision), tokenizer)
    optimizer = kf.training.adamw(LEARNING_RATE, weight_decay=WEIGHT_DECAY, epsilon=EPSILON)
    trainer = kf.training.Trainer(task, optimizer, clip_norm=CLIP_NORM)

    def train(batches):
        def elements():
            for number, batch in enumerate(batches):
                rows = np.arange(len(batch["token_ids"]))
                seeds = np.stack([np.full(len(rows), number), rows], 1).astype(np.int32)
                features = {name: batch[name] for name in ("token_ids", "segment_ids", "padding_mask")}
                yield {**features, "seed": seeds}, {"is_random": batch["is_random"]}

        matrix, column = tf.TensorSpec([None, None], tf.int32), tf.TensorSpec([None], tf.int32)
        features = dict.fromkeys(("token_ids", "segment_ids", "padding_mask", "seed"), matrix)
        data = tf.data.Dataset.from_generator(elements, output_signature=(features, {"is_random": column}))
        data = data.apply(tf.data.experimental.assert_cardinality(len(batches)))
        return trainer.fit(data).history["loss"][0]

    return train
