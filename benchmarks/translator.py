"""A translator with random weights, exported by kerasformer, and its weights for the peers."""

from collections.abc import Callable
from pathlib import Path

import numpy as np

PACKAGES = ("kerasformer",)
EPSILON = 1e-5  # of the normalizations: that of Marian in transformers, which cannot be chosen
LENGTH = 20


def prepare(
    folder: Path,
    texts: list[str],
    size: str,
    vocabulary: int,
    beams: tuple[int, ...],
    precisions: tuple[str, ...] = ("float32", "bfloat16", "int8"),
) -> None:
    """Writes `float32-4` and so on, exports that say exactly `LENGTH` tokens, `sources.txt`, texts of `LENGTH` tokens,
    `sources.npy`, their ids, and `weights.npz`."""
    import keras
    import tensorflow as tf

    import kerasformer as kf

    keras.utils.set_random_seed(0)
    pieces = min(vocabulary, 8000)
    learned = kf.text.learn_sentencepiece(texts, pieces, kind="bpe", at_most=True)
    tokenizer = kf.text.SentencePieceTokenizer(learned, max_length=64)
    config = kf.models.TransformerConfig.named(
        size, vocabulary_size=vocabulary, epsilon=EPSILON, max_sequence_length=64
    )
    model = kf.models.transformer(config)
    # Random weights translate a text into anything: into itself as well.
    shown = {"text": texts[:256], "text_pair": texts[:256]}
    data = tf.data.Dataset.from_tensor_slices((shown, np.zeros(len(shown["text"]), np.int32))).batch(32)
    for beam in beams:
        task = kf.tasks.Translator(model, tokenizer, beam_size=beam, min_length=LENGTH)
        for precision in precisions:
            kf.serving.export(task, folder / f"{precision}-{beam}", precision=precision, data=data)
    tokenizer.save(folder)
    rows = tokenizer.tokenize(texts).to_list()
    chosen = [place for place, row in enumerate(rows) if len(row) == LENGTH - 1]
    (folder / "sources.txt").write_text("\n".join(texts[place] for place in chosen), encoding="utf-8")
    np.save(folder / "sources.npy", [[*rows[place], tokenizer.end_id] for place in chosen])
    write_weights(model, folder)


def write_weights(model, folder: Path) -> None:
    """Writes `weights.npz`, for the peers."""
    np.savez(folder / "weights.npz", **{weight.path: np.array(weight) for weight in model.trainable_variables})


def read_sources(folder: Path) -> tuple[list[str], np.ndarray]:
    """The texts that `prepare` chose, and their token ids `[N, LENGTH]`."""
    return (folder / "sources.txt").read_text(encoding="utf-8").split("\n"), np.load(folder / "sources.npy")


def load(folder: Path, threads: int, precision: str, beam: int) -> Callable[[np.ndarray], np.ndarray]:
    """Opens an export as TensorFlow Serving does: from places of N sources to their translations, strings `[N]`."""
    import tensorflow as tf

    from kerasformer.serving.session import open_session

    config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads)
    session, signatures = open_session(folder / f"{precision}-{beam}", config)
    served = signatures["with_options"]
    inputs = [served.inputs[name].name for name in ("text", "length_penalty", "max_length")]
    call = session.make_callable([served.outputs[name].name for name in ("translation", "score", "truncated")], inputs)
    texts = np.array([text.encode() for text in read_sources(folder)[0]], object)

    def translate(places):
        count = len(places)
        return call(texts[places], np.zeros(count, np.float32), np.full(count, LENGTH, np.int32))[0]

    return translate


def read_pieces(folder: Path, ids: np.ndarray) -> list[bytes]:
    """The texts of N rows of token ids; ids beyond the pieces are left out, as in an export."""
    import tensorflow as tf

    import kerasformer as kf

    tokenizer = kf.text.SentencePieceTokenizer(folder / "sentencepiece.model")
    return tokenizer.detokenize(tf.ragged.constant(list(map(list, ids)), tf.int32)).numpy().tolist()
