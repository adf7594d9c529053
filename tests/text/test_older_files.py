"""Older tokenizer files as one `tokenizer.json`: the `tokenizers` library gives the ids of the published one."""

import json
import os
import pathlib
import shutil

import numpy as np
import pytest

import kerasformer as kf
from kerasformer.errors import InputError
from kerasformer.families import FAMILIES, open_checkpoint, write_checkpoint
from kerasformer.families.encoders import checkpoint_tokenizer
from kerasformer.families.family import Settings
from kerasformer.models import decoder, encoder
from kerasformer.text.older_files import wordpiece
from tests.fixtures.record_older_files import TEXTS as RECORDED_TEXTS
from tests.fixtures.record_older_files import WORDS

tokenizers = pytest.importorskip("tokenizers")

DATA = pathlib.Path(os.environ.get("KF_DATA", "nowhere")) / "tokenizers"
TEXTS = [
    "Hello world, it's 3.14 — naïve café 😀 日本語",
    "",
    "  two  spaces\n\tand a tab ",
    "a <mask> [MASK] <|endoftext|> </s>[SEP]",
    "ÉCOLE Straße ǅ ﬁ",
    "x" * 150,
]
FILES = {
    "bert-base-uncased": "bert",
    "bert-base-cased": "bert",
    "bert-base-chinese": "bert",
    "roberta-base": "roberta",
    "all-mpnet-base-v2": "mpnet",
    "gpt2": "gpt2",
}
_ENCODER = {
    "hidden_size": 8,
    "num_hidden_layers": 1,
    "num_attention_heads": 2,
    "intermediate_size": 12,
    "max_position_embeddings": 514,
    "pad_token_id": 1,
}
CONFIGS = {
    "bert": _ENCODER,
    "roberta": _ENCODER,
    "gpt2": {"n_embd": 8, "n_head": 2, "n_layer": 1, "n_positions": 512},
}
SMALL = ("vocab.txt", "vocab.json", "merges.txt", "tokenizer_config.json", "special_tokens_map.json")


def older_files(name, target):
    if not (DATA / name).is_dir():
        pytest.skip("needs $KF_DATA/tokenizers")
    target.mkdir(exist_ok=True)
    for file in SMALL:
        if (DATA / name / file).is_file():
            shutil.copy(DATA / name / file, target)
    return target


@pytest.mark.parametrize("name", FILES)
def test_as_the_published_tokenizer(name, tmp_path):
    folder = older_files(name, tmp_path)
    found = tokenizers.Tokenizer.from_str(json.dumps(FAMILIES[FILES[name]].tokenizer(folder)))
    expected = tokenizers.Tokenizer.from_file(str(DATA / name / "tokenizer.json"))
    expected.no_padding()
    expected.no_truncation()
    pairs = list(zip(TEXTS, reversed(TEXTS), strict=True))
    for texts in (TEXTS, pairs):
        for one, other in zip(found.encode_batch(texts), expected.encode_batch(texts), strict=True):
            assert (one.ids, one.offsets) == (other.ids, other.offsets)
    # The published ones give both texts of a pair the same type, or another processor's.
    if FILES[name] not in ("roberta", "mpnet"):
        assert [row.type_ids for row in found.encode_batch(pairs)] == [
            row.type_ids for row in expected.encode_batch(pairs)
        ]


@pytest.mark.parametrize("name", ["bert-base-uncased", "roberta-base", "gpt2"])
def test_a_folder_with_them_alone(name, tmp_path):
    """Without `tokenizer_class` too, in which case the family says what the files are."""
    folder, expected = older_files(name, tmp_path), kf.text.Tokenizer.from_folder(DATA / name)
    for file in ("tokenizer_config.json", "special_tokens_map.json"):
        (folder / file).unlink(missing_ok=True)
    family = FAMILIES[FILES[name]]
    fields = CONFIGS[family.model_type] | {"vocab_size": expected.vocabulary_size}
    config = family.config(Settings(fields, "config.json"))
    backbone = decoder(config) if config.blocks[0].causal else encoder(config)
    write_checkpoint(folder, backbone, None, model_type=family.model_type)
    found = checkpoint_tokenizer(open_checkpoint(folder))
    np.testing.assert_array_equal(found(TEXTS)["token_ids"], expected(TEXTS)["token_ids"])


def test_words_split_by_another_tool(tmp_path):
    folder = older_files("bert-base-japanese-v3", tmp_path)
    with pytest.raises(InputError, match=r"Received: tokenizer_class 'BertJapaneseTokenizer'") as error:
        wordpiece(folder)
    assert "\n" not in str(error.value)


RECORDED = np.load(pathlib.Path(__file__).parents[1] / "fixtures" / "older_files.npz")


def write_codes(folder, vocabulary=None, codes=None, **settings):
    texts = {"vocab.txt": vocabulary or str(RECORDED["phobert/vocabulary"]), "bpe.codes": codes or CODES}
    for name, text in (texts | {"tokenizer_config.json": json.dumps(settings)}).items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


