"""Decoder-only models: prompts of unequal length, and the results of Hugging Face Transformers."""

import keras
import numpy as np
import pytest
import tensorflow as tf
import toy

from kerasformer.decoding import (
    Beam,
    Greedy,
    NoRepeatNgram,
    RecomputingDecoderSteps,
    RepetitionPenalty,
    Sample,
    TransformersBeam,
    search,
)
from kerasformer.errors import InputError

VOCABULARY, END = 17, 1
METHODS = [Greedy(), Beam(3), TransformersBeam(3), Sample(seed=3)]


@pytest.fixture(scope="module")
def tables():
    """Logits of the next token by each of the last two tokens, `[2, V, V]`, and by the position, `[positions, V]`."""
    random = np.random.default_rng(0)
    pairs, places = random.normal(size=(2, VOCABULARY, VOCABULARY)) * 2, random.normal(size=(64, VOCABULARY))
    places[:, END] -= 2  # results of many lengths, also cut ones
    return pairs.astype(np.float32), places.astype(np.float32)


def logits_of(tables, token_ids, positions):
    """NumPy, `[..., length, V]`: of each token, by itself, the one before it and its position."""
    (last, before), places = tables
    previous = np.concatenate([np.zeros_like(token_ids[..., :1]), token_ids[..., :-1]], -1)
    first = positions == 0
    return last[token_ids] + np.where(first[..., None], 0, before[previous]) + places[positions]


class PairSteps:
    """The same with the last token kept instead of a cache; prompts may be padded on either side."""

    def __init__(self, tables):
        (self.last, self.before), self.places = [tf.constant(table) for table in tables[0]], tf.constant(tables[1])

    def start(self, inputs):
        mask = tf.cast(inputs["padding_mask"] > 0, tf.int32)
        lengths = tf.reduce_sum(mask, 1)
        order = tf.argsort(mask, axis=1, stable=True)
        ids = tf.pad(tf.gather(inputs["token_ids"], order, batch_dims=1), [[0, 0], [1, 0]])
        bias = tf.where(lengths[:, None] > 1, tf.gather(self.before, ids[:, -2]), 0.0)
        logits = tf.gather(self.last, ids[:, -1]) + bias + tf.gather(self.places, lengths - 1)
        state = {"last": ids[:, -1:], "position": lengths}
        return {}, state, {"logits": logits[:, None]}

    def step(self, token_ids, context, state):
        logits = tf.gather(self.last, token_ids) + tf.gather(self.before, state["last"])
        logits += tf.gather(self.places, state["position"])[:, None]
        return {"logits": logits}, {"last": token_ids, "position": state["position"] + 1}

    def reorder(self, state, parents):
        return {**state, "last": tf.gather(state["last"], parents, batch_dims=1)}


def prompts(count, side="left", longest=6):
    random = np.random.default_rng(2)
    lengths = random.integers(1, longest + 1, count)
    mask = np.arange(longest) < lengths[:, None]
    mask = mask if side == "right" else mask[:, ::-1]
    rows = [np.random.default_rng(row).integers(2, VOCABULARY, length) for row, length in enumerate(lengths)]
    ids = np.zeros(mask.shape, np.int32)
    ids[mask] = np.concatenate([*rows, []])
    return {"token_ids": tf.constant(ids), "padding_mask": tf.constant(mask.astype(np.int32))}


def generated(found):
    """`[(tokens with the end token, ended)]` of the best result of each row."""
    values = [found[name].numpy()[:, 0] for name in ("token_ids", "lengths", "ended")]
    return [[*ids[:length].tolist(), *[END] * int(ended)] for ids, length, ended in zip(*values, strict=True)]


