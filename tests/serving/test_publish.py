"""Exports: published whole and checked, or not at all."""

import errno
import json
import pathlib

import numpy as np
import pytest
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2

import kerasformer as kf
from kerasformer.errors import InputError
from kerasformer.serving import card, exporting, publishing
from kerasformer.serving.checking import Report
from kerasformer.serving.preview.loaded_model import LoadedModel
from kerasformer.serving.warmup import asked, read_warmup, warmup_logs, write_warmup

VOCABULARY = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "good", "bad", "fine", "##ly", "day", "café"]
TEXTS = ["good day", "bad", "", "fine fine finely good bad day", "unseen \x00 words", "[MASK] [SEP]", "   ", "café"]


def make_task(label_names=("négatif", "positive"), pairs=False):
    config = kf.models.BertConfig.named("tiny", vocabulary_size=len(VOCABULARY), num_layers=1, max_sequence_length=32)
    encoder = kf.models.bert(config, pooled=True)
    tokenizer = kf.text.WordPieceTokenizer(VOCABULARY, max_length=32)
    return kf.tasks.TextClassifier(encoder, tokenizer, label_names, pairs=pairs)


def as_inputs(**texts):
    return {name: np.array([text.encode() for text in values], object) for name, values in texts.items()}


@pytest.fixture(scope="module")
def task():
    return make_task()


@pytest.fixture(scope="module")
def version(task, tmp_path_factory):
    return kf.serving.publish(task, tmp_path_factory.mktemp("models") / "sentiment")


def names_below(folder):
    return sorted(path.name for path in pathlib.Path(folder).iterdir())


def test_served_answers_are_those_of_python(task, version):
    served = LoadedModel(version).run("", as_inputs(text=TEXTS))
    expected = task.predict(TEXTS)
    np.testing.assert_allclose(served["scores"], expected["scores"], atol=2e-5)
    assert [label.decode() for label in served["label"]] == list(expected["label"])
    np.testing.assert_allclose(served["score"], expected["scores"].max(-1), atol=2e-5)


def test_signatures_of_the_contract(version, started_checks):
    report = kf.serving.check(version)
    assert report.signatures["serving_default"] == {
        "inputs": {"text": "string [-1]"},
        "outputs": {"label": "string [-1]", "score": "float32 [-1]", "scores": "float32 [-1, 2]"},
    }
    assert set(report.signatures) == {"serving_default", "tokens", "classify"}
    assert report.oldest_server == "2.18"
    assert not report.needs_onednn
    assert report.requests == len(read_warmup(version))


def test_a_card_says_what_is_not_known(version):
    found = json.loads((version / "assets.extra" / "card.json").read_text())
    assert (found["model"], found["version"], found["task"]) == ("sentiment", 1, "TextClassifier")
    assert found["settings"]["label_names"] == ["négatif", "positive"]
    assert found["oldest_server"] == "2.18"
    assert [found[name] for name in ("data", "figures", "calibration", "speed")] == [None] * 4
    page = (version / "MODEL_CARD.md").read_text()
    assert "Not known: it was published without labelled examples" in page
    assert "Not measured." in page
    assert """'{"instances": ["A text."]}' http://127.0.0.1:8501/v1/models/sentiment:predict""" in page


def test_a_card_is_escaped():
    assert card.escaped("a|b <i>\n# c `d`") == "a\\|b \\<i\\> # c \\`d\\`"


def test_every_signature_and_each_output_alone_is_warmed_up(version):
    logs = [asked(log) for log in read_warmup(version)]
    whole = [(kind, name) for kind, name, _, outputs in logs if not outputs]
    assert set(whole) == {("predict", "serving_default"), ("predict", "tokens"), ("classify", "classify")}
    assert {len(next(iter(inputs.values()))) for _, _, inputs, _ in logs} == {1, 8}
    filters = [(name, *outputs) for _, name, _, outputs in logs if outputs]
    assert filters == [("serving_default", output) for output in ("label", "score", "scores")]
    assert len(logs) <= 1000


def test_weights_are_variables_stored_once(task, version):
    """A session copies constants for each set of fetched outputs."""
    weights = sum(4 * int(np.prod(weight.shape)) for weight in task.model.weights)
    stored = sum(path.stat().st_size for path in version.glob("variables/*.data*"))
    assert 0.8 * weights < stored < 1.1 * weights
    # The tokenizer's tables are in the graph.
    assert weights > (version / "saved_model.pb").stat().st_size / 3
    saved = saved_model_pb2.SavedModel.FromString((version / "saved_model.pb").read_bytes())
    graph = saved.meta_graphs[0].graph_def
    nodes = [*graph.node, *(node for function in graph.library.function for node in function.node_def)]
    floats = [n for n in nodes if n.op == "Const" and n.attr["dtype"].type in (1, 14)]
    assert max(node.ByteSize() for node in floats) < 17_000  # biases are constants, matrices are not
    assert max(4 * int(np.prod(weight.shape)) for weight in task.model.weights) > 17_000


