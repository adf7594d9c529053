"""PyTorch's weight files (`pytorch_model.bin`), read without PyTorch and without executing anything.

Since PyTorch 1.6 `torch.save` writes a zip archive: `NAME/data.pkl` is a pickle of the dictionary of tensors, and each
storage, a run of numbers that tensors are views of, is an uncompressed entry `NAME/data/KEY`. Format:
https://docs.pytorch.org/docs/stable/notes/serialization.html, and `torch/serialization.py`.

A pickle is a program, and Python's reader runs whatever it names. This reader is an interpreter of its own that knows
the few operations a dictionary of tensors is made of. It refuses any other operation and name, and never imports or
calls what a file names.
"""

import dataclasses
import math
import pickletools
import struct
import typing
import zipfile

import ml_dtypes
import numpy as np

from kerasformer.errors import InputError

_STORAGES = {
    "torch FloatStorage": np.dtype("<f4"),
    "torch HalfStorage": np.dtype("<f2"),
    "torch BFloat16Storage": np.dtype(ml_dtypes.bfloat16),
    "torch DoubleStorage": np.dtype("<f8"),
    "torch LongStorage": np.dtype("<i8"),
    "torch IntStorage": np.dtype("<i4"),
    "torch ShortStorage": np.dtype("<i2"),
    "torch CharStorage": np.dtype("i1"),
    "torch ByteStorage": np.dtype("u1"),
    "torch BoolStorage": np.dtype("bool"),
}
_ORDERED_DICT = "collections OrderedDict"
_TENSOR, _PARAMETER = "torch._utils _rebuild_tensor_v2", "torch._utils _rebuild_parameter"
_NAMES = {_ORDERED_DICT, _TENSOR, _PARAMETER, *_STORAGES}
_LARGEST_PICKLE = 2**26
_LOCAL_HEADER, _LOCAL_HEADER_SIGNATURE, _ENCRYPTED = 30, b"PK\x03\x04", 1


class Tensor(typing.NamedTuple):
    """A tensor in a file.

    Attributes:
        shape: tuple.
        dtype: name, such as "float32" or "bfloat16".
        read: function without arguments that returns the array; it may be a read-only view of the file.
    """

    shape: tuple
    dtype: str
    read: typing.Callable


def open_torch(path):
    """The tensors of a file that `torch.save(state_dict)` wrote.

    Args:
        path: the file.

    Returns:
        `{name: Tensor}`.

    Raises:
        InputError: the file is damaged, was written before PyTorch 1.6, or its pickle asks for anything but tensors.
    """
    try:
        return _open_archive(path)
    except _Refused as error:
        raise InputError(
            f"{path} cannot be read: {error}. Only a dictionary of tensors is read, and nothing is executed. "
            "If you trust the file, load it with PyTorch and save it as model.safetensors."
        ) from None


class _Refused(Exception):
    """A file that is damaged, or asks for more than tensors."""


def _open_archive(path):
    if not zipfile.is_zipfile(path):
        with open(path, "rb") as file:
            is_pickle = file.read(1) == b"\x80"
        raise _Refused(
            "it has the format of PyTorch before 1.6" if is_pickle else "it is no zip archive of PyTorch, or incomplete"
        )
    # Mapped, not read: pages come from the disk when a tensor is asked for, and leave memory when others need it.
    memory = np.memmap(path, np.uint8, mode="r")
    try:
        with zipfile.ZipFile(path) as archive:
            entries = [(entry.filename, _checked_range(entry, memory)) for entry in archive.infolist()]
    except (zipfile.BadZipFile, ValueError, NotImplementedError, RuntimeError, OverflowError, struct.error) as error:
        raise _Refused(f"its zip archive is damaged ({error})") from None
    ranges = dict(entries)
    pickles = [name for name in ranges if name.count("/") == 1 and name.endswith("/data.pkl")]
    if len(ranges) < len(entries) or len(pickles) != 1:
        raise _Refused("its zip archive has two entries of one name, or not one data.pkl")
    top = pickles[0].removesuffix("data.pkl")
    if bytes(memory[ranges.get(f"{top}byteorder", slice(0))]) not in (b"", b"little"):
        raise _Refused("its numbers are not little-endian")
    storages = {name.removeprefix(f"{top}data/"): place for name, place in ranges.items() if "/data/" in name}
    if (size := ranges[pickles[0]].stop - ranges[pickles[0]].start) > _LARGEST_PICKLE:
        raise _Refused(f"its data.pkl has {size:,} bytes, more than any list of tensors needs")
    result = _Unpickler(storages).run(memory[ranges[pickles[0]]].tobytes())
    if not isinstance(result, dict) or not all(isinstance(view, _View) for view in result.values()):
        raise _Refused("it holds something else than a dictionary of tensors")
    return {name: Tensor(view.shape, view.dtype.name, _reading(memory, view)) for name, view in result.items()}


