"""The signatures that a translator is served with."""

import tensorflow as tf

from kerasformer.tasks.task import string_spec


def translator_signatures(task, core):
    """See `Translator.serving_functions`."""

    @tf.function(input_signature=[string_spec("text")], autograph=False)
    def serving_default(text):
        return task.answer_features({"text": text}, core)

    @tf.function(input_signature=[string_spec("text")], autograph=False)
    def greedy(text):
        return task.answer_features({"text": text, "beam_size": tf.ones(tf.shape(text), tf.int32)}, core)

    @tf.function(input_signature=[string_spec("text")], autograph=False)
    def n_best(text):
        return task.answer_features({"text": text, "num_results": tf.fill(tf.shape(text), task.beam_size)}, core)

    @tf.function(
        input_signature=[
            string_spec("text"),
            tf.TensorSpec([None], tf.float32, name="length_penalty"),
            tf.TensorSpec([None], tf.int32, name="max_length"),
        ],
        autograph=False,
    )
    def with_options(text, length_penalty, max_length):
        return task.answer_features({"text": text, "length_penalty": length_penalty, "max_length": max_length}, core)

    specs = task.core_inputs()

    @tf.function(input_signature=[specs["source_token_ids"], specs["source_padding_mask"]], autograph=False)
    def tokens(source_token_ids, source_padding_mask):
        lengths = tf.reduce_sum(tf.cast(source_padding_mask > 0, tf.int32), 1)
        found = core(
            {
                "source_token_ids": source_token_ids,
                "source_padding_mask": source_padding_mask,
                "beam_size": tf.constant(task.beam_size),
                "num_results": tf.constant(1),
                "length_penalty": tf.fill(tf.shape(lengths), float(task.length_penalty)),
                "max_length": task.most_tokens(lengths),
            }
        )
        return {name: value[:, 0] for name, value in found.items()}

    return {
        "serving_default": serving_default,
        "greedy": greedy,
        "n_best": n_best,
        "with_options": with_options,
        "tokens": tokens,
    }
