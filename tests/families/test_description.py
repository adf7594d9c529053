"""What `describe` says of folders that can be published, and of others."""

import json

import numpy as np
import pytest
import tiny_checkpoint
from recorded import FIXTURES, Recorded
from safetensors.numpy import load_file, save_file

import kerasformer as kf
from kerasformer.errors import InputError
from kerasformer.families import describe, write_embedder_settings


@pytest.fixture(scope="module")
def bert():
    return Recorded(FIXTURES / "encoder_bert.npz")


def with_tokenizer(folder, size=None):
    config = json.loads((folder / "config.json").read_text())
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]
    words += [f"w{place}" for place in range((size or config["vocab_size"]) - len(words))]
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    return folder


def changed(folder, **settings):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | settings))
    return folder


def test_a_classifier(bert, tmp_path):
    folder = with_tokenizer(bert.write(tmp_path / "model", "several_labels"))
    tensors = load_file(folder / "model.safetensors")
    config, labels = (json.loads(str(bert[key])) for key in ("config", "labels/several_labels"))
    assert describe(folder) == {
        "family": "bert",
        "architecture": "BertForSequenceClassification",
        "head": "sequence_classification",
        "labels": list(labels["id2label"].values()),
        "problem_type": "multi_label_classification",
        "layers": config["num_hidden_layers"],
        "hidden_dim": config["hidden_size"],
        "heads": config["num_attention_heads"],
        "vocabulary_size": config["vocab_size"],
        "positions": "learned",
        "max_sequence_length": config["max_position_embeddings"],
        "parameters": sum(tensor.size for tensor in tensors.values()),
        "dtypes": {"float32": sum(tensor.size for tensor in tensors.values())},
        "weight_files": ["model.safetensors"],
        "tokenizer": "WordPiece",
        "tokenizer_vocabulary_size": config["vocab_size"],
        "in_transformers": "BertForSequenceClassification",
        "obstacles": [],
    }


def test_shards_in_half_precision(bert, tmp_path):
    folder = with_tokenizer(bert.write(tmp_path / "model", "token_classification"))
    tensors = load_file(folder / "model.safetensors")
    (folder / "model.safetensors").unlink()
    names = ["model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"]
    places = {name: names[place % 2] for place, name in enumerate(tensors)}
    for file in names:
        half = {name: value.astype(np.float16) for name, value in tensors.items() if places[name] == file}
        save_file(half, folder / file)
    (folder / "model.safetensors.index.json").write_text(json.dumps({"weight_map": places}))
    found = describe(folder)
    assert (found["weight_files"], list(found["dtypes"]), found["obstacles"]) == (names, ["float16"], [])


def test_a_decoder(tmp_path):
    recorded = Recorded(FIXTURES / "gpt2.npz")
    found = describe(recorded.write(tmp_path / "model"))
    assert (found["family"], found["head"], found["in_transformers"]) == ("gpt2", "causal_lm", "GPT2LMHeadModel")
    assert found["parameters"] == sum(value.size for value in recorded.below("weight/").values())
    tokenizer, head = found["obstacles"]
    assert "tokenizer.json" in tokenizer or "vocab.json" in tokenizer
    assert "GPT2LMHeadModel is no task here" in head


@pytest.mark.parametrize("name", ["deberta_v3", "deberta_v2"])
def test_parts_that_a_config_leaves_out_are_not_missing(name, tmp_path):
    found = describe(Recorded(FIXTURES / f"encoder_{name}.npz").write(tmp_path / "model", "sequence_classification"))
    assert found["positions"] == "disentangled"
    assert not [line for line in found["obstacles"] if "weight files" in line]


def without_a_tensor(folder):
    tensors = load_file(folder / "model.safetensors")
    del tensors["bert.encoder.layer.1.output.dense.weight"]
    save_file(tensors, folder / "model.safetensors")


def in_int8(folder):
    tensors = load_file(folder / "model.safetensors")
    tensors["classifier.weight"] = tensors["classifier.weight"].astype(np.int8)
    save_file(tensors, folder / "model.safetensors")