def _checked_range(entry, memory):
    """Where the bytes of an entry lie, as a slice of the file."""
    header = memory[entry.header_offset : entry.header_offset + _LOCAL_HEADER].tobytes()
    if entry.compress_type != zipfile.ZIP_STORED or entry.compress_size != entry.file_size:
        raise _Refused(f"the entry {entry.filename!r} of its zip archive is compressed")
    if entry.flag_bits & _ENCRYPTED or not header.startswith(_LOCAL_HEADER_SIGNATURE) or len(header) < _LOCAL_HEADER:
        raise _Refused("its zip archive is damaged or encrypted")
    start = entry.header_offset + _LOCAL_HEADER + sum(struct.unpack("<HH", header[26:30]))
    if start + entry.file_size > len(memory):
        raise _Refused(f"the entry {entry.filename!r} of its zip archive ends beyond the file")
    return slice(start, start + entry.file_size)


class _View(typing.NamedTuple):
    """A tensor: places in bytes, from the beginning of the file."""

    dtype: np.dtype
    start: int
    shape: tuple
    strides: tuple


def _reading(memory, view):
    return lambda: np.ndarray(view.shape, view.dtype, memory, view.start, view.strides)


@dataclasses.dataclass
class _Name:
    """A name that the pickle asks for. It represents nothing but itself."""

    name: str


class _Storage(typing.NamedTuple):
    dtype: np.dtype
    start: int
    length: int


