"""What an extra brings is imported where it is used; without it, one line names the extra."""

import fresh
import pytest

# Imports of the named modules fail as where they are not installed; what Keras has imported of them is forgotten.
WITHOUT = """
import sys
absent = {names!r}.split()
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in absent:
            raise ModuleNotFoundError("No module named " + repr(name), name=name)
sys.meta_path.insert(0, Absent())
for name in [name for name in sys.modules if name.split(".")[0] in absent]:
    del sys.modules[name]
import numpy as np
import kerasformer as kf
"""
EXTRAS = "tensorflow_datasets pyarrow tyro matplotlib sacrebleu rouge_score sklearn scipy seqeval pandas waitress grpc"


def run_without(code, names=EXTRAS):
    program = WITHOUT.format(names=names) + code
    return fresh.run("-c", program)


def test_training_needs_no_extra(tmp_path):
    done = run_without(f"""
import keras
texts = ["good day", "bad day"] * 8
encoder, tokenizer = kf.families.random_encoder(texts, "tiny", vocabulary_size=60, max_length=16)
task = kf.tasks.TextClassifier(encoder, tokenizer, ["bad", "good"])
data = kf.data.batches(kf.data.from_lists(texts, [1, 0] * 8), 4)
callbacks = [kf.training.ProgressBar(), kf.training.MetricsLog({str(tmp_path)!r})]
history = kf.training.Trainer(task, keras.optimizers.Adam(1e-3)).fit(data, data, epochs=2, callbacks=callbacks)
assert set(history.history) >= {{"loss", "val_loss", "val_accuracy"}}, history.history
assert "val_macro_f1" not in history.history
assert task.class_report([0, 1], [0, 1]) == []
task.save({str(tmp_path / "task")!r})
kf.load({str(tmp_path / "task")!r})
assert kf.metrics.rouge(["a"], [["a"]]) == {{}} and kf.metrics.corpus_scores(["a"], ["a"]) == ({{}}, {{}})
""")
    assert done.returncode == 0, done.stderr[-2000:]
    told = [line for line in done.stderr.splitlines() if line.startswith("metrics left out")]
    assert len(told) == 3, "one line for each library, however often it is missed"
    assert all("pip install 'kerasformer[recipes]'" in line for line in told)
    assert "Drawing curves.png needs the package of the module 'matplotlib" in done.stderr


@pytest.mark.parametrize(
    ("code", "extra"),
    [
        ("list(kf.data.read_records('tfds:glue/sst2:train'))", "data"),
        ("list(kf.data.read_records({folder!r}))", "data"),
        ("kf.training.draw_curves('.')", "recipes"),
        ("kf.data.greedy_oracle(['a'], ['a'], 1)", "recipes"),
    ],
)
def test_one_line_names_the_extra(code, extra, tmp_path):
    (tmp_path / "train.parquet").write_bytes(b"PAR1")
    code = code.format(folder=f"hf:{tmp_path}:train")
    done = run_without(f"from kerasformer.errors import one_line_errors\nwith one_line_errors():\n    {code}")
    assert done.returncode == 1
    assert f"pip install 'kerasformer[{extra}]'" in done.stderr.strip().splitlines()[-1]
