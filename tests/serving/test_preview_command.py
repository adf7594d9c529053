"""`kerasformer serve`, as people start and stop it."""

import json
import re
import shlex
import signal
import subprocess
import threading
import time

import fresh
import pytest

from kerasformer.serving.client import Client
from kerasformer.serving.errors import ServingError

COMMAND = ("-m", "kerasformer", "serve")


def run(*arguments):
    """Exit code, and all that the command prints."""
    result = fresh.run(*COMMAND, *arguments, timeout=60)
    return result.returncode, result.stdout + result.stderr


def test_a_server_from_start_to_signal(saved):
    process = fresh.Process(*COMMAND, saved, "--rest-port", "0", "--grpc-port", "0", piped=True)
    try:
        lines = [process.stdout.readline()]
        while not lines[-1].startswith("  curl"):
            assert lines[-1], "the server ended"
            lines.append(process.stdout.readline())
        told = "".join(lines)
        assert "small, version 2 (also on disk: 1)" in told
        assert "  pair: text string [?], text_pair string [?] → joined string [?], score float32 [?]" in told
        rest_port, grpc_port = re.search(r"http://127.0.0.1:(\d+), gRPC on 127.0.0.1:(\d+)", told).groups()

        curl = subprocess.run([*shlex.split(lines[-1]), "-s"], capture_output=True, text=True, timeout=30)
        assert json.loads(curl.stdout)["predictions"][0]["label"] == "two:some text"

        # The ports are taken now: each is told in one line with the flag that changes it.
        for flag, port, other in (("--rest-port", rest_port, "--grpc-port"), ("--grpc-port", grpc_port, "--rest-port")):
            code, told = run(saved, flag, port, other, 0)
            assert code == 1
            assert (
                told == f"error: Port {port} on 127.0.0.1 is in use: choose another with {flag} (0 takes a free one).\n"
            )

        # Requests that are under way when the signal comes are answered.
        addresses = [f"http://127.0.0.1:{rest_port}", f"127.0.0.1:{grpc_port}"]
        clients = [Client(address, model="small") for address in addresses]
        answers = []

        def ask(client):
            answers.append(client.predict(signature="slow", steps=[8000])["done"].shape)

        threads = [threading.Thread(target=ask, args=(client,)) for client in clients]
        for client, thread in zip(clients, threads, strict=True):
            client.metadata()  # connected
            thread.start()
        time.sleep(0.5)
        assert not answers
        process.send_signal(signal.SIGTERM)
        for thread in threads:
            thread.join()
        assert answers == [(1,), (1,)]
        assert process.wait(30) == 0
        with Client(addresses[0], model="small") as client, pytest.raises(ServingError):
            client.status()
    finally:
        process.kill()
        process.stdout.close()


def test_a_request_without_an_end_does_not_hold_up_the_end(saved):
    """Its client gave up after 0.05 s; TensorFlow still computes it."""
    process = fresh.Process(*COMMAND, saved, "--rest-port", "0", "--grpc-port", "0", piped=True)
    try:
        port = re.search(r"gRPC on 127.0.0.1:(\d+)", process.stdout.readline())[1]
        with Client(f"127.0.0.1:{port}", model="small", timeout=0.05) as client:
            for _ in range(3):
                with pytest.raises(ServingError, match="did not answer"):
                    client.predict(signature="endless", text=["a"])
        process.send_signal(signal.SIGTERM)
        assert process.wait(15) == 0
    finally:
        process.kill()
        process.stdout.close()


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (["none"], "There is no folder"),
        (["."], "There is no model version"),
        (["half"], "half-written"),
        (["whole", "--rest-port", "65536"], "--rest-port"),
        (["whole", "--host", "no.such.host.invalid"], "--host"),
    ],
)
def test_what_is_wrong_is_told_in_one_line(tmp_path, arguments, told):
    (tmp_path / "half" / "m" / "1").mkdir(parents=True)
    (tmp_path / "whole" / "m" / "1").mkdir(parents=True)
    (tmp_path / "whole" / "m" / "1" / "saved_model.pb").touch()
    code, output = run(tmp_path / arguments[0], *arguments[1:])
    assert code == 1
    assert told in output
    assert output.count("\n") == 1
