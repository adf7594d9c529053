"""The search that a translator is served with, and its signatures."""

import tensorflow as tf

from kerasformer.decoding import Beam, ForbiddenTokens, MinLength, search
from kerasformer.models import DecoderSteps
from kerasformer.tasks.task import string_spec


def best_sequences(task, model, inputs):
    """See `Translator.core_outputs`."""
    source = {name: inputs[name] for name in ("source_token_ids", "source_padding_mask")}
    tokenizer, candidates, place = task.target_tokenizer, None, int
    if task.candidates is not None:
        # The search then knows tokens by their places among the candidates.
        candidates, place = task.candidates(source["source_token_ids"]), task.candidates.first.index
    found = search(
        DecoderSteps(model, with_attention=task.coverage_penalty > 0, candidates=candidates),
        source,
        start_id=place(tokenizer.start_id),
        end_id=place(tokenizer.end_id),
        padding_id=place(tokenizer.padding_id),
        max_length=inputs["max_length"],
        num_results=inputs["num_results"],
        select=Beam(inputs["beam_size"], inputs["length_penalty"], task.coverage_penalty),
        processors=[ForbiddenTokens(tuple(map(place, task.pieces.unsayable))), MinLength(task.min_length)],
    )
    token_ids = found["token_ids"]
    return {
        "token_ids": token_ids if candidates is None else tf.gather(candidates, token_ids, batch_dims=1),
        "lengths": found["lengths"],
        "score": found["scores"],
        "ended": found["ended"],
    }


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
