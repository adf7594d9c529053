"""RoBERTa's architecture under other names, with the unigram tokenizer of XLM-RoBERTa."""

import gzip
import json
import os
import pathlib

import numpy as np
import pytest
from recorded import FIXTURES, Recorded, loaded

import kerasformer as kf
from kerasformer.errors import InputError
from kerasformer.families import open_checkpoint

TOKENIZER = pathlib.Path(os.environ.get("KF_DATA", "missing")) / "tokenizers" / "xlm-roberta-base"
NAMES = {"xlm-roberta": "XLMRoberta", "camembert": "Camembert"}


@pytest.fixture(scope="module")
def recorded():
    return Recorded(FIXTURES / "encoder_roberta.npz")


def folder_of(recorded, folder, model_type, kind=None, **changes):
    recorded.write(folder, kind, model_type=model_type, **changes)
    settings = json.loads((folder / "config.json").read_text())
    if kind:
        names = [name.replace("Roberta", NAMES[model_type]) for name in settings["architectures"]]
        (folder / "config.json").write_text(json.dumps(settings | {"architectures": names}))
    return folder


@pytest.mark.parametrize("model_type", NAMES)
def test_numbers_and_heads(recorded, model_type, tmp_path):
    folder = folder_of(recorded, tmp_path / "model", model_type)
    found = loaded(folder)(recorded.inputs)["sequence_output"]
    np.testing.assert_allclose(found, recorded["hidden/2"] * recorded.mask, rtol=0, atol=2e-5)
    checkpoint = open_checkpoint(folder_of(recorded, tmp_path / "head", model_type, "sequence_classification"))
    assert checkpoint.kind == "sequence_classification"
    (tmp_path / "head" / "sentencepiece.bpe.model").write_bytes(b"pieces")
    with pytest.raises(InputError, match=r"sentencepiece\.bpe\.model must be a SentencePiece model"):
        kf.load(tmp_path / "head")


@pytest.mark.exhaustive
@pytest.mark.skipif(not TOKENIZER.is_dir(), reason="needs $KF_DATA")
def test_with_its_own_tokenizer(recorded, tmp_path):
    """The table is made larger, as the real tokenizer needs it."""
    folder = folder_of(recorded, tmp_path / "model", "xlm-roberta", "sequence_classification", vocab_size=250_002)
    from safetensors.numpy import load_file, save_file

    tensors = load_file(folder / "model.safetensors")
    name = "roberta.embeddings.word_embeddings.weight"
    tensors[name] = np.random.default_rng(0).normal(size=(250_002, 32)).astype("float32")
    save_file(tensors, folder / "model.safetensors")
    (folder / "tokenizer.json").write_bytes(gzip.decompress((TOKENIZER / "tokenizer.json.gz").read_bytes()))
    settings = json.loads((TOKENIZER / "tokenizer_config.json").read_text()) | {"model_max_length": 40}
    (folder / "tokenizer_config.json").write_text(json.dumps(settings))
    task = kf.load(folder)
    texts = ["Das ist ein Satz.", "これは文です。", ""]
    reference = pytest.importorskip("tokenizers").Tokenizer.from_file(str(folder / "tokenizer.json"))
    for row, mask, text in zip(*[task.tokenizer(texts)[key].numpy() for key in ("token_ids", "padding_mask")], texts,
                               strict=True):  # fmt: skip
        assert row[mask > 0].tolist() == reference.encode(text).ids
    answers = task.predict(texts)
    assert len({tuple(row) for row in answers["scores"].round(4).tolist()}) == 3
