"""Sequences for pretraining: no leak between documents, labels that are true, nothing lost, nothing random twice."""

import gzip
import json

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from kerasformer.data.corpus import PART_SIZE, Corpus, smoothed_lines
from kerasformer.data.corpus_records import write_corpus, written_source
from kerasformer.data.packing import pack_sequences
from kerasformer.data.pretraining import PretrainingData, tokenized_sentences
from kerasformer.data.sequence_rows import sentence_pairs, text_runs
from kerasformer.errors import InputError
from kerasformer.text import WordPieceTokenizer

SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
IDS = (2, 3, 0)


def ragged(documents):
    """Documents as lists of sentence lengths; each token is a number of its own, from 5 on."""
    lengths = [length for document in documents for length in document]
    tokens = tf.range(5, 5 + int(sum(lengths)))
    sentences = tf.RaggedTensor.from_row_lengths(tokens, np.array(lengths, np.int64))
    return tf.RaggedTensor.from_row_lengths(sentences, np.array([len(d) for d in documents], np.int64))


def segments(rows, index):
    ids, length, first = rows["token_ids"][index], rows["length"][index], rows["first_length"][index]
    assert ids[0] == 2
    assert ids[first - 1] == ids[length - 1] == 3
    assert (ids[length:] == 0).all()
    return ids[1 : first - 1], ids[first : length - 1]


documents_of_sentences = st.lists(st.lists(st.integers(1, 9), max_size=12), min_size=1, max_size=6)


@settings(max_examples=60, deadline=None)
@given(documents_of_sentences, st.integers(8, 40), st.integers(0, 1000), st.sampled_from([0.0, 0.3, 1.0]))
def test_pairs_of_any_documents(documents, max_length, seed, short):
    pieces, numbers = ragged(documents), np.arange(len(documents))
    rows = sentence_pairs(pieces, tf.constant(numbers, tf.int64), tf.constant([3, seed]), max_length, short, IDS)
    rows = {name: value.numpy() for name, value in rows.items()}
    owner = np.concatenate([np.full(sum(d), n) for n, d in enumerate(documents)] + [np.zeros(0, int)])
    others = [n for n, d in enumerate(documents) if d]
    if len(others) < 2:
        assert len(rows["length"]) == 0
    elif any(len(d) > 1 for d in documents):
        assert len(rows["length"]) > 0
    assert (rows["length"] <= max_length).all()
    for index in range(len(rows["length"])):
        first, second = segments(rows, index)
        for segment in (first, second):
            assert len(segment) > 0
            # A run of one document.
            np.testing.assert_array_equal(np.diff(segment), 1)
            assert len(set(owner[segment - 5])) == 1
        same = owner[first[0] - 5] == owner[second[0] - 5]
        assert same == (rows["is_random"][index] == 0)
        if same:
            assert second[0] > first[-1]


@settings(max_examples=60, deadline=None)
@given(documents_of_sentences, st.integers(4, 40), st.integers(0, 1000), st.sampled_from([0.0, 0.5]))
def test_runs_of_any_documents(documents, max_length, seed, short):
    pieces = ragged(documents)
    rows = text_runs(pieces, tf.constant([3, seed]), max_length, short, IDS)
    rows = {name: value.numpy() for name, value in rows.items()}
    found = [ids[1 : length - 1] for ids, length in zip(rows["token_ids"], rows["length"], strict=True)]
    owner = np.concatenate([np.full(sum(d), n) for n, d in enumerate(documents)] + [np.zeros(0, int)])
    for run in found:
        np.testing.assert_array_equal(np.diff(run), 1)
        assert len(set(owner[run - 5])) == 1
    # Every token once.
    assert sorted(np.concatenate([*found, np.zeros(0, int)])) == list(range(5, 5 + len(owner)))
    # A sentence that fits begins a sequence rather than being cut.
    starts = set(np.cumsum([0, *[length for d in documents for length in d]]) + 5)
    if not short and all(length <= max_length - 2 for d in documents for length in d):
        assert all(run[0] in starts for run in found)


