"""Tiny checkpoints recorded from transformers, as folders."""

import json
import pathlib

import numpy as np
from safetensors.numpy import save_file

from kerasformer.families import FAMILIES, open_checkpoint

FIXTURES = pathlib.Path(__file__).parents[1] / "fixtures"


class Recorded:
    """One family's recording, see `record_encoders.py` and `record_gpt2.py`.

    With a prefix, the arrays below it take the place of those of the same name.
    """

    def __init__(self, path, prefix=""):
        self.arrays = dict(np.load(path))
        if prefix:
            self.arrays = {key: value for key, value in self.arrays.items() if not key.startswith("weight/")}
            self.arrays |= self.below(prefix)
        self.inputs = {key: self.arrays[key] for key in ("token_ids", "segment_ids", "padding_mask") if key in self}
        self.mask = self.inputs["padding_mask"][..., None]

    def __contains__(self, key):
        return key in self.arrays

    def __getitem__(self, key):
        return self.arrays[key]

    def below(self, prefix):
        return {key[len(prefix) :]: value for key, value in self.arrays.items() if key.startswith(prefix)}

    @property
    def model_type(self):
        return json.loads(str(self["config"]))["model_type"]

    def write(self, folder, kind=None, **changes):
        """The folder that transformers writes for a model with a head, or for the bare one."""
        config = json.loads(str(self["config"])) | changes
        tensors = self.below("weight/")
        if kind:
            config |= json.loads(str(self[f"labels/{kind}"])) | {"architectures": [str(self[f"architecture/{kind}"])]}
            prefix = FAMILIES[config["model_type"]].prefix
            tensors = {f"{prefix}.{name}": value for name, value in tensors.items()} | self.below(f"head/{kind}/")
        folder.mkdir()
        (folder / "config.json").write_text(json.dumps(config))
        save_file(tensors, folder / "model.safetensors")
        return folder


def loaded(folder, **arguments):
    checkpoint = open_checkpoint(folder)
    backbone = checkpoint.backbone(**arguments)
    checkpoint.assign(backbone)
    return backbone
