"""The tensors of a checkpoint's folder, whatever file they are in, each read when it is asked for."""

import json
import pathlib

import safetensors

from kerasformer.errors import InputError
from kerasformer.families.tf_files import open_tf
from kerasformer.families.torch_files import Tensor, open_torch

_SAFETENSORS, _TORCH, _TF = "model.safetensors", "pytorch_model.bin", "tf_model.h5"
_DTYPES = {
    "F16": "float16",
    "BF16": "bfloat16",
    "F32": "float32",
    "F64": "float64",
    "I8": "int8",
    "I16": "int16",
    "I32": "int32",
    "I64": "int64",
    "U8": "uint8",
    "BOOL": "bool",
}
# How the text begins that stands for a large file in a repository cloned without Git LFS.
_POINTER = b"version https://git-lfs"
# What other weights are called, to be named where there are none that can be read.
_OTHERS = ("*.h5", "*.msgpack", "*.onnx", "*.gguf", "*.ckpt*", "*.pt", "*.pth", "*.bin", "*.safetensors")


def open_tensors(folder):
    """The tensors in a folder: `model.safetensors` or `pytorch_model.bin`, or shards of either with their index; or
    `tf_model.h5`.

    Args:
        folder: path.

    Returns:
        `{name: Tensor}`, as they are named and typed in the files. Nothing is read before `Tensor.read()` is called.

    Raises:
        InputError: there is no such file, it is damaged, a shard or a tensor that the index names is missing, or a
            `pytorch_model.bin` asks for anything but tensors.
    """
    folder = pathlib.Path(folder)
    for name in (_SAFETENSORS, _TORCH):
        if (folder / name).is_file():
            return _open_file(folder / name)
        if (folder / f"{name}.index.json").is_file():
            return _open_shards(folder / f"{name}.index.json")
    if (folder / _TF).is_file():
        return open_tf(folder / _TF)
    others = sorted({path.name for pattern in _OTHERS for path in folder.glob(pattern)})
    raise InputError(
        f"{folder} must hold {_SAFETENSORS} or {_TORCH}, or shards of either with their index, or {_TF}. "
        f"Found: {', '.join(others) or 'no weights'}."
    )


def weight_files(folder):
    """The files that hold the weights of a folder, a sorted list of paths: what `open_tensors` reads, or else files of
    TensorFlow or Keras."""
    for name in (_SAFETENSORS, _TORCH):
        if (folder / name).is_file():
            return [folder / name]
        if (folder / f"{name}.index.json").is_file():
            places = json.loads((folder / f"{name}.index.json").read_text(encoding="utf-8"))["weight_map"]
            return sorted(folder / shard for shard in set(places.values()))
    return sorted(path for pattern in (_TF, "*.weights.h5", "*.ckpt*.data-*") for path in folder.glob(pattern))


def _open_file(path):
    with open(path, "rb") as file:
        if file.read(len(_POINTER)) == _POINTER:
            raise InputError(
                f"{path} is a pointer of Git LFS in place of the weights: run `git lfs pull` in its repository, or "
                "download the file itself."
            )
    return open_torch(path) if path.suffix == ".bin" else _open_safetensors(path)


def _open_safetensors(path):
    try:
        # Maps the file into memory. It stays open as long as one of its tensors is kept.
        file = safetensors.safe_open(path, framework="np")
        slices = {name: file.get_slice(name) for name in file.keys()}  # noqa: SIM118, not a dictionary
    except (safetensors.SafetensorError, ValueError, OSError) as error:
        raise InputError(f"{path} cannot be read as safetensors, is it complete? {error}") from None

    def tensor(name, stored):
        dtype = stored.get_dtype()
        return Tensor(tuple(stored.get_shape()), _DTYPES.get(dtype, dtype), lambda: file.get_tensor(name))

    return {name: tensor(name, stored) for name, stored in slices.items()}


def _open_shards(index):
    """The tensors that an index (`{"weight_map": {tensor: file}}`) names."""
    try:
        places = json.loads(index.read_text(encoding="utf-8"))["weight_map"]
        names = sorted(set(places.values()))
        are_names = all(isinstance(name, str) and pathlib.PurePath(name).name == name for name in names)
    except (ValueError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"{index} must be JSON with a `weight_map` of tensors and files: {error!r}") from None
    if not are_names:
        raise InputError(f"{index} must name files of its own folder. Received: {', '.join(map(str, names))[:80]}.")
    if missing := [name for name in names if not (index.parent / name).is_file()]:
        raise InputError(f"{index.parent} lacks {missing[0]}, one of {len(names)} shards that {index.name} names.")
    shards = {name: _open_file(index.parent / name) for name in names}
    if lost := [tensor for tensor, name in places.items() if tensor not in shards[name]]:
        raise InputError(
            f"{index} names the tensor {lost[0]!r}, which its shard {places[lost[0]]} does not hold "
            f"({len(lost)} such tensors)."
        )
    return {tensor: shards[name][tensor] for tensor, name in places.items()}