def test_half_of_the_pairs_follow_each_other():
    random = np.random.default_rng(0)
    documents = [list(random.integers(1, 16, random.integers(2, 90))) for _ in range(400)]
    pieces, numbers = ragged(documents), tf.range(400, dtype=tf.int64)
    labels, short = [], 0
    for seed in range(13):
        rows = sentence_pairs(pieces, numbers, tf.constant([1, seed]), 64, 0.1, IDS)
        labels.append(rows["is_random"].numpy())
        short += (rows["length"].numpy() < 40).sum()
    labels = np.concatenate(labels)
    assert len(labels) > 40_000
    assert abs(labels.mean() - 0.5) < 0.005
    # Ends of documents are short too.
    assert 0.05 < short / len(labels) < 0.2


def test_other_documents_are_all_met():
    pieces = ragged([[3] * 40] * 8)
    met = set()
    for seed in range(20):
        rows = sentence_pairs(pieces, tf.range(8, dtype=tf.int64), tf.constant([0, seed]), 32, 0.1, IDS)
        rows = {name: value.numpy() for name, value in rows.items()}
        for index in np.flatnonzero(rows["is_random"]):
            first, second = segments(rows, index)
            met.add(((first[0] - 5) // 120, (second[0] - 5) // 120))
    assert len(met) == 8 * 7


def test_a_document_of_nearly_all_parts_still_finds_others():
    documents = tf.constant([0] * 30 + [1] + [0] * 30, tf.int64)
    rows = sentence_pairs(ragged([[4] * 20] * 61), documents, tf.constant([0, 0]), 32, 0.0, IDS)
    rows = {name: value.numpy() for name, value in rows.items()}
    owner = np.repeat(documents.numpy(), 80)
    is_first = np.array([owner[segments(rows, index)[0][0] - 5] for index in range(len(rows["length"]))])
    # As many a part as of the other document.
    assert abs((is_first == 0).sum() / 60 - (is_first == 1).sum()) < 0.5 * (is_first == 1).sum()
    for index in np.flatnonzero(rows["is_random"]):
        first, second = segments(rows, index)
        assert owner[first[0] - 5] != owner[second[0] - 5]


def test_long_documents_keep_their_number(tmp_path):
    """The pipeline's own numbers: no random segment from another part of the same document."""
    words = [f"w{n}" for n in range(100)]
    tokenizer = WordPieceTokenizer([*SPECIAL, *words, "a", "b", "."])
    line = " ".join(words) + " .\n"
    path = tmp_path / "b.txt"
    path.write_text("".join(f"A {line}" for _ in range(700)) + "\n" + "".join(f"B {line}" for _ in range(500)))
    assert len(list(Corpus(path).parts())) > 5
    data = PretrainingData(Corpus(path), tokenizer)
    kinds = []
    for features, targets in data.batches(64, 300):
        for ids, is_random in zip(features["token_ids"].numpy(), targets["is_random"].numpy(), strict=True):
            kinds.append((bool(is_random), len({i for i in ids.tolist() if i in (105, 106)}) == 2))
    assert kinds.count((True, True)) > 50
    assert kinds.count((False, True)) == 0
    # A segment that was cut may have lost its letters.
    assert kinds.count((True, False)) < 0.2 * kinds.count((True, True))


def test_parts_of_one_document_are_not_others():
    pieces = ragged([[4] * 9] * 4)
    rows = sentence_pairs(pieces, tf.constant([7, 7, 7, 7], tf.int64), tf.constant([0, 0]), 32, 0.1, IDS)
    assert rows["length"].shape == (0,)
    rows = sentence_pairs(pieces, tf.constant([7, 7, 7, 8], tf.int64), tf.constant([0, 0]), 32, 0.1, IDS)
    rows = {name: value.numpy() for name, value in rows.items()}
    assert rows["is_random"].any()
    for index in np.flatnonzero(rows["is_random"]):
        first, second = segments(rows, index)
        assert ((first[0] - 5) // 36 == 3) != ((second[0] - 5) // 36 == 3)


@pytest.fixture(scope="module")
def tokenizer():
    return WordPieceTokenizer([*SPECIAL, *[f"w{n}" for n in range(100)], ".", *[f"d{n}" for n in range(60)]])


@pytest.fixture(scope="module")
def corpus(tmp_path_factory):
    folder = tmp_path_factory.mktemp("corpus")
    random = np.random.default_rng(0)
    for part in range(3):
        with gzip.open(folder / f"{part}.txt.gz", "wt") as file:
            for document in range(20):
                for _ in range(random.integers(2, 9)):
                    words = " ".join(random.choice([f"w{n}" for n in range(100)], random.integers(2, 12)))
                    file.write(f"d{part * 20 + document} {words} .\n")
                file.write("\n\n" if document % 2 else "\n")
    return str(folder / "*.txt.gz")


def texts_of(data, tokenizer):
    found = []
    for features, targets in data.as_numpy_iterator():
        for row in range(len(features["token_ids"])):
            ids = features["token_ids"][row][features["padding_mask"][row] > 0]
            found.append((" ".join(tokenizer.vocabulary[i] for i in ids), *[int(t[row]) for t in targets.values()]))
    return found


def test_epochs(corpus, tokenizer):
    data = PretrainingData(Corpus(corpus, held_out=10), tokenizer, seed=1)
    first = texts_of(data.batches(8, 32), tokenizer)
    assert first == texts_of(data.batches(8, 32), tokenizer)
    assert first != texts_of(data.batches(8, 32, epoch=1), tokenizer)
    skipped = texts_of(data.batches(8, 32).skip(2), tokenizer)
    assert skipped == first[16:]
    assert abs(len(first) - data.count(32)) < 0.2 * len(first)
    steps = 2 * len(first) // 8
    longer = texts_of(data.batches(8, 32, steps=steps), tokenizer)
    assert longer[: len(first)] == first
    assert longer[len(first) :] == first[: 8 * steps - len(first)]
    # Masks of their own in every epoch, and when an epoch's text comes again.
    epochs = [data.batches(8, 32, steps=steps), data.batches(8, 32, epoch=1), data.batches(8, 32, epoch=2)]
    seeds = [tuple(seed) for epoch in epochs for features, _ in epoch for seed in features["seed"].numpy().tolist()]
    assert len(set(seeds)) == len(seeds)
    for text, is_random in first:
        documents = {word for word in text.split() if word.startswith("d")}
        if not is_random:
            assert len(documents) <= 1


def test_features(corpus, tokenizer):
    for next_sentence in (True, False):
        data = PretrainingData(Corpus(corpus), tokenizer, next_sentence=next_sentence)
        for features, targets in data.batches(8, 32):
            assert set(targets) == ({"is_random"} if next_sentence else set())
            ids, mask, segment = (features[name].numpy() for name in ("token_ids", "padding_mask", "segment_ids"))
            assert ids.shape[1] == mask.sum(1).max() <= 32
            assert (np.diff(mask, axis=1) <= 0).all()
            assert ((ids == 3).sum(1) == 1 + next_sentence).all()
            # 1 from after the first [SEP] to the last.
            after = (np.cumsum(ids == 3, 1) - (ids == 3) > 0) & (mask > 0)
            np.testing.assert_array_equal(segment, after)


def test_held_out_documents_are_apart(corpus, tokenizer):
    whole = Corpus(corpus, held_out=10)
    data = PretrainingData(whole, tokenizer, next_sentence=False)

    def documents(held_out):
        texts = texts_of(data.batches(8, 32, held_out=held_out, shuffle=False), tokenizer)
        return {word for text, *_ in texts for word in text.split() if word.startswith("d")}

    assert documents(True) == {f"d{n}" for n in range(9, 60, 10)}
    assert not documents(True) & documents(False)
    assert len(documents(False)) == 54


def test_small_corpora_are_seen_more_often(tmp_path, tokenizer):
    for name, count in (("large", 640), ("small", 40)):
        lines = [f"d{0 if name == 'small' else 1} w1 w2 w3\n\n" for _ in range(count)]
        (tmp_path / f"{name}.txt").write_text("".join(lines))
    corpora = [Corpus(tmp_path / "large.txt"), Corpus(tmp_path / "small.txt")]
    held_out = [Corpus(tmp_path / f"{name}.txt", held_out=2) for name in ("large", "small")]
    kept_back = PretrainingData(held_out, tokenizer, next_sentence=False, short_probability=0)
    texts = [text for text, *_ in texts_of(kept_back.batches(40, 16, held_out=True), tokenizer)]
    assert len(texts) == kept_back.count(16, held_out=True)
    # Mixed: the first ones tell of both.
    assert {"d0" in text for text in texts[:20]} == {True, False}

    def share(smoothing):
        data = PretrainingData(corpora, tokenizer, next_sentence=False, short_probability=0, smoothing=smoothing)
        texts = [text for text, *_ in texts_of(data.batches(40, 16), tokenizer)]
        assert len(texts) == 680
        return np.mean(["d0" in text for text in texts])

    assert abs(share(1.0) - 40 / 680) < 0.04
    assert abs(share(0.7) - 40**0.7 / (40**0.7 + 640**0.7)) < 0.05


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 16), max_size=30))
def test_packed_rows_hold_every_sequence_once(lengths):
    ids = np.zeros([len(lengths), 16], np.int32)
    for row, length in enumerate(lengths):
        ids[row, :length] = 100 * (row + 1) + np.arange(length)
    packed = pack_sequences({"token_ids": tf.constant(ids), "length": tf.constant(lengths, tf.int32, [len(lengths)])})
    found = {name: value.numpy() for name, value in packed.items()}
    runs = []
    for row, used, numbers in zip(found["token_ids"], found["length"], found["sequence"], strict=True):
        assert (numbers[used:] == 0).all()
        assert set(np.diff(numbers[:used])) <= {0, 1}
        for number in range(1, numbers.max() + 1):
            runs.append(row[numbers == number].tolist())
    assert sorted(runs) == [ids[row, :length].tolist() for row, length in enumerate(lengths)]
    # No two rows fit into one.
    used = np.sort(found["length"])
    assert len(used) < 2 or used[0] + used[1] > 16


