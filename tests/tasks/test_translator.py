"""The translator: what it learns, answers, saves and serves."""

import json

import keras
import numpy as np
import pytest
import tensorflow as tf

import kerasformer as kf
from kerasformer.errors import InputError
from kerasformer.serving.precision import _lost as lost
from kerasformer.serving.precision import main_metric, metrics_in, plan_for
from kerasformer.serving.preview.loaded_model import LoadedModel
from kerasformer.tasks.translation_pieces import TranslationPieces, language_tag

WORDS = ["red", "blue", "old", "new", "cat", "dog", "house", "tree"]
PAIRS = [(f"the {a} {b}", f"{b.upper()} {a.upper()}") for a in WORDS[:4] for b in WORDS[4:]]


@pytest.fixture(scope="module")
def tokenizer():
    model = kf.text.learn_sentencepiece(
        [text for pair in PAIRS for text in pair], 330, kind="bpe", special_tokens=["<2de>", "<2fr>"]
    )
    return kf.text.SentencePieceTokenizer(model, max_length=24)


def make(tokenizer, **arguments):
    keras.utils.set_random_seed(1)
    target = arguments.get("target_tokenizer")
    config = kf.models.TransformerConfig(
        vocabulary_size=tokenizer.vocabulary_size,
        target_vocabulary_size=target and target.vocabulary_size,
        hidden_dim=32,
        num_encoder_layers=1,
        num_decoder_layers=1,
        num_heads=2,
        intermediate_dim=64,
        dropout=0.0,
        norm_first=True,
        tie_embeddings=arguments.pop("tie_embeddings", True),
    )
    return kf.tasks.Translator(kf.models.transformer(config), tokenizer, **arguments)


def data(pairs=PAIRS, batch=16):
    sources, targets = (list(column) for column in zip(*pairs, strict=True))
    return tf.data.Dataset.from_tensor_slices(({"text": sources, "text_pair": targets}, targets)).batch(batch)


@pytest.fixture(scope="module")
def trained(tokenizer):
    task = make(tokenizer, beam_size=3)
    optimizer = kf.training.adamw(kf.training.linear_warmup(1e-2, 120), weight_decay=0.0)
    trainer = kf.training.Trainer(task, optimizer, steps_per_call=40)
    trainer.fit(data().repeat(120).apply(tf.data.experimental.assert_cardinality(120)))
    trainer.task = task = task.replace(evaluation_beam=3)
    return task, trainer.evaluate(data(batch=8))


def test_precisions_are_compared_by_the_perplexity_or_bleu_of_pairs_in_a_file(trained, tmp_path):
    task = trained[0].replace(evaluation_beam=0)
    file = tmp_path / "pairs.jsonl"
    file.write_text("".join(json.dumps({"text": text, "text_pair": pair}) + "\n" for text, pair in PAIRS))
    pairs = task.labelled_batches(str(file))
    exact = metrics_in(task, "float32", None, pairs)
    found = metrics_in(task, "int8", plan_for(task, "int8", pairs), pairs)
    assert main_metric(exact) == "perplexity"
    assert lost(exact, found) == pytest.approx(found["perplexity"] / exact["perplexity"] - 1)
    assert 1e-6 < abs(lost(exact, found)) < 0.05
    assert lost({"perplexity": 4.0}, {"perplexity": 5.0}) == 0.25
    # With `evaluation_beam` by translations, which are made in the precision, too.
    assert main_metric(metrics_in(trained[0], "bfloat16", None, pairs)) == "bleu"
    lower = task.in_precision("bfloat16")
    assert [model.weights[0].dtype for model in (lower.core_model, lower.model)] == ["bfloat16"] * 2
    file.write_text('{"text": "a", "label": 1}\n')
    with pytest.raises(InputError, match="in the field 'text_pair'"):
        task.labelled_batches(str(file))


def test_learns_and_is_evaluated(trained):
    task, metrics = trained
    assert set(metrics) == {"loss", "perplexity", "bleu", "chrf"}
    assert metrics["chrf"] > 97
    assert metrics["perplexity"] < 1.2
    assert "tok:13a" in task.bleu_signature
    assert "nc:6" in task.chrf_signature
    found = task.translate([source for source, _ in PAIRS])
    assert found["translation"].tolist() == [target for _, target in PAIRS]
    assert not found["truncated"].any()
    assert np.isfinite(found["score"]).all()


