"""SentencePiece files alone as one `tokenizer.json`: ids of transformers, and the published files."""

import gzip
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
from kerasformer.models import encoder
from kerasformer.text.sentencepiece_files import from_sentencepiece
from tests.fixtures.record_older_files import FOLDERS, TEXTS, make_model

sentencepiece = pytest.importorskip("sentencepiece")
tokenizers = pytest.importorskip("tokenizers")
DATA = pathlib.Path(os.environ.get("KF_DATA", "nowhere")) / "tokenizers"
RECORDED = np.load(pathlib.Path(__file__).parents[1] / "fixtures" / "older_files.npz")


def write(folder, name, model=None, **settings):
    file, recorded = FOLDERS[name]
    (folder / file).write_bytes(RECORDED[f"{name}/model"].tobytes() if model is None else model)
    (folder / "tokenizer_config.json").write_text(json.dumps(recorded | settings))
    return folder


def reference(folder):
    """The `tokenizers` library on what is made of a folder: as exact as `kf.text.Tokenizer`, and made at once."""
    return tokenizers.Tokenizer.from_str(json.dumps(from_sentencepiece(folder)[0]))


@pytest.mark.parametrize("name", FOLDERS)
def test_ids_of_transformers(name, tmp_path):
    tokenizer = reference(write(tmp_path, name))
    expected, expected_pairs = (
        [ids[ids >= 0].tolist() for ids in RECORDED[f"{name}/{part}"]] for part in ("ids", "pair_ids")
    )
    # Transformers 5 leaves out the map of characters for these, which the last text needs.
    end = -1 if name in ("mbart", "deberta", "deberta-lower") else None
    pairs = list(zip(TEXTS, TEXTS[::-1], strict=True))
    assert [row.ids for row in tokenizer.encode_batch(TEXTS)][:end] == expected[:end]
    assert [row.ids for row in tokenizer.encode_batch(pairs)][1:end] == expected_pairs[1:end]


def test_in_the_graph(tmp_path):
    """The classification token of XLNet is of segment 2."""
    tokenizer = kf.text.Tokenizer.from_folder(write(tmp_path, "xlnet"))
    found, pairs = tokenizer(TEXTS, TEXTS[::-1]), list(zip(TEXTS, TEXTS[::-1], strict=True))
    for row, expected in enumerate(reference(tmp_path).encode_batch(pairs)):
        length = len(expected.ids)
        assert found["token_ids"][row, :length].numpy().tolist() == expected.ids
        assert found["segment_ids"][row, :length].numpy().tolist() == expected.type_ids
    assert (tokenizer.start_id, tokenizer.end_id, tokenizer.padding_id, tokenizer.mask_id) == (3, 4, 5, 6)


def published(name):
    if not (DATA / name).is_dir():
        pytest.skip("needs $KF_DATA/tokenizers")
    path = DATA / name / "tokenizer.json"
    return json.loads(path.read_bytes() if path.is_file() else gzip.decompress(pathlib.Path(f"{path}.gz").read_bytes()))


def test_deberta_v3_as_published(tmp_path):
    """Transformers 4's reading: with the map of characters, and without the bytes of the model."""
    expected = published("deberta-v3")
    for file in ("spm.model", "tokenizer_config.json"):
        shutil.copy(DATA / "deberta-v3" / file, tmp_path)
    assert from_sentencepiece(tmp_path)[0] == {
        name: value for name, value in expected.items() if name not in ("truncation", "padding")
    }


@pytest.mark.parametrize("name", ["barthez", "stories260k-llama"])
def test_byte_pair_as_published(name, tmp_path):
    expected = published(name)
    expected["model"]["merges"] = [
        merge.split(" ") if isinstance(merge, str) else merge for merge in expected["model"]["merges"]
    ]
    for file in ("sentencepiece.bpe.model", "tokenizer.model", "tokenizer_config.json"):
        if (DATA / name / file).is_file():
            shutil.copy(DATA / name / file, tmp_path)
    found, _ = from_sentencepiece(tmp_path)
    for part in ("unk_token", "fuse_unk", "vocab", "merges"):
        assert found["model"][part] == expected["model"][part]
    # BARThez has the notation of 2020 for the others.
    for part in ("added_tokens", "post_processor", *(("normalizer", "pre_tokenizer", "decoder") * ("llama" in name))):
        assert found[part] == expected[part]