def test_packed_batches(corpus, tokenizer):
    data = PretrainingData(Corpus(corpus), tokenizer, next_sentence=False, pack=True)
    plain = PretrainingData(Corpus(corpus), tokenizer, next_sentence=False)

    def tokens(data):
        ids = [f["token_ids"].numpy()[f["padding_mask"].numpy() > 0] for f, _ in data.batches(8, 32)]
        return sorted(np.concatenate(ids).tolist())

    assert tokens(data) == tokens(plain)
    assert data.count(32) < 0.9 * plain.count(32)
    with pytest.raises(InputError, match="running text"):
        PretrainingData(Corpus(corpus), tokenizer, pack=True)


def test_a_written_corpus_is_the_same(corpus, tokenizer, tmp_path):
    source = Corpus(corpus)
    write_corpus(source, tmp_path / "written", shards=3)
    written = Corpus(tmp_path / "written", held_out=10)
    assert written.is_written
    assert not source.is_written
    assert sorted(source.parts()) == sorted([*written.parts(), *written.parts(held_out=True)])
    assert sorted(Corpus(corpus, held_out=10).parts(held_out=True)) == sorted(written.parts(held_out=True))
    assert written_source(tmp_path / "written") == source.fingerprint()

    def runs(corpus):
        data = PretrainingData(corpus, tokenizer, next_sentence=False, short_probability=0.0)
        return sorted(texts_of(data.batches(8, 32), tokenizer))

    assert runs(Corpus(tmp_path / "written")) == runs(source)
    write_corpus(source, tmp_path / "written", shards=2)
    assert len(list((tmp_path / "written").glob("*.tfrecord"))) == 2
    (tmp_path / "written" / "part-00001-of-00002.tfrecord").unlink()
    with pytest.raises(InputError, match="lacks part-00001"):
        Corpus(tmp_path / "written")


