import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import ctypes
import gc
import pathlib
import subprocess
import sys

import fresh
import keras
import pytest
import tensorflow as tf
from tensorflow.python.framework import ops

from kerasformer.serving import checking

# Files of 25 seconds and more, by the turns of `make test`.
LONGEST = (
    *("recipes/test_init.py", "tasks/test_translator.py", "recipes/test_pretrain_bert.py"),
    *("data/test_pretraining_data.py", "tasks/test_all_tasks.py", "recipes/test_question_answering.py"),
    *("training/test_equality.py", "recipes/test_translate.py", "tasks/test_bert_pretraining.py"),
    *("recipes/test_terminal.py", "training/test_trainer.py", "training/test_pretraining.py"),
    *("test_readme.py", "test_sharp_edges.py", "layers/test_layers_in_models.py", "decoding/test_copy_task.py"),
    *("serving/test_publish.py", "families/test_keras_hub.py", "explain/test_served.py", "text/test_components.py"),
)


def pytest_collection_modifyitems(items):
    """Begins with the longest files, so that at the end no worker waits for another for minutes."""
    places = {pathlib.Path(__file__).parent / name: place for place, name in enumerate(LONGEST)}
    items.sort(key=lambda item: places.get(item.path, len(places)))


def pytest_collection_finish():
    # What was imported stays: garbage is looked for among what tests leave, and found sooner. Tracing makes objects by
    # the ten thousand that live as long as their graph: to look for garbage after each 700 takes a tenth of its time.
    gc.collect()
    gc.freeze()
    gc.set_threshold(50_000, 10, 10)


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


@pytest.fixture(autouse=True, scope="module")
def no_cache_outlives_its_module(request):
    """Empties the `functools.cache` of a module's functions: tokenizers with their tables and graphs, tasks.

    What the module before it has left is freed first, for the last test's fixtures lived until now. What then is alive
    stays, and is not looked through again. glibc keeps what is freed for the thread that had it, of which TensorFlow
    has many: it is told to give it back.
    """
    gc.collect()
    gc.freeze()
    if sys.platform == "linux":
        ctypes.CDLL(None).malloc_trim(0)
    yield
    for value in vars(request.module).values():
        if getattr(value, "__module__", None) == request.module.__name__ and hasattr(value, "cache_clear"):
            value.cache_clear()


@pytest.fixture
def eagerly():
    """Functions of TensorFlow run in Python: tracing is most of the time of tiny models, where no graph is the subject.

    What was traced before is used again afterwards.
    """
    tf.config.run_functions_eagerly(True)
    yield
    tf.config.run_functions_eagerly(False)


@pytest.fixture
def seeded():
    """A fixed global seed, for tests whose tolerances were chosen for the numbers that it gives."""
    keras.utils.set_random_seed(7)


@pytest.fixture(autouse=True, scope="session")
def forked_checks():
    """Exports are checked in forks of a process that has imported TensorFlow, which spares each check 5 seconds."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checking, "subprocess", fresh.CHECKS)
        yield


@pytest.fixture
def started_checks(monkeypatch):
    """Exports are checked in a process that is started for it, as those of users."""
    monkeypatch.setattr(checking, "subprocess", subprocess)
