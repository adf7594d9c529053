"""What every task owes its users: saving, other people's folders, settings, refusals, encoders of one's own."""

import dataclasses
import functools

import keras
import numpy as np
import pytest
import tensorflow as tf
from tiny_tasks import CASES, TEXTS, encoder, tokenizer

import kerasformer as kf
from kerasformer._compat import flatten_layers
from kerasformer.errors import InputError
from kerasformer.layers.projection import Projection
from kerasformer.models import use_int8, with_precision
from kerasformer.serving.precision import plan_for
from kerasformer.tasks import Head, Task, built_in, register_task
from kerasformer.tasks import task as task_module
from kerasformer.text import SentencePieceTokenizer, WordPieceTokenizer

every_task = pytest.mark.parametrize("name", CASES)
# Once for each task its graph is compared with what Python answers; all else is asked in Python.
eagerly = pytest.mark.usefixtures("eagerly")


@functools.cache
def made(name):
    return CASES[name].make()


def answers(task, columns):
    return task.answers(dict(zip(task.feature_names, columns, strict=True)))


@functools.cache
def expected(name):
    """In Python: of a graph the last bits are others."""
    assert tf.config.functions_run_eagerly()
    return answers(made(name), CASES[name].columns)


@pytest.fixture(scope="module")
def folder_of(tmp_path_factory):
    """A function from a case's name to the folder of the saved task."""

    @functools.cache
    def saved(name):
        folder = tmp_path_factory.mktemp("tasks") / "task"
        made(name).save(folder)
        return folder

    return saved


def assert_same(found, wanted):
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        np.testing.assert_array_equal(found[key], value, err_msg=key)


def assert_close(found, wanted, **tolerance):
    assert found.keys() == wanted.keys()
    for key, value in wanted.items():
        if value.dtype.kind == "f":
            np.testing.assert_allclose(found[key], value, err_msg=key, **tolerance)
        else:
            np.testing.assert_array_equal(found[key], value, err_msg=key)


def differ(one, other):
    return any(np.shape(one[key]) != np.shape(other[key]) or (one[key] != other[key]).any() for key in one)


@every_task
def test_saved_and_loaded(name, folder_of, eagerly):
    task, folder = made(name), folder_of(name)
    loaded = kf.load(folder)
    assert type(loaded) is type(task)
    assert loaded.settings == task.settings
    assert loaded.tokenizer.get_config() == task.tokenizer.get_config()
    assert_same(answers(loaded, CASES[name].columns), expected(name))
    assert (folder / "head.safetensors").exists() == (CASES[name].kind is None and bool(task.head.variables()))
    assert any(np.size(value) and np.any(value != value.ravel()[0]) for value in expected(name).values()), (
        "else vacuous"
    )
    tf.config.run_functions_eagerly(False)
    assert_close(answers(loaded, CASES[name].columns), expected(name), rtol=1e-5, atol=1e-5)


@eagerly
@pytest.mark.parametrize("name", [name for name, case in CASES.items() if case.kind])
def test_a_hugging_face_folder_is_the_same_task(name, tmp_path, folder_of):
    task, case = made(name), CASES[name]
    task.save(tmp_path / "task")
    (tmp_path / "task" / "kerasformer.json").unlink()
    assert kf.families.open_checkpoint(tmp_path / "task").kind == case.kind
    loaded = kf.load(tmp_path / "task", **case.foreign)
    assert type(loaded) is type(task)
    assert_close(answers(loaded, case.columns), expected(name), rtol=1e-6, atol=1e-6)


@eagerly
@every_task
def test_replace_shares_the_model_and_changes_answers(name, folder_of):
    task, (setting, old, new) = made(name), CASES[name].change
    before = expected(name)
    changed = task.replace(**{setting: new})
    assert (getattr(task, setting), getattr(changed, setting)) == (old, new)
    assert changed.model is task.model
    assert changed.head is task.head
    found = answers(changed, CASES[name].columns)
    assert differ(found, before)
    assert_same(answers(task, CASES[name].columns), before)
    assert_same(answers(kf.load(folder_of(name), **{setting: new}), CASES[name].columns), found)


