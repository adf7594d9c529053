"""AdamW against Keras's own, and the schedules at known steps."""

import keras
import numpy as np
import pytest
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.layers import AttentionConfig, FeedForwardConfig, NormConfig, TokenEmbedding, TransformerBlock
from kerasformer.training import adamw, linear_warmup, noam
from kerasformer.training.optimizers import AdamW

SETTINGS = {"weight_decay": 0.1, "beta_1": 0.8, "beta_2": 0.95, "epsilon": 1e-6}


def toy_model():
    keras.utils.set_random_seed(3)
    ids = keras.Input((3,), dtype="int32")
    block = TransformerBlock(AttentionConfig(2), FeedForwardConfig(6), NormConfig(epsilon=1e-3))
    x = block(TokenEmbedding(9, 4, "normal")(ids))
    return keras.Model(ids, keras.layers.Dense(1)(x))


def after_20_steps(optimizer):
    """Weights after the same gradients, of growing and of vanishing sizes, whichever optimizer gets them."""
    variables = toy_model().trainable_variables
    random = np.random.default_rng(4)
    for step in range(20):
        scale = 10.0 ** random.integers(-6, 3)
        gradients = [tf.constant(random.normal(size=v.shape) * scale * (step != 7), tf.float32) for v in variables]
        optimizer.apply(gradients, variables)
    return [np.array(variable) for variable in variables]


RATES = {"number": 1e-2, "schedule": linear_warmup(1e-2, 20)}
MORE = {"": {}, "clipped": {"global_clipnorm": 1.0}, "averaged": {"use_ema": True, "ema_overwrite_frequency": 3}}
FEW = [("schedule", ""), ("number", "clipped"), ("schedule", "averaged")]


@pytest.mark.parametrize(
    ("rate", "more"),
    [
        pytest.param(rate, more, marks=() if (rate, more) in FEW else pytest.mark.exhaustive)
        for rate in RATES
        for more in MORE
    ],
)
def test_adamw_is_that_of_keras(rate, more):
    rate, more = RATES[rate], MORE[more]
    ours, peer = AdamW(rate, **SETTINGS, **more), keras.optimizers.AdamW(rate, **SETTINGS, **more)
    for optimizer in (ours, peer):
        optimizer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    for mine, theirs in zip(after_20_steps(ours), after_20_steps(peer), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6, rtol=1e-6)


def test_the_function_sets_berts_exclusions():
    peer = keras.optimizers.AdamW(1e-2, **SETTINGS)
    peer.exclude_from_weight_decay(var_names=["bias", "gamma", "beta"])
    for mine, theirs in zip(after_20_steps(adamw(1e-2, **SETTINGS)), after_20_steps(peer), strict=True):
        np.testing.assert_allclose(mine, theirs, atol=1e-6, rtol=1e-6)


def test_sparse_gradients_are_as_dense_ones():
    sparse = tf.IndexedSlices(tf.constant([[1.0], [2.0], [4.0]]), tf.constant([2, 0, 2]), tf.constant([3, 1]))
    results = []
    for gradient in (sparse, tf.convert_to_tensor(sparse)):
        variable = keras.Variable(np.ones((3, 1), "float32"), name="table")
        optimizer = adamw(0.1, weight_decay=0.1)
        for factor in (1.0, 3.0):
            scaled = gradient * factor if gradient is not sparse else tf.IndexedSlices(
                sparse.values * factor, sparse.indices, sparse.dense_shape
            )  # fmt: skip
            optimizer.apply([scaled], [variable])
        results.append(np.array(variable))
    np.testing.assert_array_equal(*results)


def test_decay_leaves_biases_and_normalizations_alone():
    model = toy_model()
    before = {weight.path: np.array(weight) for weight in model.trainable_variables}
    for weight in model.trainable_variables:
        weight.assign(before[weight.path] + 1)
    optimizer = adamw(0.1, weight_decay=0.5)
    optimizer.apply([tf.zeros_like(weight) for weight in model.trainable_variables], model.trainable_variables)
    for weight in model.trainable_variables:
        factor = 1.0 if weight.path.endswith(("bias", "gamma", "beta")) else 0.95
        np.testing.assert_allclose(weight, (before[weight.path] + 1) * factor, rtol=1e-6)


