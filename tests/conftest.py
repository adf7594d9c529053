import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras
import pytest


@pytest.fixture
def seeded():
    """A fixed global seed, for tests whose tolerances were chosen for the numbers that it gives."""
    keras.utils.set_random_seed(7)
