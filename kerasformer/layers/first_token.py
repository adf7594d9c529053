"""The first token of a text."""

import keras


@keras.saving.register_keras_serializable(package="kerasformer")
class FirstToken(keras.layers.Layer):
    """The hidden state of each text's first token, in BERT `[CLS]`, as it is: `[batch, length, width]` to
    `[batch, width]`."""

    def __init__(self, **kwargs):
        super().__init__(autocast=False, **kwargs)

    def call(self, inputs):
        return inputs[:, 0]
