"""Models of KerasHub against what is read of them: numbers, classifiers, presets and tokenizers."""

import functools
import io
import types

import keras
import numpy as np
import pytest

import kerasformer as kf
from kerasformer.errors import InputError
from kerasformer.families import (
    checkpoint_tokenizer,
    describe,
    family_of,
    from_keras_hub,
    is_keras_hub_folder,
    open_checkpoint,
    write_checkpoint,
)
from kerasformer.text.byte_level import byte_letters

hub = pytest.importorskip("keras_hub")
sentencepiece = pytest.importorskip("sentencepiece")

WORDS = ["[UNK]", "[CLS]", "[SEP]", "[PAD]", "[MASK]", "good", "bad", "##ly", "so", ".", "é", "語", "日"]
MERGES = ["Ġ g", "o o", "oo d", "Ġg ood", "s o", "Ġ b", "a d", "Ġb ad"]
PIECES = ["<s>", "<pad>", "</s>", "<mask>", *byte_letters(), *(merge.replace(" ", "") for merge in MERGES)]
PIECES = {piece: place for place, piece in enumerate(PIECES)}
SIZES = {"num_layers": 2, "num_heads": 2, "hidden_dim": 8, "intermediate_dim": 12, "max_sequence_length": 16}
SIZES_WITHOUT_HEADS = {name: size for name, size in SIZES.items() if name != "num_heads"}
TEXTS = ["so good", "badly good. so bad", "good"]


def randomized(model):
    random = np.random.default_rng(0)
    for variable in model.trainable_variables:
        variable.assign(variable + 0.3 * random.standard_normal(variable.shape))
    return model


def bert_classifier(**options):
    tokenizer = hub.models.BertTokenizer(vocabulary=WORDS, lowercase=True)
    preprocessor = hub.models.BertTextClassifierPreprocessor(tokenizer=tokenizer, sequence_length=12)
    backbone = hub.models.BertBackbone(vocabulary_size=len(WORDS), **SIZES)
    return randomized(hub.models.BertTextClassifier(backbone, preprocessor=preprocessor, **options))


def roberta_classifier(**options):
    tokenizer = hub.models.RobertaTokenizer(vocabulary=PIECES, merges=MERGES)
    preprocessor = hub.models.RobertaTextClassifierPreprocessor(tokenizer=tokenizer, sequence_length=12)
    backbone = hub.models.RobertaBackbone(vocabulary_size=len(PIECES), **SIZES)
    return randomized(hub.models.RobertaTextClassifier(backbone, preprocessor=preprocessor, **options))


def distilbert_classifier(**options):
    tokenizer = hub.models.DistilBertTokenizer(vocabulary=WORDS, lowercase=True)
    preprocessor = hub.models.DistilBertTextClassifierPreprocessor(tokenizer=tokenizer, sequence_length=12)
    backbone = hub.models.DistilBertBackbone(vocabulary_size=len(WORDS), **SIZES)
    return randomized(hub.models.DistilBertTextClassifier(backbone, preprocessor=preprocessor, **options))


@functools.cache
def proto(*names):
    """A unigram model of SentencePiece whose control tokens are `names`, of padding, unknown, start and end."""
    file = io.BytesIO()
    options = {}
    for name, piece in zip(("pad", "unk", "bos", "eos"), names, strict=True):
        options |= {f"{name}_id": list(filter(None, names)).index(piece), f"{name}_piece": piece} if piece else {}
    options.setdefault("pad_id", -1)
    texts = iter(["so good and badly so", "the good is so bad", "badly good. so bad"] * 8)
    mask = [] if "<s>" in names else ["[MASK]"]
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=texts, model_writer=file, vocab_size=28, hard_vocab_limit=False, model_type="unigram",
        minloglevel=2, user_defined_symbols=mask, **options,
    )  # fmt: skip
    return file.getvalue()


def sentencepiece_classifier(name, names, **options):
    tokenizer = getattr(hub.models, f"{name}Tokenizer")(proto=proto(*names))
    preprocessor = getattr(hub.models, f"{name}TextClassifierPreprocessor")(tokenizer=tokenizer, sequence_length=12)
    sizes = SIZES | {"Albert": {"embedding_dim": 6}, "DebertaV3": {"bucket_size": 4}}.get(name, {})
    backbone = getattr(hub.models, f"{name}Backbone")(vocabulary_size=tokenizer.vocabulary_size(), **sizes)
    return randomized(getattr(hub.models, f"{name}TextClassifier")(backbone, preprocessor=preprocessor, **options))


SENTENCEPIECE = {
    "xlm_roberta": ("XLMRoberta", (None, "<unk>", "<s>", "</s>")),
    "albert": ("Albert", ("<pad>", "<unk>", "[CLS]", "[SEP]")),
    "deberta": ("DebertaV3", ("[PAD]", "[UNK]", "[CLS]", "[SEP]")),
}
MAKERS = {"bert": bert_classifier, "roberta": roberta_classifier, "distilbert": distilbert_classifier} | {
    key: functools.partial(sentencepiece_classifier, *arguments) for key, arguments in SENTENCEPIECE.items()
}


