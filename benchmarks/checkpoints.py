"""Published checkpoints: their numbers beside transformers' own, and what it takes to publish and serve them.

    KF_CHECKPOINTS=FOLDER KF_DATA=FOLDER python -m benchmarks.checkpoints

Reads every Hugging Face folder in `$KF_CHECKPOINTS` and in `$KF_DATA/checkpoints`. The reference is transformers in
float64; beside the difference of ours stands that of transformers in float32. Each folder is then loaded, published
with its check, and asked in the preview server. Memory is the peak of a process over what its imports take.
"""

import dataclasses
import math
import os
import pathlib
import re
import resource
import sys
import tempfile
import time

import numpy as np
import tyro

from benchmarks.measure import markdown_table, surroundings, usable_cores, warn_if_busy
from benchmarks.worker import Worker, missing_for

PACKAGES = ("torch", "transformers")
DISTRIBUTIONS = ("kerasformer", "tensorflow", "tensorflow-text", "keras", "transformers", "torch")
# Encoders without a head, and how their vectors are made.
EMBEDDERS = {"multilingual-e5": {"pooling": "mean", "prompts": {"query": "query: "}, "prompt_name": "query"}}
TEXTS = ["The harbour silted up in 1790, and the town moved.", "naïve café 日本語 😀", "C1CCOC1", ""]
OTHERS = ["What moved?", "Where?", "When did the harbour silt up?", "?"]


@dataclasses.dataclass(frozen=True)
class Arguments:
    """Numbers, publishing and serving of published checkpoints.

    Attributes:
        names: folders; all that are found if empty.
    """

    names: tuple[str, ...] = ()


def main(arguments: Arguments) -> None:
    folders = _folders()
    if unknown := sorted(set(arguments.names) - folders.keys()):
        raise SystemExit(f"Not found: {', '.join(unknown)}. There are: {', '.join(folders) or 'none'}.")
    if not folders:
        raise SystemExit("Name a folder of checkpoints in KF_CHECKPOINTS, or the data folder in KF_DATA.")
    warn_if_busy()
    rows = []
    for name in arguments.names or folders:
        print(name, file=sys.stderr)
        try:
            rows.append([name, *_row(folders[name])])
        except RuntimeError as error:
            print(f"{name}: {str(error).strip().splitlines()[-1]}", file=sys.stderr)
    headers = ["folder", "task", "weights, MB", "hidden states", "transformers float32", "logits", "load, s"]
    headers += ["publish, s", "publisher, MB", "checker, MB", "served"]
    print(markdown_table(headers, rows))
    print(f"\n{surroundings(DISTRIBUTIONS, usable_cores())}.")


def _folders() -> dict[str, pathlib.Path]:
    places = [os.environ.get("KF_CHECKPOINTS"), os.environ.get("KF_DATA") and f"{os.environ['KF_DATA']}/checkpoints"]
    paths = [path for place in places if place for path in sorted(pathlib.Path(place).iterdir())]
    return {path.name: path for path in paths if (path / "config.json").is_file()}


def _row(folder: pathlib.Path) -> list[str]:
    numbers = {}
    if not missing_for(__name__):
        numbers = _alone("numbers", folder)
    with tempfile.TemporaryDirectory() as scratch:
        made = _alone("publishing", folder, pathlib.Path(scratch) / "model")
        checker = _alone("checking", made["version"])
        served = _alone("serving", folder, pathlib.Path(scratch))
    return [
        made["task"],
        f"{made['weights'] / 1e6:.0f}",
        *(f"{numbers[key]:.1e}" if key in numbers else "" for key in ("hidden", "theirs", "logits")),
        f"{made['load_seconds']:.0f}",
        f"{made['publish_seconds']:.0f}",
        f"{made['peak']:.0f}",
        f"{checker:.0f}",
        served,
    ]


def _alone(function: str, *arguments):
    worker = Worker(__name__, "_returning", function, arguments)
    try:
        return worker()
    finally:
        worker.close()


def _returning(function: str, arguments: tuple):
    value = globals()[function](*arguments)
    return lambda: value


