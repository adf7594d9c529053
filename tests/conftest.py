import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import gc

import keras
import pytest
from tensorflow.python.framework import ops


def pytest_collection_finish():
    # What was imported stays: garbage is looked for among what tests leave, and found sooner.
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True)
def no_graph_outlives_its_owner():
    """Frees the graphs with a `tf.custom_gradient`, which TensorFlow 2.21 keeps until the process ends.

    They register their gradients under names of their own. A graph that another test takes gradients of anew would fail
    with a LookupError: graphs are not shared between tests, only models.
    """
    yield
    registered = ops.gradient_registry._registry
    for name in [name for name in registered if name.startswith("CustomGradient-")]:
        del registered[name]


@pytest.fixture
def seeded():
    """A fixed global seed, for tests whose tolerances were chosen for the numbers that it gives."""
    keras.utils.set_random_seed(7)
