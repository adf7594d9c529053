"""Keras's callbacks with mode "auto" know which way each metric of the package goes."""

import keras
import pytest

from kerasformer.training.callback_state import resolve_modes

UP = (
    "accuracy macro_f1 macro_recall f1 f1_person precision recall matthews exact_match best_f1 bleu chrf bleu_de rouge1"
)
UP += " rouge2 rougeL spearman pearson mlm_accuracy nsp_accuracy r2 auc"
DOWN = "loss mlm_loss perplexity rmse mae mean_squared_error bits_per_byte"


@pytest.mark.parametrize("prefix", ["", "val_"])
def test_directions(prefix):
    for names, mode in ((UP, "max"), (DOWN, "min")):
        for name in names.split():
            callbacks = [
                keras.callbacks.EarlyStopping(prefix + name),
                keras.callbacks.ModelCheckpoint("a.weights.h5", prefix + name, save_weights_only=True),
                keras.callbacks.ReduceLROnPlateau(prefix + name),
            ]
            resolve_modes(callbacks)
            assert [callback.mode for callback in callbacks] == [mode] * 3, name


def test_a_given_mode_stays():
    callback = keras.callbacks.EarlyStopping("val_accuracy", mode="min")
    resolve_modes([callback, keras.callbacks.History()])
    assert callback.mode == "min"
