"""A form of layers with a lower latency for single texts.

For few tokens much of the time is not arithmetic: TensorFlow's fused operations hand their work to sleeping threads and
wait until it is done, 0.05 to 0.1 ms each time. In the serving form

- a feed-forward network is two of half the inner width: TensorFlow runs them side by side, and each is small enough to
  stay in one thread;
- attention with few scores is computed by operations that stay in one thread (`attention_for_serving`).

The results are the same but for rounding.
"""

from kerasformer._compat import flatten_layers


def use_serving_form(model, row_groups=1):
    """Switches the layers of a functional model to their serving form; there is no way back.

    For a model whose weights are about to become constants: cutting variables would cost time in each call.

    Args:
        model: a functional model.
        row_groups: parts of a batch in self-attention, see `attention_for_serving`; for batches sorted by length.
    """
    for layer in flatten_layers(model):
        if hasattr(layer, "serving_form"):
            layer.serving_form = True
        if hasattr(layer, "row_groups"):
            layer.row_groups = row_groups