def test_a_corpus_is_written_whole_or_not_at_all(tmp_path):
    (tmp_path / "text.txt").write_bytes(b"good\n\n\xff\n")
    with pytest.raises(InputError, match="txt:3"):
        write_corpus(Corpus(tmp_path / "text.txt"), tmp_path / "half")
    assert [path.name for path in tmp_path.iterdir()] == ["text.txt"]
    (tmp_path / "text.txt").write_text("good")
    (tmp_path / "other").mkdir()
    (tmp_path / "other" / "file").write_text("x")
    with pytest.raises(InputError, match="not overwritten"):
        write_corpus(Corpus(tmp_path / "text.txt"), tmp_path / "other")


def test_smoothed_lines(tmp_path):
    (tmp_path / "a.txt").write_text("a\n" * 1000)
    (tmp_path / "b.txt").write_text("b\n" * 100)
    lines = list(smoothed_lines([Corpus(tmp_path / "a.txt"), Corpus(tmp_path / "b.txt")], 0.7))
    assert lines.count("a") == 1000
    assert abs(lines.count("b") - 1000 * 0.1**0.7) <= 2


def test_sources(tmp_path):
    (tmp_path / "a.txt").write_text("one\ntwo\n\n \nthree\n", encoding="utf-8")
    (tmp_path / "b.jsonl").write_text(json.dumps({"text": "four\nfive"}) + "\n" + json.dumps({"text": "six"}) + "\n")
    corpus = Corpus([tmp_path / "a.txt", str(tmp_path / "b.jsonl")])
    assert list(corpus.parts()) == [(0, "one\ntwo"), (1, "three"), (2, "four\nfive"), (3, "six")]
    assert list(corpus.lines()) == ["one", "two", "three", "four", "five", "six"]
    elements = list(corpus.documents().as_numpy_iterator())
    assert [(e["document"], e["text"]) for e in elements][1] == (1, b"three")


