"""A Transformer learns to copy, from scratch."""

import keras
import numpy as np
import tensorflow as tf

import kerasformer as kf

START, END, SYMBOLS = 1, 2, 12  # symbols are 3 to 14


def sequences(random, count, shortest=10, longest=40):
    lengths = random.integers(shortest, longest + 1, count)
    mask = np.arange(longest + 1) <= lengths[:, None]
    ids = np.where(mask, random.integers(3, 3 + SYMBOLS, mask.shape), 0)
    ids[np.arange(count), lengths] = END
    return ids.astype(np.int32), mask.astype(np.int32)


def test_copying_sequences_of_10_to_40():
    keras.utils.set_random_seed(0)
    config = kf.models.TransformerConfig(
        vocabulary_size=3 + SYMBOLS,
        hidden_dim=64,
        num_encoder_layers=1,
        num_decoder_layers=2,
        num_heads=4,
        intermediate_dim=128,
        dropout=0.0,
        norm_first=True,
    )
    model = kf.models.transformer(config)
    random = np.random.default_rng(0)

    def batch(ids, mask):
        shifted = np.pad(ids[:, :-1], [(0, 0), (1, 0)], constant_values=START)
        inputs = {"source_token_ids": ids, "target_token_ids": shifted}
        return {**inputs, "source_padding_mask": mask, "target_padding_mask": mask}, {"ids": ids, "mask": mask}

    def loss(targets, outputs):
        losses = tf.nn.sparse_softmax_cross_entropy_with_logits(targets["ids"], outputs["logits"])
        weights = tf.cast(targets["mask"], tf.float32)
        return tf.reduce_sum(losses * weights), tf.reduce_sum(weights)

    steps, size = 600, 32
    data = tf.data.Dataset.from_tensor_slices(batch(*sequences(random, steps * size))).batch(size)
    optimizer = kf.training.adamw(kf.training.linear_warmup(3e-3, steps), weight_decay=0.0)
    kf.training.Trainer((model, loss), optimizer, steps_per_call=100).fit(data)

    ids, mask = sequences(random, 100)
    found = tf.function(
        lambda inputs: kf.decoding.search(
            kf.models.DecoderSteps(model), inputs, start_id=START, end_id=END, max_length=45
        )
    )({"source_token_ids": tf.constant(ids), "source_padding_mask": tf.constant(mask)})
    said, lengths = found["token_ids"].numpy()[:, 0], found["lengths"].numpy()[:, 0]
    wanted = mask.sum(1) - 1
    exact = [said[row, : lengths[row]].tolist() == ids[row, : wanted[row]].tolist() for row in range(100)]
    assert np.mean(exact) >= 0.99
