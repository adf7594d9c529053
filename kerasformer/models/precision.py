"""The same functional model in another precision."""

import keras

from kerasformer.models.lora import merged_variables


def with_precision(model, policy, keep=()):
    """A copy of a functional model, with its weights, under another Keras dtype policy.

    Args:
        model: functional `keras.Model`.
        policy: "float32", "bfloat16" (weights and computation), "mixed_bfloat16", "mixed_float16", …
        keep: names of layers that keep their own policy.

    Returns:
        A new model; nothing is shared with the old one, and low-rank updates (`enable_lora`) are merged.
    """
    # By name, since layers without arguments of their own can only save those.
    policy = keras.dtype_policies.get(policy).name

    def in_precision(layer):
        config = layer.get_config()
        if layer.name not in keep and "dtype" in config:
            config["dtype"] = policy
        return layer.__class__.from_config(config)

    copy = keras.models.clone_model(model, clone_function=in_precision)
    for new, old in zip(copy.variables, merged_variables(model), strict=True):
        new.assign(keras.ops.cast(old, new.dtype) if keras.backend.is_float_dtype(new.dtype) else old)
    return copy
