"""Each component of a `tokenizer.json`, and whole files, against the `tokenizers` library."""

import gzip
import json
import os
import pathlib
import random

import numpy as np
import pytest
import tensorflow as tf

import kerasformer as kf
from benchmarks import compare_tokenizers
from kerasformer.errors import InputError
from kerasformer.text.normal_forms import FORMS_FILE
from kerasformer.text.normalizers import read_normalizer
from kerasformer.text.pre_tokenizers import SPLITS, read_pre_tokenizer
from kerasformer.text.stream import decode

tokenizers = pytest.importorskip("tokenizers")
N, P, Regex = tokenizers.normalizers, tokenizers.pre_tokenizers, tokenizers.Regex
DATA = pathlib.Path(os.environ.get("KF_DATA", "missing")) / "tokenizers"

_POOLS = (
    "  aabsSLldtTmrevRE''..,,\n\r\t\xa0\u2003é日1234٣½_-!?\u0301😀\u017f\u200d\u0085▁▁``İIß、ﬁ①",
    "".join(map(chr, [*range(0x1100, 0x1176), *range(0x11A7, 0x11C3), *range(0xAC00, 0xAC40)])),
    "aeouAEns\u0301\u0323\u0327\u0345\u0334\u0308\u09c7\u09be\u0cc6\u0cc2\u0cd5\u1e9b\u0958\u212b\ufb2c",
)
_DRAW = random.Random(0)
TEXTS = ["".join(_DRAW.choices(_DRAW.choice(_POOLS), k=_DRAW.randrange(14))) for _ in range(2000)]
TEXTS += compare_tokenizers.code_points(211)

NORMALIZERS = [
    *(form() for form in (N.NFC, N.NFD, N.NFKC, N.NFKD, N.Lowercase, N.StripAccents, N.Strip, N.BertNormalizer)),
    N.Strip(True, False),
    N.Strip(False, True),
    N.BertNormalizer(clean_text=False, handle_chinese_chars=False, strip_accents=False),
    N.Prepend("▁"),
    N.Prepend("ab"),
    N.Replace("a", "xyz"),
    N.Replace("''", '"'),
    N.Replace(Regex(" {2,}"), " "),
    N.Replace(Regex(r"[^\p{L}e-k\n]"), "#"),
    N.Replace(Regex("a{2}"), ""),
    N.Replace(Regex(r"a+|\s+b?"), "_"),
    N.Sequence([N.NFKD(), N.StripAccents(), N.Lowercase(), N.Strip()]),
]
PRE_TOKENIZERS = [
    *(make() for make in (P.BertPreTokenizer, P.Whitespace, P.WhitespaceSplit, P.Digits, P.Metaspace, P.Punctuation)),
    P.Digits(True),
    P.Metaspace(prepend_scheme="first"),
    P.Metaspace(prepend_scheme="never", split=False),
    *(P.Punctuation(how) for how in ("removed", "merged_with_previous", "merged_with_next", "contiguous")),
    *(
        P.Split(pattern, how, invert)
        for pattern in ("aa", Regex(r"\s+"))
        for how in ("removed", "isolated", "merged_with_previous", "merged_with_next", "contiguous")
        for invert in (False, True)
    ),
    *(P.Split(Regex(pattern), "isolated") for pattern in SPLITS),
    *(
        P.Split(Regex(pattern), how, invert)
        for pattern, how, invert in (
            (r"(\[[^\]]+]|Br?|é|[a-e]|\.|>>?|-|\%[0-9]{2})", "removed", True),
            (r"\p{L}+\s*|[^\p{L}\s]+", "isolated", False),
            (r"a|ab|\S{2,3}?|(?:'s)+", "merged_with_previous", False),
            (r"\p{L}+[^\p{N}]", "merged_with_next", True),
            (r"[\p{L}\p{N}]+.?", "contiguous", False),
        )
    ),
    P.Sequence([P.WhitespaceSplit(), P.Metaspace(prepend_scheme="first")]),
    P.Sequence([P.Split("s", "isolated"), P.Split(Regex(list(SPLITS)[3]), "removed", True)]),
]


