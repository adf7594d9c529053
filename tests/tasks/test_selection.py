"""The greedy choice of sentences, against the loop that BERTSum describes."""

import numpy as np
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasformer.tasks.selection import select_sentences

select = {
    block: tf.function(
        lambda sentences, scores, most, block=block: select_sentences(sentences, scores, most, block_trigrams=block),
        input_signature=[
            tf.RaggedTensorSpec([None, None], tf.string, 1, tf.int64),
            tf.TensorSpec([None], tf.float32),
            tf.TensorSpec([None], tf.int32),
        ],
    )
    for block in (True, False)
}


def trigrams(sentence):
    words = sentence.lower().replace(",", " ").replace(".", " ").split()
    return {tuple(words[i : i + 3]) for i in range(len(words) - 2)}


def by_hand(sentences, scores, most, block):
    chosen = []
    for place in sorted(range(len(sentences)), key=lambda i: -scores[i]):
        said = set().union(*(trigrams(sentences[i]) for i in chosen))
        if len(chosen) < most and not (block and trigrams(sentences[place]) & said):
            chosen.append(place)
    return [place in chosen for place in range(len(sentences))]


def selected(documents, scores, most, block=True):
    flat = select[block](
        tf.ragged.constant(documents, tf.string, ragged_rank=1),
        tf.constant([x for row in scores for x in row], tf.float32),
        tf.constant(most, tf.int32),
    ).numpy()
    ends = np.cumsum([len(document) for document in documents])
    return [part.tolist() for part in np.split(flat, ends)[:-1]]


SENTENCES = st.lists(st.sampled_from(["a", "b", "C", "c,", ".", "हिन्दी", "é"]), max_size=6).map(" ".join)


@settings(max_examples=100, deadline=None)
@given(st.data())
def test_as_by_hand(data):
    documents = data.draw(st.lists(st.lists(SENTENCES, max_size=6), max_size=3))
    most = [data.draw(st.integers(-1, 8)) for _ in documents]
    block = data.draw(st.booleans())
    random = np.random.default_rng(data.draw(st.integers(0, 99)))
    scores = [(random.permutation(len(document)) / 8).tolist() for document in documents]
    expected = [by_hand(*row, block) for row in zip(documents, scores, most, strict=True)]
    assert selected(documents, scores, most, block) == expected


def test_the_same_words_in_another_document_block_nothing():
    text = "we show that it works"
    assert selected([[text], [text, text]], [[0.5], [0.1, 0.2]], [2, 2]) == [[True], [False, True]]
