"""Weight files: safetensors, shards, and PyTorch's zip archives, whose pickles are never executed."""

import json
import pickle
import struct
import tracemalloc
import zipfile

import ml_dtypes
import numpy as np
import pytest
from safetensors.numpy import save_file

from kerasformer.errors import InputError
from kerasformer.families.tensors import open_tensors

DTYPES = ["float32", "float16", ml_dtypes.bfloat16, "float64", "int64", "int32", "int16", "int8", "uint8", "bool"]
STORAGES = ["Float", "Half", "BFloat16", "Double", "Long", "Int", "Short", "Char", "Byte", "Bool"]
VALUES = {np.dtype(dtype).name: np.arange(6).reshape(2, 3).astype(dtype) for dtype in DTYPES}


def read(folder):
    return {name: tensor.read() for name, tensor in open_tensors(folder).items()}


def assert_same(found, expected):
    assert found.keys() == expected.keys()
    for name, value in expected.items():
        assert found[name].dtype == value.dtype
        np.testing.assert_array_equal(found[name], value)


# Pickles by hand: what `torch.save` writes, operation by operation (protocol 2).


def text(value):
    encoded = value.encode()
    return b"X" + struct.pack("<I", len(encoded)) + encoded


def number(value):
    return pickle.dumps(value, 2)[2:-1]


def numbers(*values):
    return b"(" + b"".join(map(number, values)) + b"t"


def name(path):
    module, _, last = path.rpartition(".")
    return f"c{module}\n{last}\n".encode()


def storage(kind, key, length):
    return b"(" + text("storage") + name(f"torch.{kind}Storage") + text(key) + text("cpu") + number(length) + b"tQ"


def tensor(stored, offset=0, shape=(2, 3), strides=(3, 1)):
    arguments = stored + number(offset) + numbers(*shape) + numbers(*strides) + b"\x89" + ordered_dict()
    return name("torch._utils._rebuild_tensor_v2") + b"(" + arguments + b"tR"


def ordered_dict():
    return name("collections.OrderedDict") + b")R"


def state_dict(**tensors):
    items = b"".join(text(key) + value for key, value in tensors.items())
    return b"\x80\x02" + ordered_dict() + b"(" + items + b"u."


def write_torch(path, pickled, entries=(), compression=zipfile.ZIP_STORED):
    with zipfile.ZipFile(path, "w", compression) as archive:
        archive.writestr("archive/data.pkl", pickled)
        archive.writestr("archive/byteorder", b"little")
        for key, value in dict(entries).items():
            archive.writestr(f"archive/data/{key}", value)
        archive.writestr("archive/version", b"3\n")


FLOATS = np.arange(6, dtype="float32")
ONE = {"0": FLOATS.tobytes()}


def test_torch_types_views_and_shared_storages(tmp_path):
    entries = {str(place): value.tobytes() for place, value in enumerate(VALUES.values())}
    tensors = {
        key: tensor(storage(kind, str(place), 6))
        for place, (key, kind) in enumerate(zip(VALUES, STORAGES, strict=True))
    }
    views = {
        "transposed": (tensor(storage("Float", "0", 6), 0, (3, 2), (1, 3)), VALUES["float32"].T),
        "row": (tensor(storage("Float", "0", 6), 3, (3,), (1,)), VALUES["float32"][1]),
        "scalar": (tensor(storage("Float", "0", 6), 5, (), ()), VALUES["float32"][1, 2]),
        "empty": (tensor(storage("Float", "0", 6), 6, (0, 3), (3, 1)), np.zeros((0, 3), "float32")),
        "parameter": (
            name("torch._utils._rebuild_parameter")
            + b"("
            + tensor(storage("Float", "0", 6))
            + b"\x88"
            + ordered_dict()
            + b"tR",
            VALUES["float32"],
        ),
    }
    pickled = state_dict(**tensors, **{key: view for key, (view, _) in views.items()})
    # The versions of modules, as an attribute of the dictionary.
    pickled = pickled[:-1] + b"}" + text("_metadata") + ordered_dict() + b"sb."
    write_torch(tmp_path / "pytorch_model.bin", pickled, entries)
    assert_same(read(tmp_path), VALUES | {key: value for key, (_, value) in views.items()})