@pytest.mark.parametrize("select", METHODS, ids=lambda select: type(select).__name__)
def test_prompts_continue_as_one_by_one_whatever_their_padding(tables, select):
    options = {"end_id": END, "max_length": 7, "select": select}
    left, right = prompts(20), prompts(20, "right")
    together = generated(search(PairSteps(tables), left, **options))
    assert generated(search(PairSteps(tables), right, **options)) == together
    for row in range(20):
        alone = {name: value[row : row + 1] for name, value in left.items()}
        length = int(tf.reduce_sum(alone["padding_mask"]))
        alone = {name: value[:, -length:] for name, value in alone.items()}
        if row % 5 == 0:
            assert generated(search(PairSteps(tables), alone, **options)) == [together[row]]
    assert len({tuple(tokens) for tokens in together}) > 10, "the test must see different results"


def test_greedy_search_by_hand(tables):
    found = search(PairSteps(tables), prompts(20), end_id=END, max_length=7)
    for row, tokens in enumerate(generated(found)):
        path = prompts(20)["token_ids"].numpy()[row][prompts(20)["padding_mask"].numpy()[row] > 0].tolist()
        for token in tokens:
            assert token == int(logits_of(tables, np.array(path), np.arange(len(path)))[-1].argmax())
            path.append(token)


@pytest.mark.parametrize("select", METHODS, ids=lambda select: type(select).__name__)
def test_recomputing_gives_the_same(tables, select):
    class Model(keras.layers.Layer):
        def call(self, inputs, training=None):
            ids = inputs["token_ids"]
            (last, before), places = tables
            previous = tf.pad(ids[:, :-1], [[0, 0], [1, 0]])
            first = (tf.range(tf.shape(ids)[1]) == 0)[:, None]
            logits = tf.gather(last, ids) + tf.where(first, 0.0, tf.gather(before, previous))
            return {"logits": logits + tf.constant(places)[: tf.shape(ids)[1]]}

    options = {"end_id": END, "max_length": tf.constant([7, 3, 0, 5, 7, 7, 1]), "select": select}
    processors = [NoRepeatNgram(2), RepetitionPenalty(1.2)]
    found = [
        search(steps, prompts(7, side), **options, processors=processors)
        for side in ("left", "right")
        for steps in (PairSteps(tables), RecomputingDecoderSteps(Model()))
    ]
    for name, value in found[0].items():
        for other in found[1:]:
            np.testing.assert_allclose(value, other[name], atol=1e-5)
    assert found[0]["lengths"].numpy()[2, 0] == 0


def test_no_prompts(tables):
    found = search(PairSteps(tables), prompts(0), end_id=END, max_length=5, select=Beam(2))
    assert found["token_ids"].shape[0] == 0


def test_a_start_token_is_needed_where_there_is_no_prompt():
    with pytest.raises(InputError, match="`start_id`"):
        search(toy.TableSteps(np.zeros((1, 4, 4))), toy.inputs(1), end_id=END, max_length=5)


# ---- Hugging Face Transformers ----


