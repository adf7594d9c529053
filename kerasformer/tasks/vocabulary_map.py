"""Which target pieces may translate a source piece: a translator that scores these alone has less to compute."""

import dataclasses
import os
import pathlib
from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from kerasformer.errors import InputError

# Sentence pairs that a map is learned from, at most; of more, evenly spaced ones.
_PAIRS = 100_000


@dataclasses.dataclass(frozen=True)
class VocabularyMap:
    """Target pieces by source piece (L'Hostis et al. 2016, arXiv:1610.00072): a translation is made of those that
    belong to the pieces of its source, and of those that belong to all.

    Attributes:
        always: target pieces of every translation.
        pieces: further target pieces by source piece.
    """

    always: tuple[str, ...]
    pieces: Mapping[str, tuple[str, ...]]

    def save(self, path: str | os.PathLike) -> None:
        """Writes a text file as CTranslate2 reads it (`vmap.txt`): in each line a source piece, a tab, and its target
        pieces, with spaces between them. In the first line there is no source piece."""
        lines = {"": self.always, **self.pieces}
        text = "".join(f"{piece}\t{' '.join(found)}\n" for piece, found in lines.items())
        pathlib.Path(path).write_text(text, encoding="utf-8", newline="\n")

    @classmethod
    def load(cls, path: str | os.PathLike) -> "VocabularyMap":
        """Reads what `save` wrote, or a `vmap.txt` of single pieces.

        Raises:
            InputError: the file cannot be read, or is of another form.
        """
        try:
            lines = pathlib.Path(path).read_bytes().decode("utf-8").split("\n")
        except (OSError, UnicodeDecodeError) as error:
            raise InputError(f"A vocabulary map must be a text file in UTF-8. Received: {path} ({error}).") from None
        pieces = {}
        for number, line in enumerate(filter(None, lines), 1):
            piece, tab, found = line.partition("\t")
            if not tab or " " in piece:
                raise InputError(
                    f"{path}, line {number}, must hold a source piece, a tab and target pieces. Received: {line!r:.60}."
                )
            pieces[piece] = tuple(found.split(" ")) if found else ()
        return cls(pieces.pop("", ()), pieces)