def numbers(folder: pathlib.Path) -> dict[str, float]:
    """Largest differences from transformers in float64, over the largest number there is: rows of the longest length,
    of one token, and between."""
    import torch
    import transformers

    import kerasformer as kf

    checkpoint = kf.families.open_checkpoint(folder)
    config = checkpoint.config
    # The config of an embedder names the head that its encoder was trained with.
    kind = None if (folder / "modules.json").is_file() else checkpoint.kind
    random = np.random.default_rng(0)
    lengths = np.array([min(config.max_sequence_length or 512, 512), 1, 40, 7])[:, None]
    mask = (np.arange(lengths.max()) < lengths).astype("int32")
    ids = np.where(mask, random.integers(5, config.vocabulary_size, mask.shape), 0).astype("int32")
    inputs = {"token_ids": ids, "padding_mask": mask}
    if config.embedding.num_segments > 1:
        inputs["segment_ids"] = np.zeros_like(mask)

    def theirs(dtype):
        architecture = checkpoint.family.architecture(kind)
        model = getattr(transformers, architecture).from_pretrained(folder, attn_implementation="eager", dtype=dtype)
        padded = torch.tensor(np.where(mask, ids, model.config.pad_token_id)).long()
        with torch.no_grad():
            found = model.eval()(padded, attention_mask=torch.tensor(mask).long(), output_hidden_states=True)
        logits = getattr(found, "logits", None)
        return [state.numpy()[mask > 0] for state in found.hidden_states], logits

    expected, logits = theirs(torch.float64)
    single, _ = theirs(torch.float32)
    backbone = checkpoint.backbone()
    checkpoint.assign(backbone)
    states = [np.asarray(state)[mask > 0] for state in backbone.expose()(inputs)["hidden_states"]]
    found = {"hidden": _difference(states, expected), "theirs": _difference(single, expected)}
    if kind == "masked_lm":
        head = backbone.masked_head()
        head.build((None, None, config.hidden_dim))
        checkpoint.assign(backbone, head)
        positions = np.where(mask, np.arange(mask.shape[1]), -1).astype("int32")
        hidden = backbone(inputs)["sequence_output"]
        ours = np.asarray(head(hidden, positions, backbone.embeddings.token.embeddings))
        found["logits"] = _difference([ours], [logits.numpy()[mask > 0]])
    elif kind == "token_classification":
        task = kf.load(folder)
        order = [checkpoint.labels.index(name) for name in task.tag_names]
        ours = np.asarray(task.head.output(backbone(inputs)["sequence_output"]))[mask > 0]
        found["logits"] = _difference([ours], [logits.numpy()[mask > 0][:, order]])
    return found


def _difference(ours, theirs):
    return max(
        float(np.abs(one - other).max() / max(1.0, np.abs(other).max()))
        for one, other in zip(ours, theirs, strict=True)
    )


def load(folder: pathlib.Path):
    import kerasformer as kf

    settings = next((value for name, value in EMBEDDERS.items() if name in folder.name), None)
    return kf.load(folder) if settings is None else kf.load(folder, task="TextEmbedder", **settings)


def publishing(folder: pathlib.Path, base: pathlib.Path) -> dict:
    import tensorflow_text  # noqa: F401

    import kerasformer.tasks  # noqa: F401
    from kerasformer.serving import publish

    before, start = _memory("VmRSS"), time.perf_counter()
    task = load(folder)
    loaded = time.perf_counter()
    version = publish(task, base)
    return {
        "task": type(task).__name__,
        "weights": sum(math.prod(weight.shape) for weight in task.model.weights) * 4,
        "load_seconds": loaded - start,
        "publish_seconds": time.perf_counter() - loaded,
        "peak": _memory("VmHWM") - before,
        "version": version,
    }


def checking(version: pathlib.Path) -> float:
    """MB that the checking process takes over the imports of the same libraries."""
    import tensorflow_text  # noqa: F401

    before = _memory("VmRSS")
    from kerasformer.serving import check

    check(version)
    return resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e3 - before


def serving(folder: pathlib.Path, base: pathlib.Path) -> str:
    """How far the preview server's answers to `TEXTS` are from the task's in Python."""
    import kerasformer as kf

    task = load(folder)
    tokenizer = task.tokenizer
    mask = f" {tokenizer.vocabulary[tokenizer.mask_id]}" if type(task).__name__ == "MaskedLanguageModel" else ""
    first = [text + mask for text in TEXTS]
    columns = dict(
        zip(
            task.feature_names,
            (OTHERS, first) if task.feature_names[0] == "question" else (first, OTHERS),
            strict=False,
        )
    )
    with kf.serving.PreviewServer(base, rest_port=0, grpc_port=0) as server:
        address = f"127.0.0.1:{server.grpc_port}"
        with kf.serving.Client(address, model="model", protocol="grpc") as client:
            served = client.predict(columns)
    expected = task.answers(columns)
    largest, unequal = 0.0, 0
    for name, value in served.items():
        wanted = np.asarray(expected[name])
        if wanted.dtype.kind == "f":
            largest = max(largest, float(np.abs(value - wanted).max(initial=0.0)))
        else:
            unequal += int((value != wanted).sum())
    return f"{largest:.1e}" + (f", {unequal} others differ" if unequal else "")


def _memory(field: str) -> float:
    return int(re.search(rf"{field}:\s+(\d+)", pathlib.Path("/proc/self/status").read_text())[1]) / 1e3


if __name__ == "__main__":
    main(tyro.cli(Arguments))