@pytest.mark.filterwarnings("ignore:The checkpoint in:UserWarning")  # of heads left over, and of no pooler
@pytest.mark.parametrize("name", [name for name in CASES if name != "translator"])
def test_the_encoder_of_a_saved_task(name, folder_of):
    task, folder = made(name), folder_of(name)
    backbone, read = kf.load_encoder(folder)
    assert read.get_config() == task.tokenizer.get_config()
    inputs = tokenizer()(TEXTS)
    np.testing.assert_array_equal(backbone(inputs)["sequence_output"], task.encoder(inputs)["sequence_output"])
    assert kf.families.pooling_of(folder) == ("mean" if name == "pairs by their mean" else "first")


@pytest.mark.parametrize("load", [kf.load_encoder, kf.families.load_embedder])
def test_a_translator_has_no_encoder_to_start_from(load, folder_of):
    with pytest.raises(InputError, match="must be an encoder, with `sequence_output`"):
        load(folder_of("translator"))


def test_a_trainer_evaluates_with_the_settings_in_force():
    case = CASES["translator"]
    task, data = case.make(), tf.data.Dataset.from_tensors(case.batch())
    trainer = kf.training.Trainer(task, keras.optimizers.SGD())
    before = trainer.evaluate(data)
    trainer.task = task.replace(label_smoothing=0.6)
    after = trainer.evaluate(data)
    assert after["perplexity"] == pytest.approx(before["perplexity"], rel=1e-5)
    assert after["loss"] != pytest.approx(before["loss"], rel=1e-4)
    # Linear in the smoothing: with none it is the logarithm of the perplexity.
    plain = np.log(before["perplexity"])
    assert after["loss"] - plain == pytest.approx(6 * (before["loss"] - plain), rel=1e-2)


@eagerly
@every_task
def test_what_settings_refuse(name):
    task, case = made(name), CASES[name]
    for setting, value in case.built_in.items():
        with pytest.raises(InputError, match=f"`{setting}` is built into the model"):
            task.replace(**{setting: value})
    with pytest.raises(InputError, match=r"has the settings .*'wings'"):
        task.replace(wings=2)
    settings = {**dataclasses.asdict(task.settings), **task.further_tokenizers()}
    ((setting, value),) = case.wrong.items()
    for made_wrong in (lambda wrong: task.replace(**wrong), lambda wrong: again(task, settings | wrong)):
        with pytest.raises(InputError, match=f"{setting}=") as error:
            made_wrong({setting: value})
        assert "\n" not in str(error.value)
    with pytest.raises(InputError, match="wings"):
        again(task, settings | {"wings": 2})
    for setting in settings:
        with pytest.raises(InputError, match=rf"task\.replace\({setting}=\.\.\.\)"):
            setattr(task, setting, value)
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(task.settings, next(iter(settings)), value)
    with pytest.raises(AttributeError, match="no attribute 'wings'"):
        task.wings  # noqa: B018


def again(task, settings):
    return type(task)(task.encoder, task.tokenizer, **settings)


@eagerly
@every_task
def test_predict_refuses_other_columns(name):
    task, columns = made(name), CASES[name].columns
    names = task.feature_names
    wrong = {
        f"reads {len(names)} lists of texts: {', '.join(names)}. Received: {len(names) + 1}": [*columns, columns[0]],
        f"`{names[0]}` must be a list of texts. Received one text": ["good", *columns[1:]],
        f"`{names[-1]}` must be a list of texts. Received in it: None": [*columns[:-1], ["good", None]],
    }
    if len(names) > 1:
        wrong["The lists must be of the same length"] = [columns[0], columns[1][:1]]
    for told, given in wrong.items():
        with pytest.raises(InputError) as error:
            task.predict(*given)
        assert str(error.value).startswith((told, f"{type(task).__name__} {told}"))
        assert "\n" not in str(error.value)


@eagerly
@every_task
def test_no_texts_give_no_answers(name):
    nothing = answers(made(name), [column[:0] for column in CASES[name].columns])
    assert {key: value.dtype.kind for key, value in nothing.items()} == {
        key: value.dtype.kind for key, value in expected(name).items()
    }
    assert {len(value) for value in nothing.values()} == {0}