@pytest.mark.parametrize("tie_embeddings", [True, False])
def test_the_loss_is_that_of_the_logits(tokenizer, tie_embeddings):
    task = make(tokenizer, tie_embeddings=tie_embeddings)
    features = {"text": tf.constant(["a cat", "the old dog house"]), "text_pair": tf.constant(["DOG", "CAT RED RED"])}
    inputs, labels = task.training_batch(features, features["text_pair"])
    ids = tokenizer(features["text_pair"])
    np.testing.assert_array_equal(inputs["target_padding_mask"], ids["padding_mask"])
    np.testing.assert_array_equal(labels, np.where(ids["padding_mask"], ids["token_ids"], -1))
    np.testing.assert_array_equal(inputs["target_token_ids"][:, 0], [tokenizer.start_id] * 2)
    logits = task.transformer(inputs)["logits"].numpy().astype(np.float64)
    log_probabilities = logits - np.log(np.exp(logits).sum(-1, keepdims=True))
    mask = labels.numpy() >= 0
    own = np.take_along_axis(log_probabilities, np.maximum(labels, 0)[..., None], -1)[..., 0]
    expected = -(0.9 * own + 0.1 * log_probabilities.mean(-1))[mask].sum()
    total, count = task.loss(labels, task.model(inputs))
    np.testing.assert_allclose([total, count], [expected, mask.sum()], rtol=1e-4)
    names = {weight.path for weight in task.model.trainable_variables}
    assert names == {weight.path for weight in task.transformer.trainable_variables}, "all weights are trained"


def test_saved_and_loaded(trained, tmp_path):
    task, _ = trained
    task.save(tmp_path / "task")
    loaded = kf.load(tmp_path / "task")
    assert loaded.settings == task.settings
    texts = ["the red cat", "", "blue"]
    one, other = task.translate(texts), loaded.translate(texts)
    for name, value in one.items():
        np.testing.assert_array_equal(value, other[name])


@pytest.fixture(scope="module")
def served(trained, tmp_path_factory):
    folder = kf.serving.publish(trained[0], tmp_path_factory.mktemp("models") / "translate")
    return LoadedModel(folder)


STRANGE = ["", "   ", "漢字 😀", "the red cat " * 40, "the old tree", "\x00\x01", "<2de> the cat"]


def test_the_export_is_the_python_model(trained, served):
    texts = [source for source, _ in PAIRS] + STRANGE
    expected = trained[0].translate(texts)
    found = served.run("serving_default", {"text": np.array([text.encode() for text in texts], object)})
    assert [text.decode() for text in found["translation"]] == expected["translation"].tolist()
    np.testing.assert_allclose(found["score"], expected["score"], atol=1e-4)
    np.testing.assert_array_equal(found["truncated"], expected["truncated"])
    answers = dict(zip(STRANGE, zip(found["translation"][16:], found["truncated"][16:], strict=True), strict=True))
    assert answers[""] == answers["   "] == (b"", False)
    assert answers["the red cat " * 40][1], "longer than the model's limit, and said so"
    greedy = served.run("greedy", {"text": np.array([b"the red cat"], object)})
    expected = trained[0].translate(["the red cat"], beam_size=1)
    assert greedy["translation"][0].decode() == expected["translation"][0]


def test_options_of_each_row(trained, served):
    text = np.array([b"the red cat"] * 6, object)
    found = served.run(
        "with_options",
        {
            "text": text,
            "length_penalty": np.array([0.6, np.nan, np.inf, 0.0, 2.0, 0.6], np.float32),
            "max_length": np.array([20, 20, 20, 1, 0, -3], np.int32),
        },
    )
    whole = trained[0].translate(["the red cat"])
    assert [text.decode() for text in found["translation"][:3]] == whole["translation"].tolist() * 3
    np.testing.assert_allclose(found["score"][:3], [whole["score"][0]] * 3, atol=1e-4)
    short = trained[0].translate(["the red cat"], max_length=1, length_penalty=0.0)
    assert found["translation"][3].decode() == short["translation"][0]
    assert found["translation"][4:].tolist() == [b"", b""]
    assert found["truncated"].tolist() == [False, False, False, True, True, True]
    assert np.isfinite(found["score"]).all()


