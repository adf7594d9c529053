"""Known values, bad input, and the places where a tokenizer has to run."""

import pickle

import numpy as np
import pytest
import tensorflow as tf
from wordpiece_reference import SPECIAL_TOKENS, byte_offsets, hard_vocabulary, reference_tokenizer

from kerasformer.errors import InputError
from kerasformer.text import WordPieceTokenizer

VOCABULARY = [*SPECIAL_TOKENS, "un", "##aff", "##able", "hello", ",", "world", "!", "cafe", "it", "'", "s", "中", "a"]


@pytest.fixture(scope="module")
def tokenizer():
    return WordPieceTokenizer(VOCABULARY, max_length=8)


@pytest.fixture(scope="module")
def hard():
    """A tokenizer and the reference, over one vocabulary."""
    vocabulary = hard_vocabulary()
    return WordPieceTokenizer(vocabulary), reference_tokenizer(vocabulary)


def test_known_pieces(tokenizer):
    assert tokenizer.tokenize(["Unaffable", "Hello, wörld!", "unaffably", "中a"]).to_list() == [
        [5, 6, 7],
        [8, 9, 10, 11],
        [1],
        [16, 17],
    ]
    assert tokenizer.tokenize(["a"]).dtype == tf.int32


def test_model_inputs_of_texts(tokenizer):
    inputs = tokenizer(["unaffable", "hello"])
    assert {name: value.dtype for name, value in inputs.items()} == dict.fromkeys(inputs, tf.int32)
    np.testing.assert_array_equal(inputs["token_ids"], [[2, 5, 6, 7, 3], [2, 8, 3, 0, 0]])
    np.testing.assert_array_equal(inputs["padding_mask"], [[1, 1, 1, 1, 1], [1, 1, 1, 0, 0]])
    np.testing.assert_array_equal(inputs["segment_ids"], np.zeros([2, 5]))


def test_model_inputs_of_pairs(tokenizer):
    inputs = tokenizer(["unaffable", "a"], ["hello", "world!"])
    np.testing.assert_array_equal(inputs["token_ids"], [[2, 5, 6, 7, 3, 8, 3], [2, 17, 3, 10, 11, 3, 0]])
    np.testing.assert_array_equal(inputs["segment_ids"], [[0, 0, 0, 0, 0, 1, 1], [0, 0, 0, 1, 1, 1, 0]])
    np.testing.assert_array_equal(inputs["padding_mask"], [[1] * 7, [1] * 6 + [0]])


def test_long_texts_are_cut(tokenizer):
    assert tokenizer(["a " * 50])["token_ids"].shape == (1, 8)
    inputs = tokenizer(["unaffable hello", "a"], max_length=4)
    np.testing.assert_array_equal(inputs["token_ids"], [[2, 5, 6, 3], [2, 17, 3, 0]])
    np.testing.assert_array_equal(tokenizer(["a"], max_length=2)["token_ids"], [[2, 3]])
    assert tokenizer(["a"], max_length=int(1e30))["token_ids"].shape == (1, 3)


@pytest.mark.parametrize("max_length", range(3, 16))
def test_pairs_are_cut_as_the_reference_cuts_them(hard, max_length):
    tokenizer, reference = hard
    texts, pairs = zip(*[("a " * first, "b " * second) for first in range(14) for second in range(14)], strict=True)
    reference.enable_truncation(max_length)
    reference.enable_padding()
    expected = reference.encode_batch(list(zip(texts, pairs, strict=True)))
    reference.no_truncation()
    reference.no_padding()
    inputs = tokenizer(list(texts), list(pairs), max_length=max_length)
    np.testing.assert_array_equal(inputs["token_ids"], [encoding.ids for encoding in expected])
    np.testing.assert_array_equal(inputs["segment_ids"], [encoding.type_ids for encoding in expected])
    np.testing.assert_array_equal(inputs["padding_mask"], [encoding.attention_mask for encoding in expected])


