"""Which words of a source a translation looked at."""

import tensorflow as tf

from kerasformer.models import DecoderSteps


def attention_over_source(model, inputs):
    """Attention of each target place over the source, the mean over the heads of the last decoder block.

    Args:
        model: as returned by `transformer(config)`.
        inputs: of the model.

    Returns:
        float32 `[batch, target length, source length]`; each row adds up to 1.
    """
    steps = DecoderSteps(model, with_attention=True)
    context, state = steps.start(inputs)
    rows = []
    for place in range(inputs["target_token_ids"].shape[1]):
        outputs, state = steps.step(inputs["target_token_ids"][:, place : place + 1], context, state)
        rows.append(tf.cast(outputs["attention"][:, 0], tf.float32))
    return tf.stack(rows, 1)
