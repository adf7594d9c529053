"""Strategies by name, and clusters that `TF_CONFIG` tells wrongly."""

import json
import socket

import fresh
import pytest
import tensorflow as tf

from kerasformer.errors import InputError
from kerasformer.training import is_chief, make_strategy
from kerasformer.training.cluster import read_cluster, wait_for_workers


def config(addresses, index=0, kind="worker"):
    return json.dumps({"cluster": {"worker": addresses}, "task": {"type": kind, "index": index}})


def test_strategies(monkeypatch):
    monkeypatch.delenv("TF_CONFIG", raising=False)
    assert make_strategy() is tf.distribute.get_strategy()
    one = tf.distribute.OneDeviceStrategy("/cpu:0")
    assert make_strategy(one) is one
    assert make_strategy("mirrored").num_replicas_in_sync == 1
    with pytest.raises(InputError, match=r"must be one of \['default', 'mirrored', 'multi_worker'\]. Received"):
        make_strategy("mirorred")


def test_a_cluster_of_one_is_one_device(monkeypatch):
    monkeypatch.setenv("TF_CONFIG", config(["127.0.0.1:1234"]))
    assert make_strategy() is tf.distribute.get_strategy()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("{", "must be JSON"),
        ("[1]", "must be JSON"),
        (config(["a:1", "b:2"], 2), "task worker 2"),
        (config(["a:1", "b:2"], -1), "task worker -1"),
        (config(["a:1", "b:2"], 0, "ps"), "task ps 0"),
        (config(["a", "b:2"]), "Received: 'a'"),
        (config(["a:x", "b:2"]), "Received: 'a:x'"),
    ],
)
def test_a_wrong_tf_config_is_told_in_one_line(text, told, monkeypatch):
    monkeypatch.setenv("TF_CONFIG", text)
    with pytest.raises(InputError, match=told.replace("[", "\\[")) as error:
        make_strategy("multi_worker")
    assert "\n" not in str(error.value)


def test_the_chief_is_the_first_of_all(monkeypatch):
    cluster = {"chief": ["a:1"], "worker": ["b:1", "c:1"]}
    places = {}
    for kind, index in (("chief", 0), ("worker", 0), ("worker", 1)):
        monkeypatch.setenv("TF_CONFIG", json.dumps({"cluster": cluster, "task": {"type": kind, "index": index}}))
        places[kind, index] = (read_cluster(), is_chief())
    addresses = ["a:1", "b:1", "c:1"]
    assert places == {
        ("chief", 0): ((addresses, 0), True),
        ("worker", 0): ((addresses, 1), False),
        ("worker", 1): ((addresses, 2), False),
    }


def free_port():
    with socket.socket() as item:
        item.bind(("127.0.0.1", 0))
        return item.getsockname()[1]


def test_a_worker_that_never_comes_is_named(monkeypatch):
    missing = f"127.0.0.1:{free_port()}"
    monkeypatch.setenv("TF_CONFIG", config([f"127.0.0.1:{free_port()}", missing]))
    with pytest.raises(InputError, match=f"waited 1 seconds for {missing}, which did not come"):
        wait_for_workers(1)


def test_a_taken_port_is_named(monkeypatch):
    with socket.create_server(("", 0)) as taken:
        own = f"127.0.0.1:{taken.getsockname()[1]}"
        monkeypatch.setenv("TF_CONFIG", config([own, "127.0.0.1:9"]))
        with pytest.raises(InputError, match=f"cannot listen on its address {own}"):
            wait_for_workers(1)


def launch(tmp_path, code, workers=2):
    script = tmp_path / "script.py"
    script.write_text(code)
    return fresh.run("-m", "kerasformer.training.launch", "--workers", workers, script, "x", "--y", timeout=240)


def test_launch_gives_each_worker_its_place(tmp_path):
    process = launch(tmp_path, "import os, sys\nprint(sys.argv[1:], os.environ['TF_CONFIG'])", workers=3)
    assert process.returncode == 0
    others = [line for line in process.stderr.splitlines() if line.startswith(("[1]", "[2]"))]
    lines = [*process.stdout.splitlines(), *sorted(others)]
    configs = [json.loads(line[line.index("{") :]) for line in lines]
    assert all("['x', '--y']" in line for line in lines)
    assert [config["task"]["index"] for config in configs] == [0, 1, 2]
    assert lines[1].startswith("[1] ")
    assert len({tuple(config["cluster"]["worker"]) for config in configs}) == 1
    assert len(set(configs[0]["cluster"]["worker"])) == 3


def test_launch_ends_the_others_when_one_fails(tmp_path):
    code = "import json, os, sys, time\nindex = json.loads(os.environ['TF_CONFIG'])['task']['index']\n"
    process = launch(tmp_path, code + "sys.exit(7) if index else time.sleep(500)")
    assert process.returncode == 7


def test_launch_names_a_script_that_is_not_there(tmp_path):
    process = fresh.run("-m", "kerasformer.training.launch", tmp_path / "none.py")
    assert process.returncode == 2
    assert "none.py" in process.stderr.splitlines()[-1]