def test_special_tokens_are_found_literally(tokenizer):
    texts = ["[MASK]", "a[MASK]a[SEP][CLS]", "[mask]", "[ MASK]", "[[MASK]]", "[MAS", "[PAD] [UNK]", "[MA\0SK]"]
    assert tokenizer.tokenize(texts).to_list() == [
        [4],
        [17, 4, 17, 3, 2],
        [1, 1, 1],
        [1, 1, 1],
        [1, 4, 1],
        [1, 1],
        [0, 1],
        [1, 1, 1],
    ]
    # A token does not begin in one text and end in the next.
    assert tokenizer.tokenize(["[MA", "SK]"]).to_list() == [[1, 1], [1, 1]]


def test_special_tokens_that_overlap():
    special = ["aba", "ab", "[MASK][", "a b"]
    vocabulary = [*SPECIAL_TOKENS, *special, "a", "b", "[", "##a", "##b"]
    tokenizer = WordPieceTokenizer(vocabulary, additional_special_tokens=special)
    reference = reference_tokenizer(vocabulary, special_tokens=[*SPECIAL_TOKENS, *special])
    texts = ["ababa", "abababab", "aab", "[MASK][MASK]", "[MASK][[SEP]", "a ba b", "", "b", "ab" * 500, "xaba", "aBa"]
    assert tokenizer.tokenize(texts).to_list() == [
        encoding.ids for encoding in reference.encode_batch(texts, add_special_tokens=False)
    ]


def test_offsets(tokenizer):
    texts = [" Café, HELLO!", "cafe\u0301 a", "😀中a", "c\u200daf\u0301e", "[MASK]é"]
    ids, starts, ends = tokenizer.tokenize_with_offsets(texts)
    assert {starts.dtype, ends.dtype, ids.dtype} == {tf.int32}
    assert ids.to_list()[0] == [12, 9, 8, 11]
    cut = [
        [text.encode()[start:end].decode() for start, end in zip(*row, strict=True)]
        for text, *row in zip(texts, starts.to_list(), ends.to_list(), strict=True)
    ]
    assert cut == [["Café", ",", "HELLO", "!"], ["cafe", "a"], ["😀", "中", "a"], ["c\u200daf\u0301e"], ["[MASK]", "é"]]


def test_offsets_of_marks_that_change_places(hard):
    tokenizer, reference = hard
    texts = ["e\u0301\U0001d165b", "a\U0001d15e\u1b44b", "\u302e\U0001d165\u1b44", "각e\U0001d16d\U0001d165\u0344"]
    ids, starts, ends = tokenizer.tokenize_with_offsets(texts)
    for row, encoding in enumerate(reference.encode_batch(texts, add_special_tokens=False)):
        assert ids[row].numpy().tolist() == encoding.ids
        received = list(zip(starts[row].numpy(), ends[row].numpy(), strict=True))
        assert received == byte_offsets(texts[row], encoding.offsets)


def test_long_words_are_counted_in_characters(hard):
    tokenizer, reference = hard
    texts = [char * count + " a" for char in "aé각中\U00010428" for count in (33, 34, 99, 100, 101, 400)]
    ids, starts, ends = tokenizer.tokenize_with_offsets(texts)
    for row, encoding in enumerate(reference.encode_batch(texts, add_special_tokens=False)):
        assert ids[row].numpy().tolist() == encoding.ids
        received = list(zip(starts[row].numpy(), ends[row].numpy(), strict=True))
        assert received == byte_offsets(texts[row], encoding.offsets)
    assert tokenizer.tokenize(["a" * 101]).to_list() == [[tokenizer.unknown_id]]


def test_nothing_to_tokenize(tokenizer):
    for nothing in ([], np.array([], object), tf.zeros([0], tf.string)):
        assert tokenizer.tokenize(nothing).shape[0] == 0
        assert tokenizer(nothing)["token_ids"].shape == (0, 2)
        assert tokenizer(nothing, nothing)["padding_mask"].shape == (0, 3)
        assert [value.shape[0] for value in tokenizer.tokenize_with_offsets(nothing)] == [0, 0, 0]
    assert tokenizer.tokenize(["", " \t\n", "\0", "\u0301", b"\xff"]).to_list() == [[]] * 5
    np.testing.assert_array_equal(tokenizer([""], [""])["token_ids"], [[2, 3, 3]])


