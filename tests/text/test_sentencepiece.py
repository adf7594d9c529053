"""SentencePiece in the graph against the `sentencepiece` library."""

import json
import pathlib
import pickle

import keras
import numpy as np
import pytest
import sentencepiece
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

import kerasformer as kf
from kerasformer.errors import InputError
from kerasformer.text import SentencePieceTokenizer, learn_sentencepiece

WORDS = [
    "the",
    "cat",
    "sat",
    "on",
    "a",
    "mat",
    "and",
    "ate",
    "fish",
    "while",
    "dogs",
    "bark",
    "loudly",
    "über",
    "größe",
    "ein",
    "mann",
    "geht",
    "heim",
]
TEXTS = [" ".join(WORDS[(i * j) % len(WORDS)] for j in range(1, 9)) + "." for i in range(1, 60)]
STRANGE = [
    "",
    "  ",
    "A man☃ with ﬁsh  and 😀x",
    "<2de> the cat <s> </s> <pad>",
    "a\nb\tc",
    "x" * 3000,
    "漢字",
    "\u0301",
]


@pytest.fixture(params=["unigram", "bpe"], scope="module")
def tokenizer(request):
    model = learn_sentencepiece(TEXTS, 300, kind=request.param, special_tokens=["<2de>"])
    return SentencePieceTokenizer(model, max_length=12)


@pytest.fixture(scope="module")
def reference(tokenizer):
    return sentencepiece.SentencePieceProcessor(model_proto=tokenizer.model)


def test_ids_and_texts_are_those_of_the_library(tokenizer, reference):
    texts = TEXTS + STRANGE
    ids = tokenizer.tokenize(texts)
    assert ids.dtype == tf.int32
    assert ids.to_list() == [reference.encode(text) for text in texts]
    assert [text.decode() for text in tokenizer.detokenize(ids).numpy()] == [
        reference.decode(reference.encode(text)) for text in texts
    ]
    assert tokenizer.vocabulary[:5] == ["<pad>", "<unk>", "<s>", "</s>", "<2de>"]
    assert tokenizer.unknown_id not in ids.values.numpy(), "bytes stand for what is no piece"
    assert 4 in tokenizer.tokenize(["<2de> the cat"]).to_list()[0]


@settings(max_examples=60, deadline=None)
@given(texts=st.lists(st.text(max_size=40), max_size=4))
def test_any_text(tokenizer, reference, texts):
    texts = [text.encode("utf-8", "ignore").decode() for text in texts]
    assert tokenizer.tokenize(texts).to_list() == [reference.encode(text) for text in texts]


def test_model_inputs(tokenizer):
    texts = ["the cat", "", TEXTS[0] * 3]
    bare = tokenizer.tokenize(texts).to_list()
    inputs = tokenizer(texts)
    expected = [[*row[:11], tokenizer.end_id] for row in bare]
    assert inputs["token_ids"].shape == (3, 12)
    for row, ids, mask in zip(expected, inputs["token_ids"].numpy(), inputs["padding_mask"].numpy(), strict=True):
        assert ids.tolist() == row + [tokenizer.padding_id] * (12 - len(row))
        assert mask.tolist() == [1] * len(row) + [0] * (12 - len(row))
    with_start = tokenizer.with_start(tokenizer.tokenize(texts))
    np.testing.assert_array_equal(with_start["token_ids"][:, 1:], inputs["token_ids"])
    assert set(with_start["token_ids"].numpy()[:, 0]) == {tokenizer.start_id}
    assert tokenizer([])["token_ids"].shape[0] == 0
    assert tokenizer(texts, max_length=2)["token_ids"].shape == (3, 2)


def test_detokenizing_leaves_out_what_is_no_text(tokenizer):
    ids = tokenizer.tokenize(["the cat"]).to_list()[0]
    rows = [[tokenizer.start_id, *ids, tokenizer.end_id, 0, -5, 99999], [0] * (len(ids) + 5)]
    assert tokenizer.detokenize(rows).numpy().tolist() == [b"the cat", b""]
    with pytest.raises(InputError, match="integers"):
        tokenizer.detokenize([[1.0]])


def test_offsets(tokenizer):
    text = "the größe 😀 cat"
    ids, starts, ends = (value.to_list()[0] for value in tokenizer.tokenize_with_offsets([text]))
    assert ids == tokenizer.tokenize([text]).to_list()[0]
    spans = [text.encode()[start:end] for start, end in zip(starts, ends, strict=True)]
    assert b"".join(spans) == text.encode()


def test_lowercase_is_unicode_lowercase():
    model = learn_sentencepiece([text.upper() for text in TEXTS], 300, lowercase=True)
    tokenizer = SentencePieceTokenizer(model, lowercase=True)
    assert tokenizer.detokenize(tokenizer.tokenize(["Ein MANN ÜBER"])).numpy()[0].decode() == "ein mann über"