def names(component):
    return component.__getstate__().decode().replace(" ", "")[:60]


def words(steps, texts):
    """The pieces of texts, list of lists of str."""
    stream = decode(tf.constant(texts)).stream
    for step in steps:
        stream = step(stream)
    codes, begins, found = stream.codes.numpy(), stream.begins.numpy(), []
    for code, begin in zip(codes[:-1].tolist(), begins[:-1].tolist(), strict=True):
        if code < 0:
            found.append([])
        elif begin:
            found[-1].append(chr(code))
        else:
            found[-1][-1] += chr(code)
    return found


def check(found, expected):
    wrong = [row for row in zip(TEXTS, found, expected, strict=True) if row[1] != row[2]]
    assert not wrong, wrong[0]


@pytest.mark.parametrize("reference", NORMALIZERS, ids=names)
def test_normalizer(reference):
    steps = read_normalizer(json.loads(reference.__getstate__()), "x")
    found = ["".join(pieces) for pieces in words(steps, TEXTS)]
    check(found, [reference.normalize_str(text) for text in TEXTS])


@pytest.mark.parametrize("reference", PRE_TOKENIZERS, ids=names)
def test_pre_tokenizer(reference):
    steps = read_pre_tokenizer(json.loads(reference.__getstate__()), {}, "x")
    check(words(steps, TEXTS), [[word for word, _ in reference.pre_tokenize_str(text)] for text in TEXTS])


@pytest.mark.exhaustive
def test_tables_are_those_of_the_installed_library():
    from kerasformer.text.build_normal_forms import reference_forms

    with np.load(FORMS_FILE) as file:
        for name, values in reference_forms().items():
            np.testing.assert_array_equal(file[name], values)


@pytest.mark.parametrize("name", ["ModernBERT-base", "qwen3"])
def test_folder(name):
    if not (DATA / name).is_dir():
        pytest.skip("needs $KF_DATA")
    path = DATA / name / "tokenizer.json"
    content = path.read_text() if path.is_file() else gzip.decompress((DATA / name / "tokenizer.json.gz").read_bytes())
    ours, theirs = (
        kf.text.Tokenizer(json.loads(content)),
        tokenizers.Tokenizer.from_str(json.dumps(json.loads(content))),
    )
    texts = [*compare_tokenizers.mixtures(300, ours.special_tokens[:6]), *TEXTS[::3], "  " * 30, "a" * 500]
    found = compare_tokenizers.differences(ours, theirs, texts)
    assert not found, found[0]
    ids = [encoding.ids for encoding in theirs.encode_batch(texts[:300])]
    decoded = [text.decode() for text in ours.detokenize(tf.ragged.constant(ids)).numpy()]
    assert decoded == theirs.decode_batch(ids)


@pytest.mark.parametrize(
    "pattern", [r"(?=a)", "a*", "a|", r"\w+", "^a|b", r"a++|b", r"(a)\1", r"\bab", "(a", "[a", "[a-z&&b]"]
)
def test_expressions_that_are_refused(pattern):
    with pytest.raises(InputError, match="a regular expression must"):
        read_normalizer({"type": "Replace", "pattern": {"Regex": pattern}, "content": ""}, "x")


WORDS = ["<unk>", "a", "ab", "##b", "##abs", "b", "日", "##日本", "##", "é", "'", "1", "12", "##2", "##S", "bs", "d"]
MODELS = [
    {"type": "WordLevel", "unk_token": "<unk>"},
    {"unk_token": "<unk>"},
    {"type": "WordPiece", "unk_token": "<unk>", "continuing_subword_prefix": "##", "max_input_chars_per_word": 5},
    {"type": "WordPiece", "unk_token": "<unk>", "continuing_subword_prefix": "", "max_input_chars_per_word": 100},
]