class _Unpickler:
    """The operations of a pickle that a dictionary of tensors is made of, on a stack and a memo (`pickletools`)."""

    def __init__(self, storages):
        self.storages = storages
        self.stack, self.memo = [], {}

    def run(self, pickled):
        try:
            for operation, argument, _ in pickletools.genops(pickled):
                if operation.name == "STOP":
                    return self.stack.pop()
                self.step(operation.name, argument)
        except (ValueError, LookupError, UnicodeError) as error:
            raise _Refused(f"its pickle is damaged ({' '.join(str(error).split())[:80]})") from None
        raise _Refused("its pickle is damaged")

    def step(self, operation, argument):
        stack = self.stack
        match operation:
            case "PROTO" | "FRAME":
                pass
            case "NONE" | "NEWTRUE" | "NEWFALSE":
                stack.append({"NONE": None, "NEWTRUE": True, "NEWFALSE": False}[operation])
            case "BININT" | "BININT1" | "BININT2" | "LONG1" | "BINFLOAT" | "BINUNICODE" | "SHORT_BINUNICODE":
                stack.append(argument)
            case "MARK":
                stack.append(_Name("mark"))
            case "EMPTY_TUPLE" | "TUPLE1" | "TUPLE2" | "TUPLE3":
                count = {"EMPTY_TUPLE": 0, "TUPLE1": 1, "TUPLE2": 2, "TUPLE3": 3}[operation]
                stack.append(tuple(self.pop_many(count)))
            case "TUPLE":
                stack.append(tuple(self.pop_to_mark()))
            case "EMPTY_LIST":
                stack.append([])
            case "APPEND" | "APPENDS":
                values = self.pop_many(1) if operation == "APPEND" else self.pop_to_mark()
                self.top(list).extend(values)
            case "EMPTY_DICT":
                stack.append({})
            case "SETITEM" | "SETITEMS":
                self.set_items(self.pop_many(2) if operation == "SETITEM" else self.pop_to_mark())
            case "BINPUT" | "LONG_BINPUT":
                self.memo[argument] = stack[-1]
            case "MEMOIZE":
                self.memo[len(self.memo)] = stack[-1]
            case "BINGET" | "LONG_BINGET":
                stack.append(self.memo[argument])
            case "GLOBAL":
                stack.append(_named(argument))
            case "STACK_GLOBAL":
                stack.append(_named(" ".join(str(part) for part in self.pop_many(2) if isinstance(part, str))))
            case "BINPERSID":
                stack.append(self.storage(stack.pop()))
            case "REDUCE":
                function, arguments = self.pop_many(2)
                stack.append(_reduced(function, arguments))
            case "BUILD":
                # The versions of its modules, which PyTorch keeps as an attribute of the dictionary: not read.
                stack.pop()
                self.top(dict)
            case _:
                raise _Refused(f"its pickle asks for the operation {operation}")

    def pop_many(self, count):
        if len(self.stack) < count:
            raise _Refused("its pickle is damaged")
        values = self.stack[len(self.stack) - count :]
        del self.stack[len(self.stack) - count :]
        return values

    def pop_to_mark(self):
        for place in range(len(self.stack) - 1, -1, -1):
            if isinstance(self.stack[place], _Name) and self.stack[place].name == "mark":
                values = self.pop_many(len(self.stack) - place - 1)
                self.stack.pop()
                return values
        raise _Refused("its pickle is damaged")

    def top(self, kind):
        if not isinstance(self.stack[-1], kind):
            raise _Refused(f"its pickle takes a {type(self.stack[-1]).__name__} for a {kind.__name__}")
        return self.stack[-1]

    def set_items(self, values):
        dictionary, names = self.top(dict), values[::2]
        # Strings alone: other keys, hashed, could recurse without end.
        if len(values) % 2 or not all(isinstance(name, str) for name in names):
            raise _Refused("its pickle holds a dictionary whose keys are no names")
        dictionary.update(zip(names, values[1::2], strict=True))

    def storage(self, identity):
        """The storage that a persistent id `("storage", type, key, location, length)` names."""
        match identity:
            case ("storage", _Name(name), str(key), str(), int(length)) if name in _STORAGES and length >= 0:
                pass
            case _:
                raise _Refused("its pickle asks for something else than a storage of numbers")
        if key not in self.storages:
            raise _Refused(f"the storage {key[:20]!r} is missing in its zip archive")
        dtype, place = _STORAGES[name], self.storages[key]
        if length * dtype.itemsize != place.stop - place.start:
            raise _Refused(
                f"the storage {key[:20]!r} should have {length} numbers of type {dtype.name}. "
                f"Its entry in the zip archive has {place.stop - place.start} bytes"
            )
        return _Storage(dtype, place.start, length)


def _named(name):
    if name not in _NAMES:
        raise _Refused(f"its pickle asks for {'.'.join(name.split())[:80]}")
    return _Name(name)


def _reduced(function, arguments):
    match function, arguments:
        case _Name(name), () if name == _ORDERED_DICT:
            return {}
        case _Name(name), (_View() as view, *_) if name == _PARAMETER:
            return view
        case _Name(name), (_Storage() as storage, int(offset), tuple(shape), tuple(strides), *_) if name == _TENSOR:
            return _view(storage, offset, shape, strides)
    raise _Refused("its pickle makes something else than tensors")


def _view(storage, offset, shape, strides):
    numbers = [offset, *shape, *strides]
    if len(shape) != len(strides) or len(shape) > 32 or not all(type(n) is int and n >= 0 for n in numbers):
        raise _Refused("a tensor's offset, shape and strides are not whole numbers that belong together")
    last = offset + sum((size - 1) * stride for size, stride in zip(shape, strides, strict=True))
    # No more elements than the storage holds: strides of 0 make any number of them out of one.
    if 0 not in shape and (last >= storage.length or math.prod(shape) > storage.length):
        raise _Refused(
            f"a tensor of shape {str(shape)[:60]} is larger than its storage of {storage.length} numbers, "
            "or reaches beyond it"
        )
    size = storage.dtype.itemsize
    start, strides = (storage.start + offset * size, strides) if 0 not in shape else (0, [0] * len(shape))
    return _View(storage.dtype, start, shape, tuple(stride * size for stride in strides))