@pytest.fixture(params=MAKERS, scope="module")
def classifier(request):
    return MAKERS[request.param](num_classes=3)


@pytest.fixture(scope="module")
def preset(classifier, tmp_path_factory):
    folder = tmp_path_factory.mktemp("preset")
    classifier.save_to_preset(str(folder))
    return folder


def example(backbone):
    random = np.random.default_rng(1)
    mask = (np.arange(9) < np.array([9, 4, 1])[:, None]).astype(np.int32)
    inputs = {"token_ids": random.integers(0, backbone.vocabulary_size, mask.shape).astype(np.int32)}
    if "segment_ids" in backbone.input:
        inputs["segment_ids"] = random.integers(0, 2, mask.shape).astype(np.int32)
    return inputs | {"padding_mask": mask}


def filled(checkpoint, num_outputs=0):
    backbone, head = checkpoint.backbone(pooled=bool(num_outputs)), None
    if num_outputs:
        dense = keras.layers.Dense(num_outputs)
        dense.build((None, SIZES["hidden_dim"]))
        head = types.SimpleNamespace(output=dense)
    checkpoint.assign(backbone, head)
    return backbone, head


def close(actual, expected):
    np.testing.assert_allclose(actual, expected, rtol=0, atol=1e-5)


@pytest.mark.filterwarnings("error::UserWarning")
def test_backbone(classifier, tmp_path):
    theirs = classifier.backbone
    inputs = example(theirs)
    expected = theirs(inputs)
    mask = inputs["padding_mask"][..., None]
    theirs.save_to_preset(str(tmp_path))
    for source in (theirs, tmp_path):
        checkpoint = from_keras_hub(source)
        assert checkpoint.kind is None
        if isinstance(expected, dict):
            backbone = checkpoint.backbone(pooled=True)
            checkpoint.assign(backbone)
            outputs = backbone(inputs)
            close(outputs["pooled_output"], expected["pooled_output"])
            close(outputs["sequence_output"], expected["sequence_output"] * mask)
        else:
            close(filled(checkpoint)[0](inputs)["sequence_output"], expected * mask)
        with pytest.raises(InputError, match="holds no tokenizer"):
            checkpoint.tokenizer_json()


@pytest.mark.filterwarnings("error::UserWarning")
def test_classifier_in_memory_and_from_its_preset(classifier, preset):
    inputs = example(classifier.backbone)
    assert is_keras_hub_folder(preset)
    for checkpoint in (from_keras_hub(classifier), open_checkpoint(preset)):
        assert checkpoint.kind == "sequence_classification"
        assert checkpoint.labels == ["LABEL_0", "LABEL_1", "LABEL_2"]
        assert checkpoint.problem_type == "single_label_classification"
        backbone, head = filled(checkpoint, 3)
        close(head.output(backbone(inputs)["pooled_output"]), classifier(inputs))


@pytest.mark.filterwarnings("error::UserWarning")
def test_answers_of_a_loaded_preset(classifier, preset):
    """From strings: the tokenizer of the preset gives the ids of theirs."""
    task = kf.load(preset)
    expected = classifier.preprocessor(TEXTS)
    found = task.tokenizer(TEXTS)
    width = found["token_ids"].shape[1]
    ids, mask = found["token_ids"].numpy(), found["padding_mask"].numpy()
    np.testing.assert_array_equal(mask, np.array(expected["padding_mask"])[:, :width])
    np.testing.assert_array_equal(ids * mask, np.array(expected["token_ids"])[:, :width] * mask)
    logits = task.model(task.batch_inputs({"text": TEXTS}))["logits"]
    np.testing.assert_allclose(logits, classifier(expected), rtol=0, atol=1e-4)


def test_description(classifier, preset):
    found = describe(preset)
    assert found["weight_files"] == ["model.weights.h5", "task.weights.h5"]
    assert (found["architecture"], found["obstacles"]) == (type(classifier).__name__, [])
    assert "in_transformers" not in found


def test_written_as_a_folder_of_hugging_face(classifier, tmp_path):
    """RoBERTa too is of a shape that the family has: positions behind padding, one segment."""
    backbone, head = filled(from_keras_hub(classifier), 3)
    family = family_of(backbone.config)
    # XLM-RoBERTa is written as RoBERTa, and DeBERTa-v3 is DeBERTa-v2.
    assert family.class_name.removesuffix("V2") in type(classifier).__name__
    write_checkpoint(tmp_path, backbone, "sequence_classification", head, labels=["a", "b", "c"])
    again, head = filled(open_checkpoint(tmp_path), 3)
    inputs = example(classifier.backbone)
    close(head.output(again(inputs)["pooled_output"]), classifier(inputs))
    transformers, torch = pytest.importorskip("transformers"), pytest.importorskip("torch")
    model = transformers.AutoModelForSequenceClassification.from_pretrained(tmp_path).eval()
    names = {"token_ids": "input_ids", "segment_ids": "token_type_ids", "padding_mask": "attention_mask"}
    if "Roberta" in family.class_name:
        # It counts the positions of tokens that are not its padding token.
        inputs["token_ids"] = np.where(inputs["padding_mask"] > 0, np.maximum(inputs["token_ids"], 2), 1)
    with torch.no_grad():
        logits = model(**{names[key]: torch.tensor(value).long() for key, value in inputs.items()}).logits
    close(logits.numpy(), classifier(inputs))