OBSTACLES = {
    "another family": (lambda folder: changed(folder, model_type="mamba"), "`model_type` must be one of bert"),
    "code of its own": (lambda folder: changed(folder, auto_map={"AutoModel": "code.Model"}), "which is never run"),
    "another activation": (lambda folder: changed(folder, hidden_act="mish"), "`hidden_act` must be one of"),
    "labels of another head": (lambda folder: changed(folder, id2label={"0": "a"}), "names 1 labels"),
    "another problem": (lambda folder: changed(folder, problem_type="ranking"), "`problem_type` must be"),
    "several numbers": (lambda folder: changed(folder, problem_type="regression"), "It is a regression with"),
    "another head": (
        lambda folder: changed(folder, architectures=["BertForMultipleChoice"]),
        "head of BertForMultipleChoice is no task here. Those of BertForSequenceClassification",
    ),
    "another rate": (lambda folder: changed(folder, classifier_dropout="low"), "`classifier_dropout` must be"),
    "no head": (lambda folder: changed(folder, architectures=["BertModel"]), "no head for a task"),
    "a tensor less": (without_a_tensor, "lack 1 tensors, such as 'encoder.layer.1.output.dense.weight'"),
    "whole numbers": (in_int8, "of type float16, bfloat16, float32, float64. Received: int8"),
    "no tokenizer": (lambda folder: (folder / "vocab.txt").unlink(), "must hold tokenizer.json or vocab.txt"),
    "a component of another kind": (
        lambda folder: with_component(
            folder, {"type": "Split", "pattern": {"Regex": "a(?=b)"}, "behavior": "Isolated"}
        ),
        "the pre-tokenizer Split",
    ),
    "another table": (lambda folder: changed(folder, vocab_size=200), "shape (200, 32), as the config says. Received"),
    "a larger vocabulary": (lambda folder: with_tokenizer(folder, 200), "Its tokenizer has 200 tokens, more than"),
}


def with_component(folder, component):
    path = folder / "tokenizer.json"
    content = {"model": {"type": "WordLevel", "vocab": {"[UNK]": 0}, "unk_token": "[UNK]"}, "pre_tokenizer": component}
    path.write_text(json.dumps(content))


@pytest.mark.parametrize(
    ("labels", "obstacles"), [(["O", "B-x", "I-x"], 0), (["keep", "drop", "swap"], 0), (["O", "x", "x"], 1)]
)
def test_labels_of_tokens(bert, labels, obstacles, tmp_path):
    folder = with_tokenizer(bert.write(tmp_path / "model", "token_classification"))
    count = load_file(folder / "model.safetensors")["classifier.weight"].shape[0]
    tensors = load_file(folder / "model.safetensors")
    tensors |= {
        "classifier.weight": tensors["classifier.weight"][:3],
        "classifier.bias": tensors["classifier.bias"][:3],
    }
    assert count >= 3
    save_file({name: np.ascontiguousarray(value) for name, value in tensors.items()}, folder / "model.safetensors")
    changed(folder, id2label=dict(enumerate(labels)))
    found = describe(folder)
    assert len(found["obstacles"]) == obstacles
    if obstacles:
        assert "must name different labels" in found["obstacles"][0]
    else:
        assert found["labels"] == labels


@pytest.mark.parametrize("case", OBSTACLES)
def test_obstacles(bert, case, tmp_path):
    spoil, message = OBSTACLES[case]
    folder = with_tokenizer(bert.write(tmp_path / "model", "sequence_classification"))
    spoil(folder)
    found = describe(folder)
    assert len(found["obstacles"]) == 1
    assert message in found["obstacles"][0]
    assert {"family", "architecture"} <= found.keys()


def test_a_cross_encoder_with_another_activation(bert, tmp_path):
    folder = with_tokenizer(bert.write(tmp_path / "model", "regression"))
    for activation, obstacles in (("torch.nn.modules.activation.Sigmoid", 0), ("mine.Activation", 1), (["x"], 1)):
        changed(folder, sentence_transformers={"activation_fn": activation})
        found = describe(folder)["obstacles"]
        assert len(found) == obstacles
        assert not found or "The activation of a cross-encoder must be one of" in found[0]


def test_saved_tasks(tmp_path):
    encoder, tokenizer = kf.families.random_encoder(["good", "bad"] * 4, "tiny", vocabulary_size=60, max_length=32)
    kf.tasks.TextClassifier(encoder, tokenizer, ["bad", "good"]).save(tmp_path / "task")
    found = describe(tmp_path / "task")
    assert (found["task"], found["labels"], found["obstacles"]) == ("TextClassifier", ["bad", "good"], [])


def test_a_folder_of_an_encoder(tmp_path):
    folder = tiny_checkpoint.write_folder(tmp_path / "uncased")
    found = describe(folder)
    assert (found["hidden_dim"], found["heads"], found["tokenizer_vocabulary_size"]) == (4, 2, 9)
    assert found["obstacles"] == [
        "It has no head for a task: take the encoder with `kf.load_encoder` and train a task of `kf.tasks`."
    ]


def test_no_model(tmp_path):
    with pytest.raises(InputError, match="Not found in"):
        describe(tmp_path)


def test_an_embedder_needs_no_head(bert, tmp_path):
    """Its config often names the head that the encoder was pretrained with, whose weights are gone."""
    folder = with_tokenizer(bert.write(tmp_path / "model", architectures=["BertForMaskedLM"]))
    assert "Its weight files lack" in describe(folder)["obstacles"][0]
    write_embedder_settings(folder, "mean", 32, normalize=True)
    found = describe(folder)
    assert (found["head"], found["in_transformers"], found["obstacles"]) == ("embedding", "BertModel", [])