@pytest.fixture(scope="module")
def generate(tables):
    """`generate` of Transformers, with a model that gives the same logits."""
    torch = pytest.importorskip("torch")
    transformers = pytest.importorskip("transformers")

    class Config(transformers.PretrainedConfig):
        model_type = "pair_table"

    class Model(transformers.PreTrainedModel, transformers.GenerationMixin):
        config_class = Config

        def __init__(self, config):
            super().__init__(config)
            self.unused = torch.nn.Linear(1, 1)

        def prepare_inputs_for_generation(self, input_ids, attention_mask=None, **kwargs):
            return {"input_ids": input_ids, "attention_mask": attention_mask}

        def forward(self, input_ids, attention_mask=None, **kwargs):
            attention_mask = torch.ones_like(input_ids) if attention_mask is None else attention_mask
            positions = np.maximum(np.cumsum(attention_mask.numpy(), -1) - 1, 0)
            logits = logits_of(tables, input_ids.numpy(), positions)
            return transformers.modeling_outputs.CausalLMOutput(logits=torch.tensor(logits))

    def run(inputs, **options):
        if "no_repeat_ngram_size" in options or "repetition_penalty" in options:
            # Its processors take padding for tokens, so each prompt goes alone.
            masks = inputs["padding_mask"].numpy() > 0
            rows = [inputs["token_ids"].numpy()[row : row + 1, mask] for row, mask in enumerate(masks)]
            found = [together({"token_ids": ids, "padding_mask": np.ones_like(ids)}, **options) for ids in rows]
            return [row for rows, _ in found for row in rows], np.concatenate([scores for _, scores in found])
        return together({name: value.numpy() for name, value in inputs.items()}, **options)

    model = Model(Config(vocab_size=VOCABULARY, pad_token_id=0, eos_token_id=END, use_cache=False))
    model.generation_config.pad_token_id, model.generation_config.eos_token_id = 0, END

    def together(inputs, **options):
        ids, mask = (torch.tensor(inputs[name].astype(np.int64)) for name in ("token_ids", "padding_mask"))
        with torch.no_grad():
            found = model.generate(
                ids, attention_mask=mask, do_sample=False, use_cache=False, return_dict_in_generate=True,
                output_scores=True, **options,
            )  # fmt: skip
        rows = []
        for row in found.sequences[:, ids.shape[1] :].tolist():
            end = row.index(END) + 1 if END in row else len(row)
            rows.append(row[:end])
        scores = getattr(found, "sequences_scores", None)
        return rows, np.zeros(len(rows)) if scores is None else scores.numpy()

    return run


PROCESSORS = [
    ({"no_repeat_ngram_size": 2}, [NoRepeatNgram(2)]),
    ({"repetition_penalty": 1.3}, [RepetitionPenalty(1.3)]),
]


def assert_equal(tables, expected, count, **options):
    tokens, scores = expected
    found = search(PairSteps(tables), prompts(count), end_id=END, max_length=12, **options)
    # A result that was cut has no end token on either side.
    assert generated(found) == tokens
    assert len({tuple(row) for row in tokens}) >= count // 2
    if "select" in options:
        np.testing.assert_allclose(found["scores"][:, 0], scores, atol=1e-5)


def test_greedy_search_of_transformers(tables, generate):
    assert_equal(tables, generate(prompts(50), max_new_tokens=12), 50)


@pytest.mark.parametrize("early_stopping", [False, True, "never"])
@pytest.mark.parametrize("length_penalty", [1.0, -0.5, 0.0, 2.0])
def test_beam_search_of_transformers(tables, generate, early_stopping, length_penalty):
    options = {"early_stopping": early_stopping, "length_penalty": length_penalty}
    expected = generate(prompts(50), max_new_tokens=12, num_beams=4, **options)
    assert_equal(tables, expected, 50, select=TransformersBeam(4, **options))


@pytest.mark.parametrize(("theirs", "processors"), PROCESSORS, ids=lambda value: type(value).__name__)
def test_processors_of_transformers(tables, generate, theirs, processors):
    greedy = generate(prompts(16), max_new_tokens=12, **theirs)
    assert_equal(tables, greedy, 16, processors=processors)
    beams = generate(prompts(16), max_new_tokens=12, num_beams=4, **theirs)
    assert_equal(tables, beams, 16, processors=processors, select=TransformersBeam(4))


def test_n_best_results_of_transformers(tables, generate):
    expected, scores = generate(prompts(10), max_new_tokens=8, num_beams=4, num_return_sequences=4)
    found = search(PairSteps(tables), prompts(10), end_id=END, max_length=8, num_results=4, select=TransformersBeam(4))
    flat = {name: tf.reshape(value, [40, 1, *value.shape[2:]]) for name, value in found.items()}
    assert generated(flat) == expected
    np.testing.assert_allclose(flat["scores"][:, 0], scores, atol=1e-5)


def test_unknown_early_stopping():
    with pytest.raises(InputError, match="early_stopping='always'"):
        TransformersBeam(early_stopping="always")
