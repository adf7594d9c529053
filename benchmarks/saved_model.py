"""Open a SavedModel as TensorFlow Serving does, without the server: a v1 session and one prepared call."""

from collections.abc import Callable
from pathlib import Path

import numpy as np


def open_signature(
    folder: Path, input_name: str, output_name: str, threads: int, signature: str = "serving_default"
) -> Callable[[list[str]], np.ndarray]:
    """Loads `folder` in a process that imports nothing but TensorFlow and tensorflow-text.

    Every output of the signature is computed and fetched, as the server does for a request that names none.

    Args:
        input_name: the signature's only input, strings `[N]`.
        output_name: the output to return.
        threads: of each of TensorFlow's two pools, as the server sets them by default for so many cores.

    Returns:
        A callable from N texts to the output, `[N, ...]`.
    """
    import tensorflow as tf

    from kerasformer.serving.session import open_session

    config = tf.compat.v1.ConfigProto(intra_op_parallelism_threads=threads, inter_op_parallelism_threads=threads)
    session, signatures = open_session(folder, config)
    served = signatures[signature]
    names = sorted(served.outputs, key=lambda name: name != output_name)
    call = session.make_callable([served.outputs[name].name for name in names], [served.inputs[input_name].name])
    return lambda texts: call(np.array([text.encode() for text in texts], object))[0]