@pytest.mark.parametrize(
    ("options", "problem_type"),
    [
        ({"num_classes": 2, "activation": "softmax"}, "single_label_classification"),
        ({"num_classes": 2, "activation": "sigmoid"}, "multi_label_classification"),
        ({"num_classes": 1}, "regression"),
    ],
)
def test_activations(options, problem_type):
    model = bert_classifier(**options)
    checkpoint = from_keras_hub(model)
    assert checkpoint.problem_type == problem_type
    backbone, head = filled(checkpoint, options["num_classes"])
    inputs = example(model.backbone)
    logits = head.output(backbone(inputs)["pooled_output"])
    close(model.activation(logits), model(inputs))


def test_low_rank_updates_are_merged():
    model = bert_classifier(num_classes=2)
    model.backbone.enable_lora(2)
    randomized(model.backbone)
    inputs = example(model.backbone)
    backbone, head = filled(from_keras_hub(model), 2)
    close(head.output(backbone(inputs)["pooled_output"]), model(inputs))


def test_bert_tokenizer():
    options = {"lowercase": True, "strip_accents": True, "split_on_cjk": False}
    tokenizer = hub.models.BertTokenizer(vocabulary=WORDS, **options)
    model = bert_classifier(num_classes=2)
    model.preprocessor.tokenizer = tokenizer
    found = from_keras_hub(model).tokenizer_json()
    assert found["normalizer"]["lowercase"]
    assert found["normalizer"]["strip_accents"]
    assert not found["normalizer"]["handle_chinese_chars"]
    assert list(found["model"]["vocab"]) == WORDS
    tokenizer = checkpoint_tokenizer(from_keras_hub(bert_classifier(num_classes=2)))
    ids = tokenizer(["SO é 日語 x"])["token_ids"]
    assert [WORDS[place] for place in ids.numpy()[0]] == ["[CLS]", "so", "é", "日", "語", "[UNK]", "[SEP]"]


def test_roberta_tokenizer():
    model = roberta_classifier(num_classes=2)
    tokenizer = checkpoint_tokenizer(from_keras_hub(model))
    ids = tokenizer(["so good bad"])["token_ids"].numpy()[0]
    names = {place: piece for piece, place in PIECES.items()}
    assert [names[place] for place in ids] == ["<s>", "so", "Ġgood", "Ġbad", "</s>"]
    assert (tokenizer.padding_id, tokenizer.max_length) == (1, 12)


def other_backbone():
    return hub.models.FNetBackbone(vocabulary_size=5, **SIZES_WITHOUT_HEADS)


def albert_of_groups():
    sizes = SIZES | {"vocabulary_size": 5, "embedding_dim": 6, "num_groups": 2}
    return from_keras_hub(hub.models.AlbertBackbone(**sizes))


BAD = {
    "another backbone": (other_backbone, "one of BertBackbone, RobertaBackbone, .* holds: FNetBackbone"),
    "no model": (lambda: 5, "keras_hub.models.int holds: int"),
    "an activation": (lambda: bert_classifier(num_classes=2, activation="relu"), "`activation` .* has 'relu'"),
    "an activation of one's own": (
        lambda: bert_classifier(num_classes=2, activation=lambda x: x),
        "`activation` .* has ",
    ),
    "groups of blocks": (
        lambda: albert_of_groups().config,
        "`num_hidden_groups` must be 1",
    ),
    "a wide pooler": (lambda: roberta_classifier(num_classes=2, hidden_dim=9), "`hidden_dim` .* backbone, 8"),
}


@pytest.mark.filterwarnings("ignore:The object being serialized includes a `lambda`:UserWarning")
@pytest.mark.parametrize("case", BAD)
def test_other_models(case):
    make, message = BAD[case]
    with pytest.raises(InputError, match=message):
        from_keras_hub(make())


def test_other_folders(classifier, preset, tmp_path):
    other_backbone().save_to_preset(str(tmp_path / "other"))
    with pytest.raises(InputError, match="other holds: FNetBackbone"):
        open_checkpoint(tmp_path / "other")
    assert not is_keras_hub_folder(tmp_path)
    classifier.save_to_preset(str(tmp_path / "damaged"))
    (tmp_path / "damaged" / "model.weights.h5").write_bytes(b"")
    with pytest.raises(InputError, match="damaged cannot be loaded, is it complete"):
        open_checkpoint(tmp_path / "damaged")