def learn_vocabulary_map(
    task, sources: Sequence[str], targets: Sequence[str], *, size: int = 50, always: int = 100
) -> VocabularyMap:
    """Learns which pieces translate which, from pairs of sentences.

    Args:
        task: a `Translator`, for its tokenizers.
        sources, targets: sentences and their translations.
        size: target pieces of a source piece, at most: the likeliest ones by IBM Model 1 (Brown et al. 1993, section
            4.1), and the piece itself where the target has it, for names and numbers.
        always: most frequent target pieces, which every translation may have.

    Raises:
        InputError: a number below 1, or not as many targets as sources.
    """
    if size < 1 or always < 1 or len(sources) != len(targets) or not len(sources):
        raise InputError(
            "`size` and `always` must be 1 or more, and `sources` and `targets` as many texts as each other. "
            f"Received: size={size}, always={always}, {len(sources)} and {len(targets)} texts."
        )
    step = -(-len(sources) // _PAIRS)
    features = {"text": tf.constant(list(sources[::step])), "text_pair": tf.constant(list(targets[::step]))}
    inputs, labels = task.training_batch(features, None)
    source_ids = tf.ragged.boolean_mask(inputs["source_token_ids"], inputs["source_padding_mask"] > 0)
    target_ids = tf.ragged.boolean_mask(labels, labels >= 0)
    source_pieces, target_pieces = task.tokenizer.vocabulary, task.target_tokenizer.vocabulary
    frequencies = np.bincount(target_ids.values)
    source, target, probabilities = word_translations(source_ids, target_ids)
    # The likeliest ones of each source piece first.
    order = np.lexsort([-probabilities, source])
    known, first = np.unique(source[order], return_index=True)
    own = set(target_pieces)
    pieces = {piece: (piece,) for piece in source_pieces if piece in own}
    for piece, found in zip(known, np.split(target[order], first[1:]), strict=True):
        name = source_pieces[piece]
        best = [target_pieces[token] for token in found[:size]]
        pieces[name] = tuple(dict.fromkeys([*best, *pieces.get(name, ())]))
    return VocabularyMap(tuple(target_pieces[token] for token in np.argsort(-frequencies)[:always]), pieces)


def word_translations(sources, targets, iterations=5):
    """Translation probabilities of tokens by IBM Model 1 (Brown et al. 1993, section 4.1), which takes it that every
    target token was made by one of the source tokens, wherever they are. The end token of a source makes what no
    other makes.

    Args:
        sources, targets: ragged int `[sentences, (tokens)]`, with equally many sentences.
        iterations: of expectation and maximization.

    Returns:
        `(source, target, probabilities)`, `[pairs]` each: of all pairs of tokens that are in one pair of sentences, the
        probability that the source token makes the target token.
    """
    size = int(tf.reduce_max(targets.values)) + 1
    # For each token of a source the places of all tokens of its target.
    sentence, splits = sources.value_rowids(), targets.row_splits
    ranges = tf.ragged.range(tf.gather(splits[:-1], sentence), tf.gather(splits[1:], sentence))
    places = ranges.values.numpy()
    source = np.repeat(sources.values.numpy().astype(np.int64), ranges.row_lengths())
    pairs = source * size + targets.values.numpy()[places]
    pairs, which = np.unique(pairs, return_inverse=True)
    source, target = pairs // size, pairs % size
    probabilities = np.ones(len(pairs))
    for _ in range(iterations):
        shares = probabilities[which]
        shares /= np.bincount(places, shares)[places]
        counts = np.bincount(which, shares)
        probabilities = counts / np.bincount(source, counts)[source]
    return source, target, probabilities


class Candidates:
    """The target tokens that a vocabulary map leaves to each source of a batch, in the graph.

    Args:
        vocabulary_map: a `VocabularyMap`.
        source, target: vocabularies, lists of str.
        first: ids of the target that are the first candidates of every source, in this order.

    Raises:
        InputError: a piece of the map is not in its vocabulary.
    """

    def __init__(self, vocabulary_map, source, target, first):
        source_ids, target_ids = ({piece: token for token, piece in enumerate(side)} for side in (source, target))
        unknown = [piece for piece in vocabulary_map.pieces if piece not in source_ids]
        for found in (vocabulary_map.always, *vocabulary_map.pieces.values()):
            unknown += [piece for piece in found if piece not in target_ids]
        if unknown:
            raise InputError(f"A vocabulary map must be of the tokenizer's pieces. Received: {unknown[:5]}.")
        self.first = list(first)
        self._is_first, self._always = (
            np.isin(np.arange(len(target)), ids)
            for ids in (self.first, [target_ids[piece] for piece in vocabulary_map.always])
        )
        longest = max(map(len, vocabulary_map.pieces.values()), default=0)
        # Rows are padded with a token that is a candidate anyhow.
        self._table = np.full([len(source), longest], self.first[0], np.int32)
        for piece, found in vocabulary_map.pieces.items():
            self._table[source_ids[piece], : len(found)] = [target_ids[name] for name in found]

    def __call__(self, token_ids):
        """From sources, int32 `[batch, length]`, to their candidates, int32 `[batch, candidates]`, each once, and -1
        where there are fewer."""
        batch, length = tf.unstack(tf.shape(token_ids))
        found = tf.reshape(tf.gather(self._table, token_ids), [batch, length * self._table.shape[1]])
        size = len(self._always)
        counts = tf.math.bincount(found, minlength=size, maxlength=size, axis=-1, binary_output=True)
        is_other = ((counts > 0) | self._always) & ~self._is_first
        others = tf.cast(tf.where(is_other)[:, 1], tf.int32)
        others = tf.RaggedTensor.from_row_lengths(others, tf.math.count_nonzero(is_other, 1), validate=False)
        first = tf.broadcast_to(tf.constant(self.first), [batch, len(self.first)])
        return tf.concat([first, others.to_tensor(-1)], 1)
