"""Two replicas, and two workers, give the weights of one device."""

import pathlib

import fresh
import numpy as np
import pytest

PROGRAM = pathlib.Path(__file__).with_name("equality_program.py")
LAUNCH = pathlib.Path(fresh.__file__).with_name("forked_launch.py")
# Each way, and that of one device which it must equal.
WAYS = {
    "plain": "plain",
    "microbatches": "plain",
    "steps": "adamw",
    "xla": "adamw",
    "dropout": "dropout",
    "dropout_microbatches": "dropout",
    "two_means_microbatches": "two_means",
    "two_means_few_xla": "two_means_few",
    "translator": "translator",
    "weights": "weights",
    "weights_microbatches": "weights",
}
# Each way is traced anew on every device. In `make test` every option and kind of loss is in one of them.
FEW = {
    "two_replicas": ["steps", "dropout", "two_means_few_xla"],
    "two_workers": ["translator", "weights_microbatches"],
}
CASES = [
    pytest.param(devices, way, marks=() if way in FEW[devices] else pytest.mark.exhaustive)
    for devices in ("two_replicas", "two_workers")
    for way in WAYS
]


def run(*command):
    process = fresh.run_script(*command)
    assert process.returncode == 0, process.stderr[-3000:]


@pytest.fixture(scope="module")
def ways(request):
    """The ways that the tests chosen ask for, by devices."""
    chosen = [item.callspec.params for item in request.session.items if item.name.startswith("test_many_devices")]
    return {
        devices: [case["way"] for case in chosen if case["devices"] == devices]
        for devices in ("two_replicas", "two_workers")
    }


@pytest.fixture(scope="module")
def one_device(tmp_path_factory, ways):
    path = tmp_path_factory.mktemp("one") / "weights.npz"
    of_all = {WAYS[way] for chosen in ways.values() for way in chosen}
    run(PROGRAM, "one", path, *sorted(of_all | {"adamw", "dropout"}))
    return dict(np.load(path))


@pytest.fixture(scope="module")
def two_replicas(tmp_path_factory, ways):
    path = tmp_path_factory.mktemp("mirrored") / "weights.npz"
    run(PROGRAM, "mirrored", path, *ways["two_replicas"])
    return [dict(np.load(path))]


@pytest.fixture(scope="module")
def two_workers(tmp_path_factory, ways):
    folder = tmp_path_factory.mktemp("workers")
    run(LAUNCH, "--workers", "2", PROGRAM, "workers", folder / "weights.npz", *ways["two_workers"])
    return [dict(np.load(folder / f"weights_{index}.npz")) for index in (0, 1)]


@pytest.mark.parametrize(("devices", "way"), CASES)
def test_many_devices_train_as_one(devices, way, one_device, request):
    reference = WAYS[way]
    names = [name.split("/")[1] for name in one_device if name.startswith(f"{reference}/")]
    assert len(names) > 10
    for weights in request.getfixturevalue(devices):
        for name in names:
            expected, found = one_device[f"{reference}/{name}"], weights[f"{way}/{name}"]
            np.testing.assert_allclose(found, expected, rtol=0, atol=1e-5, err_msg=name)


def test_dropout_was_on(one_device):
    assert any(np.abs(one_device[f"adamw/{index}"] - one_device[f"dropout/{index}"]).max() > 1e-3 for index in range(5))