def test_tokens_in_and_out(trained, served):
    task = trained[0]
    inputs = task.tokenizer(["the red cat", "the old tree"])
    names = ("token_ids", "padding_mask")
    found = served.run("tokens", {f"source_{name}": inputs[name].numpy() for name in names})
    texts = task.tokenizer.detokenize(found["token_ids"]).numpy().tolist()
    assert [text.decode() for text in texts] == task.translate(["the red cat", "the old tree"])["translation"].tolist()


def test_n_best(trained, served):
    task, texts = trained[0], ["the red cat", "", "the old tree"]
    found = task.translate(texts, num_results=3)
    assert found["translations"].shape == found["scores"].shape == (3, 3)
    assert found["translations"][:, 0].tolist() == found["translation"].tolist() == ["CAT RED", "", "TREE OLD"]
    np.testing.assert_array_equal(found["scores"][:, 0], found["score"])
    assert found["translations"][1].tolist() == ["", "", ""]
    for row in (0, 2):
        assert len(set(found["translations"][row])) == 3
        assert (np.diff(found["scores"][row]) < 0).all()
        inputs = task.tokenizer([texts[row]])
        direct = kf.decoding.search(
            kf.models.DecoderSteps(task.transformer),
            {f"source_{name}": value for name, value in inputs.items()},
            start_id=task.tokenizer.start_id,
            end_id=task.tokenizer.end_id,
            max_length=20,
            num_results=3,
            select=kf.decoding.Beam(3),
            processors=[kf.decoding.ForbiddenTokens((0, 1, 2))],
        )
        words = task.tokenizer.detokenize(tf.RaggedTensor.from_tensor(direct["token_ids"][0], direct["lengths"][0]))
        assert [text.decode() for text in words.numpy()] == found["translations"][row].tolist()
        np.testing.assert_allclose(direct["scores"][0], found["scores"][row], atol=1e-4)
    raw = np.array([text.encode() for text in texts], object)
    answer = served.run("n_best", {"text": raw})
    assert [[text.decode() for text in row] for row in answer["translations"]] == found["translations"].tolist()
    np.testing.assert_allclose(answer["scores"], found["scores"], atol=1e-4)
    with pytest.raises(InputError, match="num_results"):
        task.translate(["a"], num_results=0)


def test_coverage_is_part_of_the_score(trained):
    task = trained[0]
    covering = kf.tasks.Translator(task.transformer, task.tokenizer, beam_size=3, coverage_penalty=0.4)
    assert covering.settings.coverage_penalty == 0.4
    found = covering.translate(["the red cat"])
    text = found["translation"][0]
    inputs, labels = task.training_batch({"text": ["the red cat"], "text_pair": [text]}, None)
    logits = task.transformer(inputs)["logits"].numpy().astype(np.float64)[0]
    chosen = logits[np.arange(len(logits)), labels[0]] - np.log(np.exp(logits).sum(-1))
    ((_, _, attention),) = task.align(["the red cat"], [text])
    covered = np.log(np.minimum(attention.astype(np.float64).sum(0), 1)).sum()
    expected = chosen.sum() / ((5 + len(logits)) / 6) ** 0.6 + 0.4 * covered
    assert found["score"][0] == pytest.approx(expected, abs=2e-3)


def test_two_vocabularies(tmp_path):
    sources, targets = ([pair[side] for pair in PAIRS] for side in (0, 1))
    source, target = (
        kf.text.SentencePieceTokenizer(kf.text.learn_sentencepiece(texts, size, kind="bpe"), max_length=length)
        for texts, size, length in ((sources, 320, 24), (targets, 310, 20))
    )
    assert source.vocabulary != target.vocabulary
    task = make(source, target_tokenizer=target, beam_size=2)
    optimizer = kf.training.adamw(kf.training.linear_warmup(1e-2, 240), weight_decay=0.0)
    trainer = kf.training.Trainer(task, optimizer, steps_per_call=40)
    trainer.fit(data().repeat(240).apply(tf.data.experimental.assert_cardinality(240)))
    texts = [*sources, "", "漢字"]
    found = task.translate(texts)
    assert found["translation"].tolist()[:16] == targets

    task.save(tmp_path / "task")
    loaded = kf.load(tmp_path / "task")
    assert loaded.target_tokenizer.vocabulary == target.vocabulary
    np.testing.assert_array_equal(loaded.translate(texts)["translation"], found["translation"])
    served = LoadedModel(kf.serving.publish(loaded, tmp_path / "models"))
    answer = served.run("serving_default", {"text": np.array([text.encode() for text in texts], object)})
    assert [text.decode() for text in answer["translation"]] == found["translation"].tolist()
    ((pieces, _, _),) = task.align(sources[:1], targets[:1])
    assert "".join(pieces[:-1]).replace("▁", " ").strip() == targets[0]

    with pytest.raises(InputError, match="needs a `target_tokenizer`"):
        kf.tasks.Translator(task.transformer, source)
    with pytest.raises(InputError, match=r"tokens does not fit"):
        kf.tasks.Translator(task.transformer, source, target_tokenizer=source)