def test_saved_pickled_and_in_a_saved_model(tokenizer, tmp_path):
    expected = tokenizer.tokenize(TEXTS[:3]).to_list()
    tokenizer.save(tmp_path / "tokenizer")
    copies = [
        SentencePieceTokenizer.load(tmp_path / "tokenizer"),
        pickle.loads(pickle.dumps(tokenizer)),
        keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(tokenizer)),
    ]
    for copy in copies:
        assert copy.get_config() == tokenizer.get_config()
        assert copy.tokenize(TEXTS[:3]).to_list() == expected
    module = tf.Module()
    module.echo = tf.function(
        lambda text: {"text": tokenizer.detokenize(tokenizer.tokenize(text))},
        input_signature=[tf.TensorSpec([None], tf.string)],
    )
    tf.saved_model.save(module, str(tmp_path / "model"), signatures={"echo": module.echo})
    graph = tf.Graph()
    with graph.as_default(), tf.compat.v1.Session() as session:
        meta = tf.compat.v1.saved_model.load(session, ["serve"], str(tmp_path / "model"))
        signature = meta.signature_def["echo"]
        feeds = {next(iter(signature.inputs.values())).name: np.array([b"the cat", b""], object)}
        assert session.run(signature.outputs["text"].name, feeds).tolist() == [b"the cat", b""]


def test_in_tf_data(tokenizer):
    data = tf.data.Dataset.from_tensor_slices(TEXTS[:6]).batch(3).map(tokenizer, num_parallel_calls=2)
    rows = [row for batch in data for row in batch["token_ids"].numpy().tolist()]
    assert [row[:4] for row in rows] == [row[:4] for row in tokenizer(TEXTS[:6])["token_ids"].numpy().tolist()]


def test_learning_is_repeatable_and_reads_files(tmp_path):
    path = tmp_path / "texts.txt"
    path.write_text("\n".join(TEXTS), encoding="utf-8")
    assert learn_sentencepiece(path, 300) == learn_sentencepiece([text + "\n" for text in TEXTS], 300)


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (lambda: learn_sentencepiece(TEXTS, 5000), r"vocabulary_size=5000 .*at most \d+ pieces"),
        (lambda: learn_sentencepiece(TEXTS, 100), "vocabulary_size=100"),
        (lambda: learn_sentencepiece([" "], 300), "words to learn from"),
        (lambda: learn_sentencepiece(TEXTS, 290.5), "vocabulary_size=290.5"),
        (lambda: learn_sentencepiece(TEXTS, 300, special_tokens=["<a>", "<a>"]), "special_tokens"),
        (lambda: learn_sentencepiece(TEXTS, 300, special_tokens=["<A>"], lowercase=True), "lower-cased"),
        (lambda: learn_sentencepiece(TEXTS, 300, character_coverage=2.0), "^sentencepiece cannot learn so: .*coverage"),
        (lambda: learn_sentencepiece(TEXTS, 300, normalization="none"), "^sentencepiece cannot learn so: "),
        (lambda: learn_sentencepiece(TEXTS, 300, kind="words"), "kind='words'"),
        (lambda: SentencePieceTokenizer("nowhere.model"), "nowhere.model"),
        (lambda: SentencePieceTokenizer(b"no model"), "SentencePiece model"),
        (lambda: SentencePieceTokenizer(b""), "empty"),
        (lambda: SentencePieceTokenizer(3), "a int"),
    ],
)
def test_mistakes(call, words):
    with pytest.raises(InputError, match=words):
        call()


def test_damaged_folders(tokenizer, tmp_path):
    with pytest.raises(InputError, match=r"sentencepiece\.model"):
        SentencePieceTokenizer.load(tmp_path)
    tokenizer.save(tmp_path)
    config = json.loads((tmp_path / "tokenizer_config.json").read_text())
    assert config == {"lowercase": False, "max_length": 12}
    pathlib.Path(tmp_path / "tokenizer_config.json").write_text("{")
    with pytest.raises(InputError, match="tokenizer_config"):
        kf.text.SentencePieceTokenizer.load(tmp_path)
    with pytest.raises(InputError, match="max_length"):
        SentencePieceTokenizer(tokenizer.model, max_length=0)


@pytest.mark.parametrize("kind", ["bpe", "unigram"])
def test_as_many_pieces_as_there_are(kind):
    model = learn_sentencepiece(["a b", "b c"] * 5, 310, kind=kind, at_most=True)
    assert 260 < SentencePieceTokenizer(model).vocabulary_size < 310
    assert learn_sentencepiece(TEXTS, 300, kind=kind, at_most=True) == learn_sentencepiece(TEXTS, 300, kind=kind)


def test_learned_from_short_texts_alone():
    model = kf.text.learn_sentencepiece(["a b", "b c"] * 3, 264, kind="bpe")
    tokenizer = kf.text.SentencePieceTokenizer(model)
    assert tokenizer.detokenize(tokenizer.tokenize(["a b c"])).numpy().tolist() == [b"a b c"]