@pytest.mark.parametrize(
    ("pre_tokenizer", "model"),
    [
        pytest.param(split, model, marks=() if place % 2 == bool(split) else pytest.mark.exhaustive)
        for split in (None, {"type": "Whitespace"})
        for place, model in enumerate(MODELS)
    ],
)
def test_words(pre_tokenizer, model):
    special = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    content = {"version": "1.0", "added_tokens": [{"id": 0, "content": "<unk>", **special}]}
    content |= dict.fromkeys(("normalizer", "post_processor", "decoder"))
    content |= {"pre_tokenizer": pre_tokenizer, "model": {**model, "vocab": {w: i for i, w in enumerate(WORDS)}}}
    ours = kf.text.Tokenizer(content)
    theirs = tokenizers.Tokenizer.from_str(json.dumps(content))
    draw = random.Random(1)
    texts = ["".join(draw.choices("aabbsS日本12d é'", k=draw.randrange(9))) for _ in range(1000)]
    found = compare_tokenizers.differences(ours, theirs, [*texts, *TEXTS[::7], "ab<unk>日<unk>", "a" * 300])
    assert not found, found[0]
    with pytest.raises(InputError, match="`unk_token` must be in the vocabulary"):
        kf.text.Tokenizer({**content, "model": {**content["model"], "unk_token": "odd"}})


def content_with(**changes):
    """The content of a `tokenizer.json` of words, with `added_tokens` as `{content: id}`."""
    vocabulary = {word: place for place, word in enumerate(WORDS)}
    content = dict.fromkeys(("normalizer", "pre_tokenizer", "post_processor", "decoder", "truncation", "padding"))
    content |= {"version": "1.0", "model": {"type": "WordLevel", "unk_token": "<unk>", "vocab": vocabulary}} | changes
    flags = dict.fromkeys(("single_word", "lstrip", "rstrip", "normalized", "special"), False)
    content["added_tokens"] = [{"content": c, "id": i, **flags} for c, i in changes.get("added_tokens", {}).items()]
    return content


@pytest.mark.parametrize("added", [{"a": 40, "x": 41}, {"x": 30, "y": 25}, {"y": 17, "x": 18}])
def test_ids_of_added_tokens_are_the_reference_s_and_not_the_file_s(added):
    content = content_with(added_tokens=added)
    ours, theirs = kf.text.Tokenizer(content), tokenizers.Tokenizer.from_str(json.dumps(content))
    assert not compare_tokenizers.differences(ours, theirs, ["ax", "yx a", "ab"])


@pytest.mark.parametrize(
    ("part", "value"),
    [
        ("added_tokens", "x"),
        ("normalizer", "NFC"),
        ("normalizer", {"type": ["NFC"]}),
        ("normalizer", {"type": "Sequence"}),
        ("pre_tokenizer", {"type": "Split", "pattern": None, "behavior": "Isolated"}),
        ("post_processor", {"type": "BertProcessing", "cls": None, "sep": None}),
        ("model", {"type": "WordLevel", "unk_token": "<unk>", "vocab": None}),
        ("model", {"type": "BPE", "vocab": {"a": "0"}, "merges": []}),
        ("model", {"type": "Unigram", "unk_id": 0, "vocab": [["a"]]}),
        ("decoder", []),
    ],
)
def test_parts_of_another_form_are_told_in_one_line(part, value, tmp_path):
    (tmp_path / "tokenizer.json").write_text(json.dumps(content_with() | {part: value}))
    with pytest.raises(InputError, match=str(tmp_path)) as caught:
        kf.text.Tokenizer.from_folder(tmp_path)
    assert "\n" not in str(caught.value)


def test_a_template_without_its_sequence():
    template = {"type": "TemplateProcessing", "single": [{"Sequence": {"id": "B", "type_id": 0}}], "pair": []}
    with pytest.raises(InputError, match="The template of 1 sequences must hold each once"):
        kf.text.Tokenizer(content_with(post_processor={**template, "special_tokens": {}}))


def test_fields_that_are_refused():
    with pytest.raises(InputError, match="the normalizer Strip has no known field 'odd'"):
        read_normalizer({"type": "Strip", "odd": 1}, "x")
    with pytest.raises(InputError, match="no pre-tokenizer behind ByteLevel"):
        read_pre_tokenizer({"type": "Sequence", "pretokenizers": [{"type": "ByteLevel"}, {"type": "Digits"}]}, {}, "x")