def test_alignment(trained):
    task, _ = trained
    found = task.align(["the red cat", "the old tree and"], ["CAT RED", "TREE"])
    for (target, source, attention), text in zip(found, ["CAT RED", "TREE"], strict=True):
        assert target[-1] == source[-1] == "</s>"
        assert "".join(target[:-1]).replace("▁", " ").strip() == text
        assert attention.shape == (len(target), len(source))
        np.testing.assert_allclose(attention.sum(1), np.ones(len(target)), atol=1e-5)


def test_several_languages(tokenizer):
    task = make(tokenizer, target_languages=["de", "fr"])
    pieces = TranslationPieces(tokenizer, tokenizer, ["de", "fr"])
    tagged = pieces.tagged(tf.constant(["a cat", "<2fr> a cat", " <2de>\na cat"])).numpy().tolist()
    assert pieces.asks_for(["a cat", "<2fr> a cat", " <2de>\na cat"]).tolist() == [-1, 1, 0]
    assert tagged == [b"<2de> a cat", b"<2fr> a cat", b" <2de>\na cat"]
    pairs = [(f"{language_tag(language)} {a}", f"{b} {language}") for a, b in PAIRS for language in ("de", "fr")]
    task = task.replace(evaluation_beam=1)
    metrics = kf.training.Trainer(task, kf.training.adamw(3e-3)).evaluate(data(pairs[:8]))
    assert {"bleu_de", "bleu_fr", "chrf_de"} <= set(metrics)
    found = task.translate([PAIRS[0][0], "", " "], "fr")
    tagged, bare = task.translate(["<2de> the red cat", "the red cat"])["translation"]
    assert tagged == bare != found["translation"][0]
    assert found["translation"].tolist()[1:] == ["", ""]


def test_tags_in_lower_case():
    texts = ["The cat", "A dog"] * 4
    model = kf.text.learn_sentencepiece(texts, 300, special_tokens=["<2pt_br>", "<2de>"], lowercase=True, at_most=True)
    pieces = TranslationPieces(*[kf.text.SentencePieceTokenizer(model, lowercase=True)] * 2, ["de", "pt_BR"])
    given = ["<2pt_BR> The cat", "\u00a0<2pt_br> a", "\t<2DE> a", "a"]
    assert pieces.asks_for(given).tolist() == [1, -1, 0, -1]
    tagged = [text.decode() for text in pieces.tagged(tf.constant(given)).numpy()]
    assert tagged == ["<2pt_BR> The cat", "<2de> \u00a0<2pt_br> a", "\t<2DE> a", "<2de> a"]
    rows = [[pieces.source.vocabulary[token] for token in row] for row in pieces.source.tokenize(tagged).to_list()]
    assert [[piece for piece in row if piece in pieces.tags] for row in rows] == [
        ["<2pt_br>"],
        ["<2de>", "<2pt_br>"],
        ["<2de>"],
        ["<2de>"],
    ]


def test_a_setting_that_is_changed_counts(tokenizer):
    """Though a translation before it was traced with the old one."""
    texts = ["the red cat", "a dog"]
    task, changes = make(tokenizer), {"min_length": 8, "length_penalty": 3.0, "beam_size": 1}
    before = task.translate(texts)
    found, expected = task.replace(**changes).translate(texts), make(tokenizer, **changes).translate(texts)
    assert found["translation"].tolist() == expected["translation"].tolist()
    np.testing.assert_allclose(found["score"], expected["score"], rtol=1e-5)
    assert np.abs(before["score"] - found["score"]).min() > 1e-3, "otherwise nothing is tested"


def test_no_texts(trained):
    task = trained[0]
    assert {name: len(value) for name, value in task.translate([], beam_size=3, length_penalty=0.5).items()} == {
        "translation": 0,
        "score": 0,
        "truncated": 0,
    }
    assert len(task.translate([], num_results=2)["translations"]) == 0
    assert task.align([], []) == []


