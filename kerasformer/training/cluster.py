"""The workers of a training on several machines, as `TF_CONFIG` names them."""

import json
import os
import socket
import time

from kerasformer.errors import InputError

_EXAMPLE = '{"cluster": {"worker": ["host0:port", "host1:port"]}, "task": {"type": "worker", "index": 0}}'


def read_cluster():
    """The addresses of all workers, the chief first, and this one's index among them.

    Returns:
        `(addresses, index)`; `([], 0)` where `TF_CONFIG` is not set or names no workers.

    Raises:
        InputError: `TF_CONFIG` does not parse, or names no such worker.
    """
    text = os.environ.get("TF_CONFIG", "")
    if not text.strip():
        return [], 0
    try:
        config = json.loads(text)
        cluster, task = config.get("cluster", {}), config.get("task", {})
        chiefs, workers = list(cluster.get("chief", [])), list(cluster.get("worker", []))
        kind, index = task.get("type", "worker"), int(task.get("index", 0))
    except (ValueError, AttributeError, TypeError) as error:
        raise InputError(f"TF_CONFIG must be JSON such as {_EXAMPLE}. Received: {text[:200]} ({error}).") from None
    if not chiefs and not workers:
        return [], 0
    of_kind = {"chief": chiefs, "worker": workers}.get(kind, [])
    if not 0 <= index < len(of_kind):
        raise InputError(
            f"TF_CONFIG must name this task's own address in its cluster. Received: task {kind} {index}, and "
            f"{len(chiefs)} chief, {len(workers)} workers in the cluster."
        )
    for address in [*chiefs, *workers]:
        host, _, port = str(address).rpartition(":")
        if not host or not port.isdigit():
            raise InputError(f"An address in TF_CONFIG must be host:port. Received: {address!r}.")
    return [*chiefs, *workers], index + (len(chiefs) if kind == "worker" else 0)


def is_chief():
    """Whether this process is the one worker that writes files: the first, or the only one."""
    return read_cluster()[1] == 0


def wait_for_workers(seconds=300.0):
    """Waits until every worker of the cluster can be reached; TensorFlow itself would wait without a word.

    Args:
        seconds: to wait at most; the environment variable `KERASFORMER_WORKER_TIMEOUT` overrides it.

    Raises:
        InputError: a worker did not start in time, or this one's port is taken; addresses are named.
    """
    addresses, own = read_cluster()
    if len(addresses) < 2:
        return
    seconds = float(os.environ.get("KERASFORMER_WORKER_TIMEOUT", seconds))
    deadline = time.monotonic() + seconds
    port = int(addresses[own].rpartition(":")[2])
    try:
        # The others wait for this address as this one waits for theirs; TensorFlow takes the port over.
        listener = socket.create_server(("", port), backlog=64)
    except OSError as error:
        raise InputError(f"Worker {own} cannot listen on its address {addresses[own]}: {error.strerror}.") from None
    with listener:
        missing = [address for index, address in enumerate(addresses) if index != own]
        while True:
            missing = [address for address in missing if not _answers(address)]
            if not missing:
                # The slowest of the others may still have to see this one.
                time.sleep(0.5)
                return
            if time.monotonic() > deadline:
                raise InputError(
                    f"Worker {own} waited {seconds:.0f} seconds for {', '.join(missing)}, which did not come: is it "
                    "started there, with the same TF_CONFIG but its own index, and may it be reached from here?"
                )
            time.sleep(0.2)


def _answers(address):
    host, _, port = address.rpartition(":")
    try:
        with socket.create_connection((host, int(port)), timeout=2):
            return True
    except OSError:
        return False