@pytest.mark.parametrize(
    "text",
    [
        b"a\xffb",
        b"\xe4\xb8\xada\xe4\xb8",
        b"\xc3(",
        b"a\xed\xa0\x80b c",
        b"\xf0\x9f\x98",
        b"\xef\xbb\xbfa",
        b"a\0\xc0b",
    ],
)
def test_bytes_that_are_not_utf8_are_left_out(hard, text):
    tokenizer, reference = hard
    ids, _, _ = tokenizer.tokenize_with_offsets([text, b"a"])
    assert ids[0].numpy().tolist() == reference.encode(text.decode(errors="replace"), add_special_tokens=False).ids
    # Offsets count the caller's bytes.
    ids, starts, ends = tokenizer.tokenize_with_offsets([text + b" abc"])
    assert (text + b" abc")[starts[0, -1] : ends[0, -1]] == b"abc"


@pytest.mark.parametrize("unit", ["hello wörld ", "[MASK]", "a", "각 "])
def test_a_long_text(hard, unit):
    tokenizer, _ = hard
    count = 1_000_000 // len(unit)
    pieces = tokenizer.tokenize([unit * count, unit]).to_list()
    assert pieces[0] == ([tokenizer.unknown_id] if unit == "a" else pieces[1] * count)


def test_runs_in_graphs_and_pipelines(tokenizer):
    texts = ["Unaffable [MASK]", "hello 中", ""]
    expected = tokenizer(texts)
    in_graph = tf.function(tokenizer)(tf.constant(texts))
    for name, value in expected.items():
        np.testing.assert_array_equal(in_graph[name], value)
    batches = tf.data.Dataset.from_tensor_slices(texts).batch(3, drop_remainder=True).map(tokenizer)
    assert batches.element_spec["token_ids"].shape.as_list() == [3, None]
    for batch in batches:
        np.testing.assert_array_equal(batch["token_ids"], expected["token_ids"])
    any_rank = tf.function(tokenizer, input_signature=[tf.TensorSpec(None, tf.string)])
    np.testing.assert_array_equal(any_rank(tf.constant(texts))["token_ids"], expected["token_ids"])
    rows = tf.data.Dataset.from_tensor_slices(texts).batch(3).map(tokenizer.tokenize).unbatch()
    assert [row.numpy().tolist() for row in rows] == tokenizer.tokenize(texts).to_list()


def test_detokenize(tokenizer):
    texts = ["Unaffable hello, world!", "it's [MASK] a", "", "[CLS]"]
    expected = [b"unaffable hello, world!", b"it ' s a", b"", b""]
    assert tokenizer.detokenize(tokenizer.tokenize(texts)).numpy().tolist() == expected
    assert tokenizer.detokenize(tokenizer(texts, max_length=64)["token_ids"]).numpy().tolist() == expected
    assert tokenizer.detokenize([[6, 5, 6], [-1, 99, 17]]).numpy().tolist() == [b"##aff unaff", b"a"]
    assert tokenizer.detokenize(tf.zeros([0, 4], tf.int32)).shape == (0,)
    with pytest.raises(InputError, match="`ids` must be integers"):
        tokenizer.detokenize([[1.0]])


def test_detokenize_cleans_up_as_the_reference_does():
    words = ["don", "'", "t", "n", "do", "not", "'m", "##'s", "n't", "'ve", ".", "?", ",", "a", "##.", "do not", "' '"]
    vocabulary = list(dict.fromkeys([*SPECIAL_TOKENS, *words, *(f"##{word}" for word in words)]))
    tokenizer, reference = WordPieceTokenizer(vocabulary), reference_tokenizer(vocabulary)
    rows = np.random.default_rng(0).integers(0, len(vocabulary), [300, 6])
    assert [text.decode() for text in tokenizer.detokenize(rows).numpy()] == reference.decode_batch(rows.tolist())