def test_learned_positions_must_be_as_many_as_the_tokenizers_tokens(tokenizer):
    sizes = {"hidden_dim": 16, "num_encoder_layers": 1, "num_decoder_layers": 1, "num_heads": 2, "intermediate_dim": 16}
    sizes |= {"vocabulary_size": tokenizer.vocabulary_size, "positions": "learned"}
    model = kf.models.transformer(kf.models.TransformerConfig(**sizes, max_sequence_length=24))
    long = kf.tasks.Translator(model, tokenizer).translate(["cat " * 60], max_length=99)
    assert long["truncated"].tolist() == [True]
    with pytest.raises(InputError, match=r"max_length=24 is beyond the model's 10 positions"):
        kf.tasks.Translator(
            kf.models.transformer(kf.models.TransformerConfig(**sizes, max_sequence_length=10)), tokenizer
        )


@pytest.mark.parametrize(
    "positions", [*(pytest.param(name, marks=pytest.mark.exhaustive) for name in ("sinusoidal", "rotary")), "relative"]
)
def test_bfloat16_export(positions, trained, tokenizer, tmp_path):
    if positions == "sinusoidal":
        task = kf.tasks.Translator(trained[0].transformer, tokenizer, beam_size=3, coverage_penalty=0.05)
    else:
        keras.utils.set_random_seed(1)
        sizes = {
            "hidden_dim": 32,
            "num_encoder_layers": 1,
            "num_decoder_layers": 1,
            "num_heads": 2,
            "intermediate_dim": 64,
        }
        config = kf.models.TransformerConfig(tokenizer.vocabulary_size, positions=positions, **sizes)
        task = kf.tasks.Translator(kf.models.transformer(config), tokenizer, beam_size=2)
    kf.serving.export(task, tmp_path / "1", precision="bfloat16")
    model, texts = LoadedModel(tmp_path / "1"), [source for source, _ in PAIRS]
    column = np.array([text.encode() for text in texts], object)
    served, expected = model.run("", {"text": column}), task.translate(texts)
    same = [text.decode() for text in served["translation"]] == expected["translation"]
    assert same.any(), "otherwise nothing is compared"
    differences = np.abs(np.asarray(served["score"])[same] - expected["score"][same])
    if positions == "sinusoidal":
        assert expected["translation"].tolist() == [target for _, target in PAIRS]
        assert same.all()
        assert differences.max() < 0.1
    else:  # An untrained model's hypotheses nearly tie, and other pieces may spell the same text.
        assert np.median(differences) < 0.1
    assert np.isfinite(served["score"]).all()
    options = {"length_penalty": np.zeros(0, np.float32), "max_length": np.zeros(0, np.int32)}
    for signature, more in (("", {}), ("greedy", {}), ("n_best", {}), ("with_options", options)):
        nothing = model.run(signature, {"text": column[:0], **more})
        assert {len(value) for value in nothing.values()} == {0}


def test_mistakes(trained, tokenizer):
    task = trained[0]
    with pytest.raises(InputError, match="one text"):
        task.translate("the red cat")
    with pytest.raises(InputError, match="target_language"):
        task.translate(["a"], "fr")
    with pytest.raises(InputError, match="Received in it: None"):
        task.translate(["a", None])
    with pytest.raises(InputError, match="`translations` must be a list"):
        task.align(["a"], "b")
    with pytest.raises(InputError, match=r"different ones. Received: \['de', 'DE'\]"):
        make(tokenizer, target_languages=["de", "DE"])
    for options in ({"max_length": 0}, {"beam_size": 0}, {"length_penalty": float("nan")}, {"beam_size": "3"}):
        with pytest.raises(InputError, match=next(iter(options))):
            task.translate(["a"], **options)
    with pytest.raises(InputError, match=r"Missing.*<2it>"):
        make(tokenizer, target_languages=["it"])
    with pytest.raises(InputError, match="label_smoothing=1"):
        make(tokenizer, label_smoothing=1)
    config = kf.models.TransformerConfig.named("tiny", vocabulary_size=50)
    with pytest.raises(InputError, match=r"330 tokens does not fit.* 50"):
        kf.tasks.Translator(kf.models.transformer(config), tokenizer)
