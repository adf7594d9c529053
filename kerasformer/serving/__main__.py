"""`python -m kerasformer.serving FOLDER`: the preview server on the command line."""

import argparse
import os
import signal
import sys
import threading


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
    for name in (signal.SIGINT, signal.SIGTERM):
        signal.signal(name, lambda *_: stop.set())

    # What goes wrong is told in one line below; TensorFlow's and gRPC's own logs would bury it.
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    os.environ.setdefault("GRPC_VERBOSITY", "NONE")
    import logging

    import tensorflow as tf

    from kerasformer.errors import InputError
    from kerasformer.serving.preview import PreviewServer

    tf.get_logger().setLevel("ERROR")
    logging.getLogger("waitress.queue").setLevel("ERROR")  # a full queue is nothing to tell: requests wait their turn

    def tell(line):
        print(line, file=sys.stderr, flush=True)

    try:
        server = PreviewServer(arguments.folder, arguments.rest_port, arguments.grpc_port, arguments.host, tell)
        server.start()
    except InputError as error:
        tell(str(error))
        return 1
    print("\n".join(server.describe()), flush=True)
    stop.wait()
    server.stop()
    return 0


if __name__ == "__main__":
    sys.exit(main())