def test_attributes_and_config(tokenizer):
    assert tokenizer.vocabulary == VOCABULARY
    assert tokenizer.vocabulary_size == len(VOCABULARY)
    ids = [tokenizer.padding_id, tokenizer.unknown_id, tokenizer.start_id, tokenizer.end_id, tokenizer.mask_id]
    assert ids == [0, 1, 2, 3, 4]
    assert WordPieceTokenizer(VOCABULARY[:4]).mask_id is None
    for copy in (WordPieceTokenizer.from_config(tokenizer.get_config()), pickle.loads(pickle.dumps(tokenizer))):
        assert copy.get_config() == tokenizer.get_config()
        assert copy.tokenize(["Unaffable"]).to_list() == [[5, 6, 7]]


@pytest.mark.parametrize(
    ("texts", "message"),
    [
        ([1, 2], r"`texts` must be strings.*\[1, 2\]"),
        (tf.constant([1]), "`texts` must be a dense tensor of strings.*int32, shape"),
        (np.array([1.0]), "`texts` must be strings.*float64"),
        (["a", None], "`texts` must be strings"),
        ("a text", "`texts` must be a list of texts. Received one text: 'a text'"),
        (tf.constant("a"), "`texts` must have one dimension"),
        ([["a"]], "`texts` must have one dimension"),
        (tf.ragged.constant([["a"], []]), "`texts` must be a dense tensor"),
        (["\ud800"], "`texts` must be strings"),
    ],
)
def test_texts_that_are_none(tokenizer, texts, message):
    for call in (tokenizer, tokenizer.tokenize, tokenizer.tokenize_with_offsets):
        with pytest.raises(InputError, match=message) as caught:
            call(texts)
        assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="`pairs`"):
        tokenizer(["a"], texts)


def test_bad_arguments_of_a_call(tokenizer):
    with pytest.raises(InputError, match="`texts` must be strings"):
        tokenizer(None)
    for max_length, pairs in ((1, None), (2, ["a"]), (4.0, None), (True, None)):
        with pytest.raises(InputError, match="`max_length` must be an integer of"):
            tokenizer(["a"], pairs, max_length=max_length)
    with pytest.raises(InputError, match=r"`pairs` must be as many as `texts`. Received: 2 and 1"):
        tokenizer(["a"], ["a", "b"])


@pytest.mark.parametrize(
    ("vocabulary", "settings", "message"),
    [
        ([], {}, "`vocabulary` must hold tokens"),
        (["[PAD]", "[CLS]", "[SEP]"], {}, "`unknown_token` must be in the vocabulary"),
        (VOCABULARY, {"start_token": "<s>"}, "`start_token` must be in the vocabulary. Received: '<s>'"),
        (VOCABULARY, {"additional_special_tokens": ["<e>"]}, "`additional_special_tokens` must be in the vocabulary"),
        ([*VOCABULARY, 7], {}, "`vocabulary` must be a list of str. Received: a int, 7"),
        ("/no/such/vocab.txt", {}, "`vocabulary` must be a file with a token a line.*No such file"),
        (VOCABULARY, {"max_length": 1}, "`max_length` must be"),
        (VOCABULARY, {"max_word_length": 0}, "`max_word_length` must be"),
        ([*VOCABULARY, "中" * 90], {}, "`vocabulary` must be one that WordPiece can use"),
    ],
)
def test_bad_vocabularies_and_settings(vocabulary, settings, message):
    with pytest.raises(InputError, match=message) as caught:
        WordPieceTokenizer(vocabulary, **settings)
    assert "\n" not in str(caught.value)


def test_entries_that_no_word_reaches():
    vocabulary = [*SPECIAL_TOKENS, "a", "", "a b", "\0", "\0aaa", "##", "", "x" * 500, " 5"]
    assert WordPieceTokenizer(vocabulary).tokenize(["a a b ##", "a" * 200]).to_list() == [[5, 5, 1, 1, 1], [1]]


def test_a_token_that_is_in_the_vocabulary_twice_has_its_last_id():
    assert WordPieceTokenizer([*VOCABULARY, "un"]).tokenize(["un"]).to_list() == [[len(VOCABULARY)]]