def test_one_step_by_hand():
    """From zero moments the step is the rate, whatever the gradient, but for epsilon and decay."""
    variable = keras.Variable([2.0, -3.0], name="kernel")
    optimizer = adamw(0.1, weight_decay=0.01)
    optimizer.apply([tf.constant([5.0, -0.5])], [variable])
    np.testing.assert_allclose(variable, [2 * 0.999 - 0.1, -3 * 0.999 + 0.1], rtol=1e-5)


def test_in_compile_and_fit_with_an_embedding_and_saved(tmp_path):
    model = toy_model()
    model.compile(adamw(linear_warmup(1e-2, 30)), "mse")
    ids = np.random.default_rng(0).integers(0, 9, (20, 3))
    losses = model.fit(ids, ids[..., None] / 9, epochs=5, batch_size=10, verbose=0).history["loss"]
    assert losses[-1] < losses[0]
    model.save(tmp_path / "model.keras")
    loaded = keras.models.load_model(tmp_path / "model.keras")
    assert type(loaded.optimizer) is type(model.optimizer)
    assert loaded.optimizer.get_config() == model.optimizer.get_config()
    for mine, same in zip(model.optimizer.variables, loaded.optimizer.variables, strict=True):
        np.testing.assert_array_equal(mine, same)


@pytest.mark.parametrize("dtype", ["bfloat16", "float16", "float64"])
def test_weights_of_other_dtypes(dtype):
    """As under the policy "bfloat16"; Keras's own optimizer takes them."""
    variable = keras.Variable([2.0, -3.0], dtype=dtype, name="kernel")
    adamw(0.5, weight_decay=0.0, epsilon=1e-3).apply([tf.constant([1.0, -1.0], dtype)], [variable])
    # 0.5 / (1 + epsilon / sqrt(1 - 0.999)): Keras's epsilon is not corrected for the bias of the first steps.
    np.testing.assert_allclose(tf.cast(variable, tf.float32), [1.5153, -2.5153], rtol=0.005)


def values(schedule, steps):
    return np.array([float(schedule(step)) for step in steps])


def test_linear_warmup_known_values():
    schedule = linear_warmup(2.0, 10, warmup=4)
    expected = [0.5, 1.0, 1.5, 2.0, 2.0, 2 * 5 / 6, 2 * 4 / 6, 1.0, 2 * 2 / 6, 2 * 1 / 6, 0.0, 0.0]
    np.testing.assert_allclose(values(schedule, range(12)), expected, rtol=1e-6, atol=1e-7)


@pytest.mark.parametrize(("total", "warmup", "steps"), [(100, 0.1, 10), (7, 3, 3), (5, 0, 0), (4, 4, 4), (1, 0.1, 0)])
def test_linear_warmup_peaks_at_the_end_of_the_warmup_and_ends_at_zero(total, warmup, steps):
    rates = values(linear_warmup(1e-3, total, warmup), range(total + 1))
    assert rates.argmax() == max(steps - 1, 0)
    np.testing.assert_allclose(rates.max(), 1e-3, rtol=1e-6)
    assert rates[-1] == 0
    assert (rates[:-1] > 0).all()
    assert (np.diff(rates[:steps]) > 0).all()
    assert (np.diff(rates[steps:]) < 0).all()


def test_noam_is_the_formula():
    for step in (0, 1, 3998, 3999, 4000, 99_999):
        t = step + 1
        expected = 2 * 512**-0.5 * min(t**-0.5, t * 4000**-1.5)
        np.testing.assert_allclose(float(noam(512, scale=2.0)(step)), expected, rtol=1e-5)
    assert values(noam(512), [3998, 3999, 4000]).argmax() == 1


@pytest.mark.parametrize("schedule", [linear_warmup(1e-3, 100), noam(64, 10, 2.0)])
def test_schedules_survive_their_config(schedule):
    again = keras.saving.deserialize_keras_object(keras.saving.serialize_keras_object(schedule))
    assert type(again) is type(schedule)
    np.testing.assert_array_equal(values(again, range(30)), values(schedule, range(30)))


@pytest.mark.parametrize(
    ("function", "arguments"),
    [
        (linear_warmup, (1.0, 0)),
        (linear_warmup, (1.0, 10, 11)),
        (linear_warmup, (1.0, 10, -1)),
        (noam, (0,)),
        (noam, (64, 0)),
    ],
)
def test_bad_schedules(function, arguments):
    with pytest.raises(InputError, match="Received: "):
        function(*arguments)
