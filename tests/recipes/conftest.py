import functools
import pathlib
import sys

import pytest

import kerasformer as kf

# As for a script: the recipes import `common`, which is beside them.
sys.path.insert(0, str(pathlib.Path(__file__).parents[2] / "recipes"))


@pytest.fixture(scope="module")
def shallow():
    """Models of one layer, whatever their size is named: graphs are traced, exported and loaded in less time."""
    bert, transformer = kf.models.BertConfig, kf.models.TransformerConfig
    layers = {"num_encoder_layers": 1, "num_decoder_layers": 1}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(bert, "named", functools.partial(bert.named, num_layers=1))
        patch.setattr(transformer, "named", functools.partial(transformer.named, **layers))
        yield