@pytest.mark.parametrize("legacy", [True, False])
@pytest.mark.parametrize("prefix", [True, False])
def test_llama(legacy, prefix, tmp_path):
    """What it adds to texts and between them; a space before a text, or before what follows a special token too."""
    model = make_model("", model_type="bpe", remove_extra_whitespaces=False, normalization_rule_name="identity",
                       normalization_rule_tsv="", byte_fallback=True, vocab_size=360)  # fmt: skip
    (tmp_path / "tokenizer.model").write_bytes(model)
    settings = {
        "tokenizer_class": "LlamaTokenizer",
        "legacy": legacy,
        "add_prefix_space": prefix,
        "add_eos_token": True,
    }
    (tmp_path / "tokenizer_config.json").write_text(json.dumps(settings))
    tokenizer = reference(tmp_path)
    found = tokenizer.encode("at<s>at  é\U0001f389")
    start = "▁" if prefix else ""
    assert "".join(found.tokens) == (f"<s>{start}at<s>{start if legacy else ''}at▁▁é<0xF0><0x9F><0x8E><0x89></s>")
    assert tokenizer.decode(found.ids) == ("at at  é\U0001f389" if legacy and prefix else "atat  é\U0001f389")
    pair = tokenizer.encode("at", "at")
    half = len(pair.tokens) // 2
    assert "".join(pair.tokens) == f"<s>{start}at</s>" * 2
    assert pair.type_ids == [0] * half + [1] * half


# The file, how many tokens the family adds behind the pieces, and the types of the first pieces.
REBUILT = {"t5-small": ("spiece.model", 100, [3, 3, 2]), "albert-base-v2": ("spiece.model", 0, [3, 2, 3, 3, 3])}


@pytest.mark.parametrize("name", REBUILT)
def test_published_vocabularies(name, tmp_path):
    """Their SentencePiece files are put together from them again."""
    from sentencepiece import sentencepiece_model_pb2

    expected, (file, added, types) = published(name), REBUILT[name]
    pieces = expected["model"]["vocab"]
    model = sentencepiece_model_pb2.ModelProto(trainer_spec={"model_type": 1}, normalizer_spec={})
    for place, (piece, score) in enumerate(pieces[: len(pieces) - added]):
        # A number with a comma has a score that is lower by 100.
        model.pieces.add(piece=piece, score=score + 100 * (score < -50), type=types[place] if place < len(types) else 1)
    (tmp_path / file).write_bytes(model.SerializeToString())
    shutil.copy(DATA / name / "tokenizer_config.json", tmp_path)
    found, _ = from_sentencepiece(tmp_path)
    for part in ("added_tokens", "post_processor"):
        assert found[part] == expected[part]
    assert found["model"]["unk_id"] == expected["model"]["unk_id"]
    found = found["model"]["vocab"]
    assert [piece for piece, _ in found] == [piece for piece, _ in pieces]
    np.testing.assert_allclose([score for _, score in found], [score for _, score in pieces], atol=1e-5)


def test_xlnet_as_sentencepiece(tmp_path):
    """Pieces that the user defined, such as the period, do not begin a word behind them."""
    path = DATA / "xlnet-base-cased" / "spiece.model"
    if not path.is_file():
        pytest.skip("needs $KF_DATA/tokenizers")
    shutil.copy(path, tmp_path)
    (tmp_path / "config.json").write_text('{"model_type": "xlnet"}')
    texts = ['Hello world, it\'s 3.14 (or "3.1") - and more.', "£5, €6–7", "  two  spaces "]
    processor = sentencepiece.SentencePieceProcessor(model_file=str(path))
    assert [row.ids for row in reference(tmp_path).encode_batch(texts)] == [
        ids + [4, 3] for ids in processor.encode(texts)
    ]


@pytest.mark.parametrize(
    ("settings", "config"),
    [
        ({"tokenizer_class": None}, {"model_type": "xlm-roberta"}),
        ({"tokenizer_class": "PreTrainedTokenizerFast"}, {"model_type": "xlm-roberta"}),
        ({"tokenizer_class": None}, {"model_type": "bert", "tokenizer_class": "XLMRobertaTokenizer"}),
    ],
)
def test_where_the_family_is_said(settings, config, tmp_path):
    expected = from_sentencepiece(write(tmp_path, "xlm-roberta"))
    write(tmp_path, "xlm-roberta", **settings)
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert from_sentencepiece(tmp_path) == expected