CODES = str(RECORDED["phobert/codes"])


def test_codes_of_fast_bpe(tmp_path):
    """PhoBERT's ids as transformers gives them, and BERTweet's, which has the same files."""
    tokenizer = kf.text.Tokenizer.from_folder(write_codes(tmp_path, tokenizer_class="BertweetTokenizer"))
    texts = [*RECORDED_TEXTS, *WORDS]
    for part, inputs in (("ids", tokenizer(texts)), ("pair_ids", tokenizer(texts, texts[::-1]))):
        found = np.where(inputs["padding_mask"], inputs["token_ids"], -1)
        np.testing.assert_array_equal(found, RECORDED[f"phobert/{part}"])
    text = "cat on the mat,"
    assert tokenizer.detokenize(tokenizer.tokenize([text])).numpy()[0].decode() == text


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"vocabulary": "a 1\nb@@\n"}, r"vocab\.txt must hold a token and its count a line\. Received: 'b@@'"),
        ({"vocabulary": "a 1\nb@@ 1\n"}, r"bpe\.codes must belong to vocab\.txt.* are not in the vocabulary, such as"),
        ({"tokenizer_class": "BertTokenizer"}, "read for PhobertTokenizer, BertweetTokenizer"),
    ],
)
def test_codes_that_are_refused(changes, words, tmp_path):
    with pytest.raises(InputError, match=words) as error:
        kf.text.Tokenizer.from_folder(write_codes(tmp_path, **changes))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("files", "words"),
    [
        ({}, r"must hold tokenizer\.json, or vocab\.txt, .*Found: none of them"),
        ({"vocab.json": "{}"}, r"vocab\.json with merges\.txt, .*Found: vocab\.json"),
        ({"source.spm": "", "vocab.json": "{}"}, "must have one tokenizer.*Received: Marian's"),
        ({"vocab.txt": "[UNK]\n", "tokenizer_config.json": '{"tokenizer_class": "BertJapaneseTokenizer"}'}, "BERT"),
    ],
)
def test_folders_that_are_not_read(files, words, tmp_path):
    for name, text in files.items():
        (tmp_path / name).write_text(text)
    with pytest.raises(InputError, match=words) as error:
        kf.text.Tokenizer.from_folder(tmp_path)
    assert "\n" not in str(error.value)


def write(folder, lines, **settings):
    (folder / "vocab.txt").write_text("\n".join(lines) + "\n", encoding="utf-8")
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    return folder


SPECIAL = ["[PAD]", "[UNK]", "[CLS]", "[SEP]"]


def test_settings_and_added_tokens(tmp_path):
    folder = write(
        tmp_path,
        [*SPECIAL, "cat", "dog", "cow"],
        do_lower_case=False,
        strip_accents=True,
        tokenize_chinese_chars=False,
        additional_special_tokens=["<user>"],
        added_tokens_decoder={"8": {"content": "covid19", "normalized": True, "single_word": True}},
    )
    (folder / "added_tokens.json").write_text('{"<user>": 7}')
    found = wordpiece(folder)
    assert found["normalizer"] == {
        "type": "BertNormalizer",
        "clean_text": True,
        "handle_chinese_chars": False,
        "strip_accents": True,
        "lowercase": False,
    }
    tokenizer = tokenizers.Tokenizer.from_str(json.dumps(found))
    assert tokenizer.encode("cat <user>dog covid19 covid19s").ids == [2, 4, 7, 5, 8, 1, 3]


def test_of_a_token_that_is_there_twice_the_last_one_counts(tmp_path):
    found = wordpiece(write(tmp_path, [*SPECIAL, "cat", "dog", "cat"]))
    assert tokenizers.Tokenizer.from_str(json.dumps(found)).encode("cat dog").ids == [2, 6, 5, 3]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        (lambda folder: (folder / "vocab.txt").unlink(), "must hold tokenizer.json or vocab.txt"),
        (lambda folder: (folder / "vocab.txt").write_bytes(b"\xff\n"), "must be a text file in UTF-8"),
        (lambda folder: write(folder, SPECIAL[:-1]), r"must hold sep_token '\[SEP\]'"),
        (lambda folder: (folder / "tokenizer_config.json").write_text("{"), "must be JSON"),
    ],
)
def test_files_that_cannot_be_read(change, words, tmp_path):
    change(write(tmp_path, SPECIAL))
    with pytest.raises(InputError, match=words) as error:
        wordpiece(tmp_path)
    assert "\n" not in str(error.value)


def test_merges_that_cannot_be_read(tmp_path):
    (tmp_path / "vocab.json").write_text(json.dumps({"<|endoftext|>": 0, "a": 1}))
    (tmp_path / "merges.txt").write_text("#version: 0.2\na a\na b c\n")
    with pytest.raises(InputError, match=r"two tokens a line\. Received: 'a b c'"):
        FAMILIES["gpt2"].tokenizer(tmp_path)