# ---- evaluation ----


@pytest.fixture
def tokenized(monkeypatch):
    """The texts that tokenizers were given, one list in all."""
    texts, inside = [], []

    def counted(method):
        def call(tokenizer, *columns, **options):
            if not inside:
                flat = [column.flat_values if isinstance(column, tf.RaggedTensor) else column for column in columns]
                texts.extend(np.concatenate([np.ravel(column) for column in flat if column is not None]).tolist())
            inside.append(1)
            try:
                return method(tokenizer, *columns, **options)
            finally:
                inside.pop()

        return call

    for kind in (WordPieceTokenizer, SentencePieceTokenizer):
        for name in ("__call__", "tokenize", "tokenize_with_offsets", "tokenize_with_words", "word_ids"):
            monkeypatch.setattr(kind, name, counted(getattr(kind, name)))
    return texts


@eagerly
@every_task
def test_evaluation_tokenizes_each_text_once(name, tokenized):
    task, (features, targets) = made(name), CASES[name].batch()
    given = [text for column in features.values() if column.dtype == tf.string for text in np.ravel(column)]
    if isinstance(task, kf.tasks.ExtractiveSummarizer):
        given = [text for text in given if text]  # fewer sentences than other documents
    if isinstance(task, kf.tasks.TextEmbedder):
        given = [task.prompt.encode() + text for text in given]
    trainer = kf.training.Trainer(task, keras.optimizers.SGD())
    tokenized.clear()
    metrics = trainer.evaluate(tf.data.Dataset.from_tensors((features, targets)).repeat(2))
    assert np.isfinite(list(metrics.values())).all()
    assert sorted(tokenized) == sorted(given * 2)


@pytest.mark.parametrize(
    "name",
    [pytest.param(name, marks=() if name in ("tagger", "translator") else pytest.mark.exhaustive) for name in CASES],
)
@pytest.mark.parametrize("precision", ["int8", "int8_storage"])
def test_served_in_integers(name, precision, eagerly):
    task = made(name)
    tf.config.run_functions_eagerly(False)
    plan = plan_for(task, precision, tf.data.Dataset.from_tensors(CASES[name].batch()))
    model = task.serving_model("float32")
    use_int8(model, plan)
    projections = [layer for layer in flatten_layers(model) if isinstance(layer, Projection)]
    assert [layer.path for layer in projections if layer.int8] == [
        layer.path for layer in projections if layer.path in plan.forms
    ]
    assert plan.forms
    features = {
        key: tf.constant(np.asarray(column, object))
        for key, column in zip(task.feature_names, CASES[name].columns, strict=True)
    }
    answer = tf.function(lambda: task.answer_features(features, lambda inputs: task.core_outputs(model, inputs)))
    graph = answer.get_concrete_function().graph
    functions = [graph.as_graph_def().node, *[each.node_def for each in graph.as_graph_def().library.function]]
    assert any(node.op == "_QuantizedMatMul" for nodes in functions for node in nodes) == (precision == "int8")
    found = answer()
    tf.config.run_functions_eagerly(True)
    for key, value in found.items():
        assert value.shape == expected(name)[key].shape
        assert value.dtype == tf.string or np.isfinite(value).all()


# ---- tasks and encoders of one's own ----


@dataclasses.dataclass(frozen=True)
class CounterSettings:
    names: tuple[str, ...] = built_in()
    scale: float = 1.0

    def __post_init__(self):
        object.__setattr__(self, "names", tuple(self.names))


class Counter(Task):
    """How often each of some names is meant."""

    Settings = CounterSettings

    def build(self):
        dense = keras.layers.Dense(len(self.names), name="counts")
        self.head = Head(output=dense)
        return {"counts": dense(self.encoder.output["pooled_output"])}, {}

    def loss(self, targets, outputs):
        return tf.reduce_sum((targets - outputs["counts"]) ** 2), tf.cast(tf.size(targets), tf.float32)

    def evaluate_batches(self, batches):
        return {"loss": float(np.mean([np.mean((targets - found["counts"]) ** 2) for _, targets, found in batches]))}

    def answer(self, outputs):
        return {"counts": self.scale * outputs["counts"]}


