"""Starts the workers of a distributed training on this machine.

    python -m kerasformer.training.launch --workers 2 recipes/sentiment.py --train mine.csv

Each worker runs the same command with a `TF_CONFIG` of its own; recipes and `make_strategy` then train together. What
the first one prints is shown as it is, the lines of the others after their number. When one fails the others are ended.
"""

import argparse
import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time

# What a worker gets to save and end in, after SIGTERM.
_GRACE_SECONDS = 60


def main(arguments=None):
    """The command line; returns the exit code: 0, or that of the first worker that failed."""
    parser = argparse.ArgumentParser(
        prog="python -m kerasformer.training.launch", description="Runs a script as several workers on this machine."
    )
    parser.add_argument("--workers", type=int, default=2, help="number of processes (default 2)")
    parser.add_argument("script", help="Python script to run, such as recipes/sentiment.py")
    parser.add_argument("arguments", nargs=argparse.REMAINDER, help="of the script")
    flags = parser.parse_args(arguments)
    if flags.workers < 1:
        parser.error(f"--workers must be 1 or more. Received: {flags.workers}.")
    if not os.path.isfile(flags.script):
        parser.error(f"there is no script {flags.script}")
    return run_workers([sys.executable, flags.script, *flags.arguments], flags.workers)


def run_workers(command, workers):
    """Runs `command` as `workers` processes of one cluster; returns the exit code, as `main` does."""
    addresses = [f"127.0.0.1:{port}" for port in _free_ports(workers)]
    processes, readers = [], []
    for index in range(workers):
        config = {"cluster": {"worker": addresses}, "task": {"type": "worker", "index": index}}
        environment = {**os.environ, "TF_CONFIG": json.dumps(config)}
        output = None if index == 0 else subprocess.PIPE
        process = subprocess.Popen(
            command, env=environment, stdout=output, stderr=subprocess.STDOUT if output else None
        )
        processes.append(process)
        if output:
            readers.append(threading.Thread(target=_show, args=(process.stdout, index), daemon=True))
            readers[-1].start()
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda received, _: _send(processes, received))
    code = _wait(processes)
    for reader in readers:
        reader.join(timeout=5)
    return code


def _wait(processes):
    """Until all have ended, or one has failed and the others were ended."""
    code, deadline = 0, None
    while None in (codes := [process.poll() for process in processes]):
        failed = [returned for returned in codes if returned]
        if failed and not code:
            code, deadline = failed[0], time.monotonic() + _GRACE_SECONDS
            _send(processes, signal.SIGTERM)
        if deadline and time.monotonic() > deadline:
            _send(processes, signal.SIGKILL)
        time.sleep(0.1)
    code = code or next((returned for returned in codes if returned), 0)
    # A process that died of a signal has its negative number.
    return 128 - code if code < 0 else code


def _send(processes, number):
    for process in processes:
        if process.poll() is None:
            process.send_signal(number)


def _show(stream, index):
    for line in stream:
        sys.stderr.write(f"[{index}] {line.decode(errors='replace')}")


def _free_ports(count):
    sockets = [socket.socket() for _ in range(count)]
    try:
        for item in sockets:
            item.bind(("127.0.0.1", 0))
        return [item.getsockname()[1] for item in sockets]
    finally:
        for item in sockets:
            item.close()


if __name__ == "__main__":
    sys.exit(main())
