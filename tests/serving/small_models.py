"""Small SavedModels with every kind of signature, for tests of the preview server and of the client."""

import shutil

import tensorflow as tf


class Small(tf.Module):
    """Answers with the lengths of texts, so that every expected value can be told by hand."""

    def __init__(self, name="one"):
        super().__init__()
        self.weights = tf.Variable([[1.0, 2.0, 4.0]])
        self.prefix = tf.Variable(name)
        text = tf.TensorSpec([None], tf.string, name="text")
        self.single = tf.function(self._single, input_signature=[text])
        self.pair = tf.function(self._pair, input_signature=[text, tf.TensorSpec([None], tf.string, name="text_pair")])
        self.numbers = tf.function(
            self._numbers,
            input_signature=[
                tf.TensorSpec([None, None], tf.int32, name="token_ids"),
                tf.TensorSpec([None], tf.float32, name="scale"),
                tf.TensorSpec([None], tf.bool, name="negate"),
                tf.TensorSpec([None], tf.int64, name="big"),
            ],
        )
        self.label_only = tf.function(self._label_only, input_signature=[text])
        self.raw = tf.function(self._raw, input_signature=[text])
        self.scalar = tf.function(self._scalar, input_signature=[text])
        self.refuse = tf.function(self._refuse, input_signature=[text])
        self.slow = tf.function(self._slow, input_signature=[tf.TensorSpec([None], tf.int32, name="steps")])
        self.endless = tf.function(self._endless, input_signature=[text])
        examples = tf.TensorSpec([None], tf.string, name="inputs")
        self.classify = tf.function(self._classify, input_signature=[examples])
        self.regress = tf.function(self._regress, input_signature=[examples])

    def signatures(self):
        return {
            "serving_default": self.single,
            "pair": self.pair,
            "numbers": self.numbers,
            "label_only": self.label_only,
            "raw": self.raw,
            "scalar": self.scalar,
            "refuse": self.refuse,
            "slow": self.slow,
            "endless": self.endless,
            "classify": self.classify,
            "regress": self.regress,
        }

    def _scores(self, text):
        return tf.cast(tf.strings.length(text), tf.float32)[:, None] * self.weights

    def _single(self, text):
        scores = self._scores(text)
        return {"label": tf.strings.join([self.prefix, text], ":"), "score": scores[:, 0], "scores": scores}

    def _pair(self, text, text_pair):
        return {"joined": text + text_pair, "score": self._scores(text_pair)[:, 0]}

    def _numbers(self, token_ids, scale, negate, big):
        total = tf.cast(tf.reduce_sum(token_ids, -1), tf.float32) * scale
        return {"total": tf.where(negate, -total, total), "token_ids": token_ids + 1, "big": big, "negate": negate}

    def _label_only(self, text):
        return {"label": text}

    def _raw(self, text):
        return {"text_bytes": text, "text": text}

    def _scalar(self, text):
        return {"count": tf.size(text), "text": text}

    def _refuse(self, text):
        with tf.control_dependencies([tf.debugging.assert_equal(text, "good", message="only good texts")]):
            return {"text": tf.identity(text)}

    def _slow(self, steps):
        square = tf.while_loop(
            lambda i, _: i < steps[0], lambda i, x: (i + 1, tf.tanh(x @ x)), (0, tf.fill([200, 200], 1e-3))
        )[1]
        return {"done": square[:1, 0]}

    def _endless(self, text):
        # One operation that no deadline interrupts: some minutes of work.
        numbers = tf.cast(tf.strings.length(text)[0], tf.float32) * tf.linspace(0.0, 1.0, 12000)
        return {"sum": tf.reduce_sum(tf.linalg.svd(numbers[:, None] * numbers, compute_uv=False))[None]}

    def _parsed(self, inputs):
        features = {
            "text": tf.io.FixedLenFeature([], tf.string),
            "weight": tf.io.FixedLenFeature([], tf.float32, 1.0),
            "times": tf.io.FixedLenFeature([], tf.int64, 1),
        }
        return tf.io.parse_example(inputs, features)

    def _classify(self, inputs):
        parsed = self._parsed(inputs)
        scores = self._scores(parsed["text"]) * parsed["weight"][:, None]
        classes = tf.stack([parsed["text"] + letter for letter in "abc"], axis=1)
        return {"classes": classes, "scores": scores}

    def _regress(self, inputs):
        parsed = self._parsed(inputs)
        return {"outputs": self._scores(parsed["text"])[:, 0] * tf.cast(parsed["times"], tf.float32)}


def save(folder, name="one"):
    """Writes the model so that `serving_default` labels begin with `name`; the folder appears all at once."""
    module = Small(name)
    staging = folder.with_name(f"staging-{folder.name}")
    tf.saved_model.save(module, str(staging), signatures=module.signatures())
    folder.parent.mkdir(parents=True, exist_ok=True)
    staging.rename(folder)
    return folder


def publish_copy(source, target):
    """Publishes a saved version again under another name, by one rename."""
    staging = target.with_name(f"staging-{target.name}")
    target.parent.mkdir(parents=True, exist_ok=True)
    shutil.copytree(source, staging)
    staging.rename(target)
    return target