def test_long_documents_come_in_parts(tmp_path, tokenizer):
    line = "W1 w2 w3 . " * 3000
    giant = "W4 w5 . " * 30_000
    (tmp_path / "a.txt").write_text(f"{line}\n" * 6 + giant + "\n\nd1 w1 .\n")
    parts = list(Corpus(tmp_path / "a.txt").parts())
    assert [number for number, _ in parts][-2:] == [0, 1]
    assert all(len(text) <= PART_SIZE for _, text in parts)
    words = " ".join(text for _, text in parts).split()
    assert words == (f"{line} " * 6 + giant + " d1 w1 .").split()
    assert sum(1 for _ in PretrainingData(Corpus(tmp_path / "a.txt"), tokenizer).batches(256, 64)) > 1


def test_one_word_without_an_end(tmp_path, tokenizer):
    (tmp_path / "a.txt").write_text("x" * 200_000 + "\n\nw1 w2")
    data = PretrainingData(Corpus(tmp_path / "a.txt"), tokenizer, next_sentence=False)
    assert data.count(32) == 5


def test_tokenized_sentences(tokenizer):
    rows = tokenized_sentences(tf.constant(["w1 w2 . w3 .\nw4", "", "\x01 \n \nw5"]), tokenizer).to_list()
    vocabulary = tokenizer.vocabulary
    words = [[[vocabulary[i] for i in sentence] for sentence in document] for document in rows]
    # What goes on in lower case goes on; a line ends a sentence.
    assert words == [[["w1", "w2", ".", "w3", "."], ["w4"]], [], [["w5"]]]


@pytest.mark.parametrize(
    ("content", "message"),
    [("", "Received none"), ("\n \n", "Received none")],
)
def test_no_text(tmp_path, content, message):
    (tmp_path / "a.txt").write_text(content)
    with pytest.raises(InputError, match=message):
        Corpus(tmp_path / "a.txt")


def test_bad_sources(tmp_path, tokenizer):
    (tmp_path / "junk.txt").write_bytes(bytes(range(256)) * 40)
    with pytest.raises(InputError, match=r"junk.txt:\d+: expected UTF-8"):
        Corpus(tmp_path / "junk.txt")
    (tmp_path / "one.txt").write_text("w1 w2 .\nw3 w4 .\nw5\n")
    with pytest.raises(InputError, match="two documents"):
        PretrainingData(Corpus(tmp_path / "one.txt"), tokenizer).count(32)
    (tmp_path / "b.jsonl").write_text('{"title": "x"}\n')
    with pytest.raises(InputError, match=r"b\.jsonl:1: expected a document"):
        Corpus(tmp_path / "b.jsonl")
    with pytest.raises(InputError, match="no such file"):
        Corpus(tmp_path / "missing.txt")
    with pytest.raises(InputError, match="at least 5"):
        PretrainingData(Corpus(tmp_path / "one.txt"), tokenizer).batches(2, 4)
    with pytest.raises(InputError, match="held_out"):
        Corpus(tmp_path / "one.txt", held_out=1)
    with pytest.raises(InputError, match="smoothing"):
        PretrainingData(Corpus(tmp_path / "one.txt"), tokenizer, smoothing=0.0)
