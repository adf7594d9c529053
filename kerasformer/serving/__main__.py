"""`python -m kerasformer.serving FOLDER`: the preview server on the command line."""

import argparse
import logging
import os
import signal
import sys
import threading

from kerasformer.errors import InputError
from kerasformer.serving.preview.folders import find_models
from kerasformer.serving.preview.ports import listen


def main():
    parser = argparse.ArgumentParser(
        prog="python -m kerasformer.serving",
        description="Serves SavedModels with TensorFlow Serving's REST and gRPC interfaces, to try them on this "
        "machine. For production run TensorFlow Serving itself on the same folder.",
    )
    parser.add_argument("folder", help="base folder of NAME/VERSION/saved_model.pb, or one model's folder")
    parser.add_argument("--rest-port", type=int, default=8501, help="default 8501; 0 takes a free one")
    parser.add_argument("--grpc-port", type=int, default=8500, help="default 8500; 0 takes a free one")
    parser.add_argument("--host", default="127.0.0.1", help="address to listen on; 0.0.0.0 for everybody")
    arguments = parser.parse_args()

    stop = threading.Event()

    def end(number, frame):
        stop.set()
        signal.signal(number, signal.SIG_DFL)  # a second one ends at once

    signal.signal(signal.SIGINT, end)
    signal.signal(signal.SIGTERM, end)

    try:
        serve(arguments, stop)
    except InputError as error:
        print(error, file=sys.stderr)
        return 1
    return 0


def serve(arguments, stop):
    """Serves until the event `stop` is set. Raises `InputError`."""
    # What people get wrong most often is told before TensorFlow is imported, which takes seconds and prints a page.
    find_models(arguments.folder)
    listen(arguments.host, arguments.rest_port, "--rest-port").close()
    listen(arguments.host, arguments.grpc_port, "--grpc-port").close()

    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    import tensorflow as tf

    from kerasformer.serving.preview import PreviewServer

    tf.get_logger().setLevel("ERROR")
    logging.getLogger("waitress.queue").setLevel("ERROR")  # a full queue is nothing to tell: requests wait their turn

    def tell(line):
        print(line, file=sys.stderr, flush=True)

    ports = arguments.rest_port, arguments.grpc_port
    with PreviewServer(arguments.folder, *ports, host=arguments.host, tell=tell) as server:
        print("\n".join(server.describe()), flush=True)
        stop.wait()


if __name__ == "__main__":
    sys.exit(main())
