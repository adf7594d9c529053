"""Folders that are written for Hugging Face Transformers, loaded by it; skipped where it is not installed."""

import numpy as np
import pytest

from kerasformer.interop import save_huggingface
from kerasformer.layers import MaskedLanguageModelHead
from kerasformer.models import BertConfig, bert
from kerasformer.text import WordPieceTokenizer

torch = pytest.importorskip("torch")
transformers = pytest.importorskip("transformers")

TOLERANCE = 2e-5
VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "##ly", "so", "Good", "é", "<user>"]
TEXTS = ["so Good", "badly good [MASK] unknown é <user>good", "", "good " * 50]
WIDTH = 24


@pytest.fixture(scope="module", params=["gelu", "gelu_approximate"])
def ours(request):
    config = BertConfig(14, WIDTH, 2, 3, 40, 16, activation=request.param, initializer_range=0.2, epsilon=1e-7)
    encoder = bert(config, pooled=True)
    random = np.random.default_rng(3)
    for weight in encoder.weights:
        if weight.name in ("bias", "beta", "gamma"):
            weight.assign(random.normal(weight.name == "gamma", 0.3, weight.shape))
    tokenizer = WordPieceTokenizer(
        VOCABULARY, lowercase=False, strip_accents=False, max_length=12, additional_special_tokens=["<user>"]
    )
    head = MaskedLanguageModelHead(14, activation=request.param, epsilon=1e-7)
    head.build((None, None, WIDTH))
    for weight in head.weights:
        weight.assign(random.normal(0, 0.3, weight.shape))
    heads = {
        "transform.kernel": head.transform.kernel.numpy(),
        "transform.bias": head.transform.bias.numpy(),
        "norm.gamma": head.norm.gamma.numpy(),
        "norm.beta": head.norm.beta.numpy(),
        "bias": head.bias.numpy(),
        "next_sentence.kernel": random.normal(size=(WIDTH, 2)).astype("float32"),
        "next_sentence.bias": random.normal(size=2).astype("float32"),
    }
    return encoder, tokenizer, head, heads


def load(kind, folder):
    model, report = getattr(transformers, kind).from_pretrained(folder, output_loading_info=True)
    return model.eval(), report


def theirs_of(folder, model):
    inputs = transformers.AutoTokenizer.from_pretrained(folder)(
        TEXTS, padding=True, truncation=True, return_tensors="pt"
    )
    with torch.no_grad():
        return inputs, model(**inputs)


def assert_same_states(outputs, states, pooled, mask):
    np.testing.assert_allclose(outputs["sequence_output"], states * mask[..., None], rtol=0, atol=TOLERANCE)
    if pooled is not None:
        np.testing.assert_allclose(outputs["pooled_output"], pooled, rtol=0, atol=TOLERANCE)


def assert_same_ids(inputs, theirs):
    for ours, name in (("token_ids", "input_ids"), ("padding_mask", "attention_mask")):
        np.testing.assert_array_equal(inputs[ours], theirs[name])


def test_a_bare_encoder(ours, tmp_path):
    encoder, tokenizer, _, _ = ours
    folder = tmp_path / "model"
    save_huggingface(encoder, tokenizer, folder)
    model, report = load("AutoModel", folder)
    assert type(model) is transformers.BertModel
    assert not any(report.values())
    theirs, outputs = theirs_of(folder, model)
    inputs = tokenizer(TEXTS)
    assert_same_ids(inputs, theirs)
    mask = inputs["padding_mask"].numpy()
    assert 0 < mask.mean() < 1
    assert_same_states(encoder(inputs), outputs.last_hidden_state.numpy(), outputs.pooler_output.numpy(), mask)


def test_with_heads(ours, tmp_path):
    encoder, tokenizer, head, heads = ours
    folder = tmp_path / "model"
    save_huggingface(encoder, tokenizer, folder, heads)
    model, report = load("AutoModelForPreTraining", folder)
    assert type(model) is transformers.BertForPreTraining
    assert not any(report.values())
    predictions = model.cls.predictions
    assert predictions.decoder.weight.data_ptr() == model.bert.embeddings.word_embeddings.weight.data_ptr()

    inputs = tokenizer(TEXTS)
    theirs, outputs = theirs_of(folder, model)
    assert_same_ids(inputs, theirs)
    computed = encoder(inputs)
    mask = inputs["padding_mask"].numpy()
    batch, length = mask.shape
    scores = head(
        computed["sequence_output"],
        np.where(mask, np.arange(length), -1).astype("int32"),
        encoder.get_layer("embedding").token.embeddings,
    )
    expected = outputs.prediction_logits.numpy()
    assert expected.shape == (batch, length, 14)
    np.testing.assert_allclose(scores, expected[mask > 0], rtol=0, atol=10 * TOLERANCE)
    next_sentence = computed["pooled_output"] @ heads["next_sentence.kernel"] + heads["next_sentence.bias"]
    np.testing.assert_allclose(next_sentence, outputs.seq_relationship_logits.numpy(), rtol=0, atol=10 * TOLERANCE)


def test_one_head_alone(ours, tmp_path):
    encoder, tokenizer, _, heads = ours
    for name, kind in (("next_sentence", "BertForNextSentencePrediction"), ("", "BertForMaskedLM")):
        some = {key: value for key, value in heads.items() if key.startswith("next_sentence") == bool(name)}
        save_huggingface(encoder, tokenizer, tmp_path / kind, some)
        _, report = load(kind, tmp_path / kind)
        assert not report["missing_keys"]
        # A model of masked tokens has no pooler: ours is written, and passed over.
        assert all("pooler" in key for key in report["unexpected_keys"])


def test_without_a_pooler(ours, tmp_path):
    _, tokenizer, _, heads = ours
    encoder = bert(BertConfig(14, WIDTH, 1, 3, 40, 16))
    masked = {key: value for key, value in heads.items() if not key.startswith("next_sentence")}
    save_huggingface(encoder, tokenizer, tmp_path / "model", masked)
    model, report = load("AutoModelForMaskedLM", tmp_path / "model")
    assert not any(report.values())
    _, outputs = theirs_of(tmp_path / "model", model.bert)
    inputs = tokenizer(TEXTS)
    assert_same_states(encoder(inputs), outputs.last_hidden_state.numpy(), None, inputs["padding_mask"].numpy())