@pytest.mark.parametrize("outputs", [{"classes": tf.int32}, {"scores": tf.float64}, {"outputs": tf.int64}])
def test_a_signature_that_classify_or_regress_would_refuse_is_refused(tmp_path, outputs):
    @tf.function(input_signature=[tf.TensorSpec([None], tf.string, "inputs")])
    def examples(inputs):
        length = tf.strings.length(inputs)
        return {
            name: tf.cast(length if name == "outputs" else length[:, None], dtype) for name, dtype in outputs.items()
        }

    module = tf.Module()
    module.examples = examples
    tf.saved_model.save(module, tmp_path / "1", signatures={"serving_default": examples})
    with pytest.raises(InputError, match="TensorFlow Serving refuses each request"):
        kf.serving.check(tmp_path / "1")


def test_classify_takes_examples(task, version):
    examples = [
        tf.train.Example(
            features=tf.train.Features(
                feature={"text": tf.train.Feature(bytes_list=tf.train.BytesList(value=[text.encode()]))}
            )
        ).SerializeToString()
        for text in TEXTS
    ]
    served = LoadedModel(version).run("classify", {"inputs": np.array(examples, object)})
    np.testing.assert_allclose(served["scores"], task.predict(TEXTS)["scores"], atol=2e-5)
    assert [c.decode() for c in served["classes"][0]] == ["négatif", "positive"]


def test_tokens_signature_gives_logits(task, version):
    inputs = {name: value.numpy() for name, value in task.tokenizer(TEXTS).items()}
    served = LoadedModel(version).run("tokens", inputs)
    # The GELU that oneDNN fuses into a projection is an approximation of erf, good to about 1e-5.
    np.testing.assert_allclose(served["logits"], task.model(inputs)["logits"], atol=5e-5)


@pytest.mark.parametrize("text", [b"\xff\xfe bad utf8", b"\x00", b"", b" " * 5000, b"[CLS]" * 900, b"good " * 9000])
def test_odd_texts_get_finite_answers(version, text):
    served = LoadedModel(version).run("", {"text": np.array([text, b"good"], object)})
    assert np.isfinite(served["scores"]).all()


def test_a_batch_of_nothing_gets_nothing(version):
    served = LoadedModel(version).run("", {"text": np.array([], object)})
    assert {name: value.shape for name, value in served.items()} == {"label": (0,), "score": (0,), "scores": (0, 2)}


def test_bfloat16_is_half_as_large_and_answers_alike(task, version, tmp_path):
    small = kf.serving.publish(task, tmp_path / "m", precision="bfloat16")
    served = LoadedModel(small).run("", as_inputs(text=TEXTS))
    np.testing.assert_allclose(served["scores"], task.predict(TEXTS)["scores"], atol=0.05)
    weights = sum(int(np.prod(weight.shape)) for weight in task.model.weights)
    sizes = [sum(path.stat().st_size for path in folder.glob("variables/*.data*")) for folder in (version, small)]
    difference = sizes[0] - sizes[1]
    assert 1.9 * weights < difference < 2.1 * weights, "two bytes a weight, stored once for all signatures"


def test_pairs_and_regression(tmp_path):
    task = make_task(label_names=None, pairs=True)
    model = LoadedModel(kf.serving.publish(task, tmp_path / "m"))
    served = model.run("", as_inputs(text=TEXTS, text_pair=TEXTS[::-1]))
    assert set(served) == {"score"}
    np.testing.assert_allclose(served["score"], task.predict(TEXTS, TEXTS[::-1])["score"], atol=2e-5)
    assert "regress" in model.signatures


def test_the_serving_form_leaves_the_task_alone(task, tmp_path, monkeypatch):
    switched = []
    monkeypatch.setattr(exporting, "use_serving_form", lambda *arguments: switched.append(arguments))
    exporting.export(task, tmp_path / "m")
    [(model, groups)] = switched
    assert model is not task.model
    assert groups == task.row_groups


def test_rows_in_order_of_length_and_back():
    class Sums:
        def core_outputs(self, model, inputs):
            self.inputs = inputs
            return {"sums": tf.reduce_sum(inputs["token_ids"] * inputs["padding_mask"], 1)}

    task = Sums()
    token_ids = np.arange(20, dtype=np.int32).reshape(5, 4)
    mask = (np.arange(4) < np.array([3, 1, 4, 0, 3])[:, None]).astype(np.int32)
    outputs = exporting._by_length(task, None, {"token_ids": tf.constant(token_ids), "padding_mask": tf.constant(mask)})
    assert task.inputs["padding_mask"].numpy().sum(1).tolist() == [0, 1, 3, 3, 4]
    np.testing.assert_array_equal(outputs["sums"], (token_ids * mask).sum(1))


