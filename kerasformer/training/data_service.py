"""A `tf.data` service for preparing batches on another machine.

    python -m kerasformer.training.data_service --port 5050    # prints grpc://...:5050

The address goes to `Trainer(data_service="grpc://HOST:5050")`. Several trainings may share a service.
"""

import argparse
import socket
import sys

from kerasformer.errors import one_line_errors


def main(arguments=None):
    """Serves until it is ended."""
    parser = argparse.ArgumentParser(prog="python -m kerasformer.training.data_service", description=__doc__)
    parser.add_argument("--port", type=int, default=5050, help="of the dispatcher; 0 takes a free one")
    flags = parser.parse_args(arguments)
    import tensorflow as tf
    import tensorflow_text  # noqa: F401  registers the ops of tokenizers

    service = tf.data.experimental.service
    try:
        dispatcher = service.DispatchServer(service.DispatcherConfig(port=flags.port))
        address = dispatcher.target.partition("://")[2].replace("localhost", "127.0.0.1")
        worker = service.WorkerServer(service.WorkerConfig(dispatcher_address=address))
    except tf.errors.OpError as error:
        raise OSError(f"The data service cannot start: {error.message}. Choose another --port.") from None
    print(
        f"grpc://{address} (from other machines: grpc://{socket.gethostname()}:{address.rpartition(':')[2]})",
        flush=True,
    )
    dispatcher.join()
    del worker


if __name__ == "__main__":
    with one_line_errors():
        sys.exit(main())