def test_files_that_torch_writes(tmp_path):
    torch = pytest.importorskip("torch")
    module = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.LayerNorm(2), torch.nn.Linear(2, 3, bias=False))
    module[2].weight = torch.nn.Parameter(module[0].weight.T)  # one storage, two views
    half = {f"half.{key}": value.to(torch.bfloat16) for key, value in module.state_dict().items()}
    for protocol in (2, 4):
        for state in (module.state_dict(), dict(module.named_parameters()), half | {"ids": torch.arange(5)[None]}):
            torch.save(state, tmp_path / "pytorch_model.bin", pickle_protocol=protocol)
            expected = {
                key: value.detach().to(torch.float32).numpy().astype(str(value.dtype).removeprefix("torch."))
                for key, value in state.items()
            }
            assert_same(read(tmp_path), expected)


def test_torch_before_1_6(tmp_path):
    torch = pytest.importorskip("torch")
    torch.save({"a": torch.ones(2)}, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    with pytest.raises(InputError, match=r"has the format of PyTorch before 1\.6"):
        open_tensors(tmp_path)


class Executes:
    """A pickle of it runs `os.system`."""

    def __init__(self, place):
        self.place = place

    def __reduce__(self):
        import os

        return os.system, (f"touch {self.place}",)


def damaged(change):
    """A good archive, with its bytes changed."""

    def write(path):
        write_torch(path, state_dict(a=tensor(storage("Float", "0", 6))), ONE)
        path.write_bytes(change(path.read_bytes()))

    return write


def pickled(data, entries=ONE):
    return lambda path: write_torch(path, data, entries)


def viewed(*arguments):
    return pickled(state_dict(a=tensor(storage("Float", "0", 6), *arguments)))


def compressed(path):
    write_torch(path, state_dict(a=tensor(storage("Float", "0", 2**26))), {"0": bytes(2**28)}, zipfile.ZIP_DEFLATED)


def twice(path):
    write_torch(path, state_dict(a=tensor(storage("Float", "0", 6))), ONE | {"1": b""})
    path.write_bytes(path.read_bytes().replace(b"archive/data/1", b"archive/data/0"))


def declared_larger(data):
    """The sizes that the central directory gives to the storage, 24 bytes, become 24,000."""
    place = data.rindex(b"archive/data/0") - 46
    assert data[place : place + 4] == b"PK\x01\x02"
    return data[: place + 20] + struct.pack("<II", 24_000, 24_000) + data[place + 28 :]


def nested(depth):
    return b"\x80\x02}" + b")" + b"\x85" * depth + b"Ns."


HOSTILE = {
    "os.system": (lambda path: write_torch(path, pickle.dumps(Executes(path.parent / "run"), 2)), "asks for posix.sys"),
    "stack global": (lambda path: write_torch(path, pickle.dumps(Executes(path.parent / "run"), 4)), "posix.system"),
    "in a value": (pickled(state_dict(a=name("builtins.eval") + b"(" + text("1") + b"tR")), r"asks for builtins\.eval"),
    "a name by itself": (pickled(state_dict(a=name("builtins.print"))), r"asks for builtins\.print"),
    "torch's own loader": (pickled(state_dict(a=name("torch.load"))), r"asks for torch\.load"),
    "old instances": (pickled(b"\x80\x02(ios\nsystem\n."), "the operation INST"),
    "objects": (pickled(b"\x80\x02(" + name("collections.OrderedDict") + b"o."), "the operation OBJ"),
    "new objects": (pickled(b"\x80\x02" + name("collections.OrderedDict") + b")\x81."), "the operation NEWOBJ"),
    "extensions": (pickled(b"\x80\x02\x82\x01."), "the operation EXT1"),
    "text persistent ids": (pickled(b"\x80\x02Pid\n."), "the operation PERSID"),
    "calls of a tensor": (pickled(b"\x80\x02" + tensor(storage("Float", "0", 6)) + b")R."), "something else than ten"),
    "calls of a storage class": (pickled(b"\x80\x02" + name("torch.FloatStorage") + b")R."), "something else than ten"),
    "a filled dictionary": (pickled(b"\x80\x02" + name("collections.OrderedDict") + b"(]tR."), "something else than"),
    "attributes of others": (pickled(b"\x80\x02" + tensor(storage("Float", "0", 6)) + b"}b."), "for a dict"),
    "items of others": (pickled(b"\x80\x02]" + text("a") + b"Ns."), "a list for a dict"),
    "other keys": (pickled(b"\x80\x02}" + number(1) + b"Ns."), "keys are no names"),
    "deep keys": (pickled(nested(10**6)), "keys are no names"),
    "no dictionary": (pickled(b"\x80\x02" + tensor(storage("Float", "0", 6)) + b"."), "something else than a dict"),
    "no tensors": (pickled(state_dict(a=number(3))), "something else than a dict"),
    "nested dictionaries": (pickled(state_dict(a=ordered_dict())), "something else than a dict"),
    "unknown storage": (pickled(state_dict(a=tensor(storage("ComplexFloat", "0", 3)))), "ComplexFloatStorage"),
    "untyped storage": (pickled(state_dict(a=name("torch.storage.UntypedStorage"))), "UntypedStorage"),
    "other persistent ids": (pickled(b"\x80\x02" + text("module") + b"Q."), "something else than a storage"),
    "missing storage": (pickled(state_dict(a=tensor(storage("Float", "../0", 6)))), "'../0' is missing"),
    "larger storage": (pickled(state_dict(a=tensor(storage("Float", "0", 7)))), "7 numbers .* has 24 bytes"),
    "smaller storage": (pickled(state_dict(a=tensor(storage("Float", "0", 5)))), "5 numbers .* has 24 bytes"),
    "wider storage": (pickled(state_dict(a=tensor(storage("Double", "0", 6)))), "6 numbers .* has 24 bytes"),
    "negative storage": (pickled(state_dict(a=tensor(storage("Float", "0", -6)))), "something else than a storage"),
    "view beyond": (viewed(1), "larger than its storage"),
    "strides beyond": (viewed(0, (2, 3), (4, 1)), "reaches beyond"),
    "negative offset": (viewed(-1, (2,), (1,)), "not whole numbers"),
    "negative stride": (viewed(5, (6,), (-1,)), "not whole numbers"),
    "negative shape": (viewed(0, (-1, 3), (3, 1)), "not whole numbers"),
    "boolean offset": (pickled(state_dict(a=tensor(storage("Float", "0", 6)).replace(number(0), b"\x88", 1))), "whole"),
    "overlapping view": (viewed(0, (10**9, 10**9), (0, 0)), "larger than its storage"),
    "enormous shape": (viewed(0, (2**2000,), (0,)), "larger than its storage"),
    "other ranks": (viewed(0, (2, 3), (1,)), "belong together"),
    "ranks beyond": (viewed(0, (1,) * 100, (1,) * 100), "belong together"),
    "memo": (pickled(b"\x80\x02}r\xff\xff\xff\x7fj\x00\x00\x00\x01."), "damaged"),
    "empty stack": (pickled(b"\x80\x02R."), "damaged"),
    "no mark": (pickled(b"\x80\x02t."), "damaged"),
    "no stop": (pickled(b"\x80\x02}"), "damaged"),
    "no operation": (pickled(b"\xff"), "damaged"),
    "text of 4 GB": (pickled(b"\x80\x02X\xff\xff\xff\xff."), "damaged"),
    "empty pickle": (pickled(b""), "damaged"),
    "zip bomb": (compressed, "is compressed"),
    "two of one name": (twice, "two entries of one name"),
    "no pickle": (lambda path: zipfile.ZipFile(path, "w").writestr("a", b""), "not one data.pkl"),
    "entry beyond the file": (damaged(declared_larger), "ends beyond the file"),
    "entry elsewhere": (damaged(lambda data: data.replace(b"PK\x03\x04", b"PK\x03\x05")), "damaged"),
    "truncated zip": (damaged(lambda data: data[: len(data) // 2]), "no zip archive of PyTorch, or incomplete"),
    "beginning cut off": (damaged(lambda data: data[100:]), "damaged"),
    "big-endian": (damaged(lambda data: data.replace(b"little", b"big   ")), "little-endian"),
    "empty file": (lambda path: path.write_bytes(b""), "no zip archive"),
    "no pickle, no zip": (lambda path: path.write_bytes(b"neither of them"), "no zip archive"),
    "before 1.6": (lambda path: path.write_bytes(pickle.dumps(0x1950A86A20F9469CFC6C, 2)), r"PyTorch before 1\.6"),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_hostile_files_are_refused_in_one_line(tmp_path, case):
    write, words = HOSTILE[case]
    path = tmp_path / "pytorch_model.bin"
    write(path)
    with pytest.raises(InputError, match=words) as error:
        open_tensors(tmp_path)
    assert str(path) in str(error.value)
    assert "\n" not in str(error.value)
    assert len(str(error.value)) < 600
    assert not (tmp_path / "run").exists()


def test_damage_anywhere_gives_tensors_or_one_line(tmp_path):
    """Bytes changed at random: no other exception, and no tensor of another size."""
    random = np.random.default_rng(0)
    path = tmp_path / "pytorch_model.bin"
    write_torch(path, state_dict(a=tensor(storage("Float", "0", 6)), b=tensor(storage("Float", "0", 6))), ONE)
    good = path.read_bytes()
    refused = 0
    for _ in range(3000):
        data = bytearray(good)
        for place in random.integers(0, len(data), random.integers(1, 4)):
            data[place] = random.integers(0, 256)
        path.write_bytes(data)
        try:
            found = read(tmp_path)
        except InputError:
            refused += 1
        else:
            assert all(value.size <= 6 for value in found.values())
    assert 500 < refused < 3000


def test_safetensors_types(tmp_path):
    save_file(VALUES, tmp_path / "model.safetensors")
    assert_same(read(tmp_path), VALUES)
    found = open_tensors(tmp_path)
    assert {name: (tensor.shape, tensor.dtype) for name, tensor in found.items()} == {n: ((2, 3), n) for n in VALUES}


def write_shards(folder, ending="safetensors"):
    first = {name: VALUES[name] for name in ("float32", "int64")}
    second = {name: VALUES[name] for name in ("float16", "bfloat16")}
    weights = "model" if ending == "safetensors" else "pytorch_model"
    places = {}
    for number, shard in enumerate((first, second), 1):
        file = f"{weights}-{number:05}-of-00002.{ending}"
        places |= dict.fromkeys(shard, file)
        if ending == "safetensors":
            save_file(shard, folder / file)
        else:
            kinds = dict(zip(VALUES, STORAGES, strict=True))
            pickle_ = state_dict(**{key: tensor(storage(kinds[key], key, 6)) for key in shard})
            write_torch(folder / file, pickle_, {key: value.tobytes() for key, value in shard.items()})
    index = folder / f"{weights}.{ending}.index.json"
    index.write_text(json.dumps({"metadata": {}, "weight_map": places}))
    return index, first | second


@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_shards(tmp_path, ending):
    _, expected = write_shards(tmp_path, ending)
    assert_same(read(tmp_path), expected)


def without_a_shard(index):
    (index.parent / "model-00002-of-00002.safetensors").unlink()


def with_map(**changes):
    def change(index):
        places = json.loads(index.read_text())["weight_map"]
        index.write_text(json.dumps({"weight_map": places | changes}))

    return change


SHARDS = {
    "missing": (without_a_shard, "lacks model-00002-of-00002.safetensors, one of 2 shards"),
    "no shard has it": (with_map(lost="model-00001-of-00002.safetensors"), "the tensor 'lost'"),
    "elsewhere": (with_map(a="../model.safetensors"), "files of its own folder"),
    "absolute": (with_map(a="/etc/passwd"), "files of its own folder"),
    "no name": (with_map(a=3), "weight_map|files of its own folder"),
    "no JSON": (lambda index: index.write_text("{"), "must be JSON"),
    "a list": (lambda index: index.write_text("[]"), "must be JSON"),
    "no map": (lambda index: index.write_text("{}"), "must be JSON"),
    "map no object": (lambda index: index.write_text('{"weight_map": 3}'), "must be JSON"),
    "shard damaged": (lambda index: next(index.parent.glob("*1-of*")).write_bytes(b"no"), "cannot be read as safete"),
}


@pytest.mark.parametrize("case", SHARDS)
def test_bad_shards(tmp_path, case):
    spoil, words = SHARDS[case]
    spoil(write_shards(tmp_path)[0])
    with pytest.raises(InputError, match=words) as error:
        open_tensors(tmp_path)
    assert "\n" not in str(error.value)


def test_folders_without_weights_name_what_they_hold(tmp_path):
    with pytest.raises(InputError, match=r"must hold model.safetensors .* or tf_model.h5. Found: no weights"):
        open_tensors(tmp_path)
    (tmp_path / "flax_model.msgpack").touch()
    with pytest.raises(InputError, match=r"Found: flax_model\.msgpack"):
        open_tensors(tmp_path)


@pytest.mark.parametrize("ending", ["safetensors", "bin"])
def test_one_tensor_at_a_time_is_in_memory(tmp_path, ending):
    size = 2**20
    values = {str(place): np.full(size, place, "float32") for place in range(8)}
    if ending == "safetensors":
        save_file(values, tmp_path / "model.safetensors")
    else:
        tensors = {key: tensor(storage("Float", key, size), 0, (size,), (1,)) for key in values}
        entries = {key: value.tobytes() for key, value in values.items()}
        write_torch(tmp_path / "pytorch_model.bin", state_dict(**tensors), entries)
    del values
    tracemalloc.start()
    for name_, tensor_ in open_tensors(tmp_path).items():
        assert tensor_.read().astype("float32").sum() == size * int(name_)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 3 * 4 * size