@pytest.mark.parametrize("kind", [kf.tasks.Tagger, kf.tasks.QuestionAnswerer, kf.tasks.ExtractiveSummarizer])
def test_tasks_of_long_texts_are_served_in_groups_of_rows(kind):
    assert kind.row_groups > 1


def test_versions_count_up_and_strangers_are_ignored(task, tmp_path):
    (tmp_path / "m" / "7").mkdir(parents=True)
    (tmp_path / "m" / "latest").mkdir()
    (tmp_path / "m" / "²").mkdir()
    assert kf.serving.publish(task, tmp_path / "m").name == "8"


def test_a_failed_check_leaves_nothing(task, tmp_path, monkeypatch):
    def fail(folder):
        raise InputError("refused")

    monkeypatch.setattr(publishing, "check", fail)
    with pytest.raises(InputError, match="refused"):
        kf.serving.publish(task, tmp_path / "m")
    assert names_below(tmp_path / "m") == []


def test_a_full_disk_leaves_nothing(task, tmp_path, monkeypatch):
    def full(folder, requests):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(exporting, "write_warmup", full)
    with pytest.raises(OSError, match="No space left"):
        kf.serving.publish(task, tmp_path / "m")
    assert names_below(tmp_path / "m") == []


def test_two_publishers_never_overwrite_each_other(task, tmp_path, monkeypatch):
    def check_while_another_publishes(folder):
        other = tmp_path / "m" / "1"
        other.mkdir()
        (other / "saved_model.pb").write_text("theirs")
        return Report({"serving_default": {"inputs": {}, "outputs": {}}}, 0, 0.0, "2.18")

    monkeypatch.setattr(publishing, "check", check_while_another_publishes)
    with pytest.raises(OSError, match="same time"):
        kf.serving.publish(task, tmp_path / "m")
    assert (tmp_path / "m" / "1" / "saved_model.pb").read_text() == "theirs"
    assert names_below(tmp_path / "m") == ["1"]


def test_bad_arguments_are_named(task, tmp_path):
    with pytest.raises(InputError, match="precision='int4'"):
        kf.serving.publish(task, tmp_path / "m", precision="int4")
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="Received a file"):
        kf.serving.publish(task, tmp_path / "file")
    with pytest.raises(InputError, match=r"saved_model\.pb"):
        kf.serving.check(tmp_path)


class Doubtful(tf.Module):
    """A model with one bad habit."""

    def __init__(self, function):
        self.function = tf.function(function, input_signature=[tf.TensorSpec([None], tf.float32, name="x")])

    def signatures(self):
        return {"serving_default": self.function.get_concrete_function()}


def python_op(x):
    return {"y": tf.ensure_shape(tf.py_function(lambda v: v, [x], tf.float32), [None])}


@tf.function(jit_compile=True)
def compiled(x):
    return x + 1


@pytest.mark.parametrize(
    ("function", "complaint"),
    [
        (python_op, "EagerPyFunc"),
        (lambda x: {"y": compiled(x)}, "XLA"),
        (lambda x: {"y": tf.reduce_sum(x)}, "first dimension"),
    ],
)
def test_check_refuses_what_a_server_cannot_serve(function, complaint, tmp_path):
    module = Doubtful(function)
    tf.saved_model.save(module, str(tmp_path / "m"), signatures=module.function)
    with pytest.raises(InputError, match=complaint) as error:
        kf.serving.check(tmp_path / "m")
    assert "\n" not in str(error.value)


def test_check_refuses_answers_that_depend_on_the_batch(tmp_path):
    module = Doubtful(lambda x: {"y": x - tf.reduce_mean(x)})
    tf.saved_model.save(module, str(tmp_path / "m"), signatures=module.function)
    write_warmup(tmp_path / "m", warmup_logs(module.signatures(), {"x": np.array([1, 2], np.float32)}))
    with pytest.raises(InputError, match="differs"):
        kf.serving.check(tmp_path / "m")


def test_check_refuses_nan(tmp_path):
    module = Doubtful(lambda x: {"y": tf.math.log(x)})
    tf.saved_model.save(module, str(tmp_path / "m"), signatures=module.function)
    write_warmup(tmp_path / "m", warmup_logs(module.signatures(), {"x": np.array([-1, 2], np.float32)}))
    with pytest.raises(InputError, match="not finite"):
        kf.serving.check(tmp_path / "m")