@pytest.fixture
def registry(monkeypatch):
    monkeypatch.setattr(task_module, "_REGISTERED", dict(task_module._REGISTERED))
    return task_module._REGISTERED


@eagerly
def test_a_registered_task_of_somebody_else(registry, tmp_path):
    assert register_task(Counter) is Counter
    assert kf.tasks.registered_tasks()["Counter"] is Counter
    task = Counter(encoder(), tokenizer(), ["rome", "人"], scale=2.0)
    wanted = task.predict(TEXTS)
    np.testing.assert_allclose(wanted["counts"], 2 * task.model(tokenizer()(TEXTS))["counts"], rtol=1e-5)
    np.testing.assert_allclose(task.replace(scale=1.0).predict(TEXTS)["counts"] * 2, wanted["counts"], rtol=1e-6)
    task.save(tmp_path / "task")
    loaded = kf.load(tmp_path / "task")
    assert type(loaded) is Counter
    assert loaded.settings == task.settings == CounterSettings(("rome", "人"), 2.0)
    assert_same(loaded.predict(TEXTS), wanted)
    data = tf.data.Dataset.from_tensors(({"text": TEXTS}, np.ones([len(TEXTS), 2], "float32")))
    trainer = kf.training.Trainer(loaded, keras.optimizers.SGD(0.1))
    before = trainer.evaluate(data)["loss"]
    trainer.fit(data, epochs=3)
    assert trainer.evaluate(data)["loss"] < before

    del registry["Counter"]
    with pytest.raises(InputError, match="'Counter', which is not registered: import the module") as error:
        kf.load(tmp_path / "task")
    assert "\n" not in str(error.value)


def plain(backbone):
    return keras.Model(backbone.input, backbone.output, name="plain")


def nested(backbone):
    inputs = {name: keras.Input((None,), dtype="int32", name=name) for name in backbone.input}
    return keras.Model(inputs, backbone(inputs), name="nested")


# A Backbone is needed where the head reads its parts.
OF_ANY_ENCODER = [name for name in CASES if name not in ("masked words", "pretraining", "translator")]
# One of each class in `make test`.
FEW = ("pairs by their mean", "tagger", "question answerer", "embedder", "summarizer")
NESTED = [pytest.param(name, nested, marks=() if name in FEW else pytest.mark.exhaustive) for name in OF_ANY_ENCODER]


@eagerly
@pytest.mark.parametrize(("name", "wrapped"), [*NESTED, ("one label", plain)])
def test_an_encoder_of_ones_own(name, wrapped, tmp_path):
    case = CASES[name]
    task = case.make(wrapped(encoder()))
    assert not isinstance(task.encoder, kf.models.Backbone)
    assert_close(answers(task, case.columns), expected(name), rtol=1e-5, atol=1e-6)
    task.save(tmp_path / "task")
    assert (tmp_path / "task" / "encoder.keras").exists()
    assert not (tmp_path / "task" / "model.safetensors").exists()
    loaded = kf.load(tmp_path / "task")
    assert loaded.settings == task.settings
    assert_same(answers(loaded, case.columns), answers(task, case.columns))

    inputs = task.batch_inputs(case.batch()[0])
    lower = with_precision(task.model, "bfloat16", keep=task.float32_layers)
    assert {weight.dtype for weight in lower.weights} >= {"bfloat16"}
    exact, found = task.model(inputs), lower(inputs)
    for key, value in exact.items():
        np.testing.assert_allclose(tf.cast(found[key], tf.float32), tf.cast(value, tf.float32), rtol=0.1, atol=0.3)


@pytest.mark.parametrize("wrapped", [plain, nested])
def test_pretraining_needs_a_backbone(wrapped):
    for kind in (kf.tasks.BertPretraining, kf.tasks.MaskedLanguageModel):
        with pytest.raises(InputError, match="needs a Backbone"):
            kind(wrapped(encoder()), tokenizer())
