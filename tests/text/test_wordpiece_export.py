"""A tokenizer in a SavedModel, loaded by a process that knows only TensorFlow and TensorFlow Text."""

import json

import fresh
import tensorflow as tf
from tensorflow.core.protobuf import saved_model_pb2
from wordpiece_reference import hard_vocabulary

from kerasformer.text import WordPieceTokenizer

TEXTS = ["Unaffable [MASK] é각 中", "", "a" * 101 + " e\u0301\U0001d16d\U0001d165"]

LOADER = """
import json, sys
import tensorflow as tf, tensorflow_text
folder, texts = sys.argv[1], json.loads(sys.argv[2])
served = tf.saved_model.load(folder).signatures
ragged = served["offsets"](text=tf.constant(texts))
print(json.dumps({
    "inputs": {name: value.numpy().tolist() for name, value in served["inputs"](text=tf.constant(texts)).items()},
    "one": served["inputs"](text=tf.constant(texts[:1]))["token_ids"].numpy().tolist(),
    "none": served["inputs"](text=tf.zeros([0], tf.string))["token_ids"].shape.as_list(),
    "offsets": {name: value.numpy().tolist() for name, value in ragged.items()},
    "texts": [text.decode() for text in served["texts"](text=tf.constant(texts))["texts"].numpy()],
}))
assert "kerasformer" not in sys.modules
"""


def test_saved_model_in_a_fresh_process(tmp_path):
    tokenizer = WordPieceTokenizer(hard_vocabulary())
    signature = [tf.TensorSpec([None], tf.string, name="text")]

    @tf.function(input_signature=signature)
    def inputs(text):
        return tokenizer(text, text, max_length=30)

    @tf.function(input_signature=signature)
    def offsets(text):
        ids, starts, ends = tokenizer.tokenize_with_offsets(text)
        return {"ids": ids.values, "starts": starts.values, "ends": ends.values, "splits": ids.row_splits}

    @tf.function(input_signature=signature)
    def texts(text):
        return {"texts": tokenizer.detokenize(tokenizer.tokenize(text))}

    module = tf.Module()
    functions = {"inputs": inputs, "offsets": offsets, "texts": texts}
    tf.saved_model.save(module, str(tmp_path), signatures=functions)

    answer = fresh.run("-c", LOADER, tmp_path, json.dumps(TEXTS), timeout=300)
    assert answer.returncode == 0, answer.stderr[-2000:]
    received = json.loads(answer.stdout.splitlines()[-1])
    expected = tokenizer(TEXTS, TEXTS, max_length=30)
    assert received["inputs"] == {name: value.numpy().tolist() for name, value in expected.items()}
    assert received["one"] == tokenizer(TEXTS[:1], TEXTS[:1])["token_ids"].numpy().tolist()
    assert received["none"] == [0, 3]
    ids, starts, ends = tokenizer.tokenize_with_offsets(TEXTS)
    assert received["offsets"]["ids"] == ids.values.numpy().tolist()
    assert received["offsets"]["splits"] == ids.row_splits.numpy().tolist()
    assert received["offsets"]["starts"] == starts.values.numpy().tolist()
    assert received["offsets"]["ends"] == ends.values.numpy().tolist()
    assert received["texts"] == [text.decode() for text in tokenizer.detokenize(tokenizer.tokenize(TEXTS)).numpy()]

    saved = saved_model_pb2.SavedModel.FromString((tmp_path / "saved_model.pb").read_bytes())
    ops = {node.op for function in saved.meta_graphs[0].graph_def.library.function for node in function.node_def}
    # The one op of TensorFlow Text is one that every TensorFlow Serving from 2.18 on links.
    assert {op for op in ops if "TFText" in op or "ordpiece" in op} == {"FastWordpieceTokenizeWithOffsets"}
    assert not {op for op in ops if "Py" in op or "HashTable" in op or "VarHandle" in op}