def test_a_checkpoint_of_another_family(tmp_path):
    """The encoder of multilingual-e5-small is BERT, its tokenizer XLM-R's."""
    size = len(from_sentencepiece(write(tmp_path, "xlm-roberta"))[0]["model"]["vocab"])
    family = FAMILIES["bert"]
    fields = {"hidden_size": 8, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 12}
    fields |= {"vocab_size": size, "max_position_embeddings": 40}
    write_checkpoint(tmp_path, encoder(family.config(Settings(fields, "config.json"))), None, model_type="bert")
    checkpoint = open_checkpoint(tmp_path)
    assert checkpoint.tokenizer_json() == from_sentencepiece(tmp_path)[0]
    tokenizer = checkpoint_tokenizer(checkpoint)
    assert (tokenizer.max_length, tokenizer.padding_id, tokenizer.mask_id) == (40, 1, size - 1)


def test_tokens_that_are_added(tmp_path):
    """A special token that the model lacks gets the next id, behind those of the files."""
    (tmp_path / "added_tokens.json").write_text(json.dumps({"<user>": 200}))
    found, special = from_sentencepiece(write(tmp_path, "deberta", additional_special_tokens=["<user>"]))
    added = {token["content"]: token["id"] for token in found["added_tokens"] if token["special"]}
    assert (added["<user>"], added["[MASK]"], special["mask_token"]) == (200, 201, "[MASK]")


def test_what_follows_a_sentinel(tmp_path):
    """`legacy` false: without a space it continues a word."""
    text = "the <extra_id_0>cat <extra_id_1> cat  sat "
    pieces = [reference(write(tmp_path, "t5", legacy=legacy)).encode(text).tokens for legacy in (True, False)]
    assert pieces[0] == ["▁the", "<extra_id_0>", "▁cat", "<extra_id_1>", "▁cat", "▁", "s", "at", "</s>"]
    assert pieces[1] == ["▁the", "<extra_id_0>", "c", "at", "<extra_id_1>", "▁cat", "▁", "s", "at", "</s>"]


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        (
            {"tokenizer_class": None},
            r"must say the family of spiece\.model in `tokenizer_class`: one of Albert",
        ),
        ({"tokenizer_class": "PegasusTokenizer"}, "Received: 'PegasusTokenizer'"),
        ({"tokenizer_class": "MBartTokenizer", "src_lang": "xx"}, "`src_lang` must be one of ar_AR"),
        ({"sp_model_kwargs": {"alpha": 0.1}}, "must have sp_model_kwargs {} to be read"),
        ({"remove_space": False}, "must have remove_space True to be read"),
        ({"tokenizer_class": "XLMRobertaTokenizer"}, "must begin with 3 special pieces"),
    ],
)
def test_settings_that_are_refused(settings, words, tmp_path):
    model = make_model("t5", eos_id=-1) if settings.get("tokenizer_class") == "XLMRobertaTokenizer" else None
    with pytest.raises(InputError, match=words) as error:
        from_sentencepiece(write(tmp_path, "t5", model, **settings))
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"model_type": "char"}, "Received: one of the kind 'char'"),
        ({"model_type": "word"}, "Received: one of the kind 'word'"),
        ({"add_dummy_prefix": False}, "must have add_dummy_prefix True to be read"),
        ({"remove_extra_whitespaces": False}, "must have remove_extra_whitespaces True to be read"),
        ({"treat_whitespace_as_suffix": True}, "must have treat_whitespace_as_suffix False to be read"),
    ],
)
def test_models_that_are_refused(settings, words, tmp_path):
    with pytest.raises(InputError, match=words) as error:
        from_sentencepiece(write(tmp_path, "t5", make_model("t5", **settings)))
    assert "\n" not in str(error.value)


def test_damaged_models(tmp_path):
    model = RECORDED["t5/model"].tobytes()
    for stop in [*range(0, len(model), 13), len(model) - 1]:
        with pytest.raises(InputError, match="SentencePiece model"):
            from_sentencepiece(write(tmp_path, "t5", model[:stop]))
    with pytest.raises(InputError, match="Received: another file"):
        from_sentencepiece(write(tmp_path, "t5", b"PK\3\4 not a model"))
