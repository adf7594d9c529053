"""TensorFlow without the lines that it prints while it is loaded."""

import os
import sys


def load_tensorflow():
    """Imports TensorFlow and starts its runtime; on a terminal nothing of it is seen.

    TensorFlow 2.21 writes some lines to file descriptor 2 before its log level is read, whatever `TF_CPP_MIN_LOG_LEVEL`
    says. An error of the import itself is raised as usual.
    """
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    sys.stderr.flush()
    kept, nothing = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    os.dup2(nothing, 2)
    try:
        import tensorflow as tf
        import tensorflow_text  # noqa: F401

        tf.config.list_logical_devices()
    finally:
        os.dup2(kept, 2)
        os.close(kept)
        os.close(nothing)
