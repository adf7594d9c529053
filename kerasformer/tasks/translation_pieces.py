"""The texts of both sides of a translation as pieces."""

import re

import numpy as np
import tensorflow as tf

from kerasformer.errors import InputError

# Of a tokenizer's outputs: an encoder of sources has no segments.
_READ = ("token_ids", "padding_mask")
# What may come before a tag.
_SPACE = " \t\n\r\f"


def language_tag(language):
    """The token that asks for a language, such as "<2de>" (Johnson et al. 2017, arXiv:1611.04558); in lower case, as it
    has to be where texts are lower-cased."""
    return f"<2{language.lower()}>"


class TranslationPieces:
    """Sources and targets as a Transformer's inputs and labels, with tags where there are several target languages.

    Args:
        source, target: tokenizers with start and end tokens; one and the same where a vocabulary is shared.
        languages: target languages; their tags are pieces of the source's, and the first is that of untagged texts.

    Attributes:
        unsayable: ids of the target's tokens that no translation may have.

    Raises:
        InputError: a tag is not a piece, or is listed twice.
    """

    def __init__(self, source, target, languages=()):
        tags = [language_tag(language) for language in languages]
        if len(set(tags)) < len(tags):
            raise InputError(f"`target_languages` must be different ones. Received: {list(languages)}.")
        missing = [tag for tag in tags if tag not in source.vocabulary]
        if missing:
            raise InputError(f"The tags of `target_languages` must be pieces of the tokenizer. Missing: {missing}.")
        self.source, self.target, self.tags = source, target, tags
        in_target = [target.vocabulary.index(tag) for tag in tags if tag in target.vocabulary]
        self.unsayable = [target.padding_id, target.start_id, target.unknown_id, *in_target]
        spaces = [place for place, piece in enumerate(source.vocabulary) if piece == "▁"]
        self._silent = [*[source.vocabulary.index(tag) for tag in tags], *spaces]

    def tagged(self, texts):
        """Strings `[N]` that all begin with a tag, if there are any."""
        if not self.tags:
            return texts
        tags = "|".join(re.escape(tag) for tag in self.tags)
        flags = "(?si)" if self.source.lowercase else "(?s)"
        has_tag = tf.strings.regex_full_match(texts, rf"{flags}[{_SPACE}]*({tags}).*")
        return tf.where(has_tag, texts, tf.strings.join([self.tags[0], " ", texts]))

    def asks_for(self, texts):
        """Which tag each of a list of str begins with, its place or -1, int `[N]`."""
        texts = [text.lower() if self.source.lowercase else text for text in texts]
        begins = np.array([[text.lstrip(_SPACE).startswith(tag) for tag in self.tags] for text in texts], bool)
        begins = begins.reshape(len(texts), len(self.tags))
        return np.where(begins.any(1), begins.argmax(1), -1) if self.tags else np.full(len(texts), -1)

    def inputs_and_labels(self, features):
        """`{"text": [N], "text_pair": [N]}`, sources and their translations, as inputs of the model, and the labels:
        int32 `[N, length]`, token ids, -1 at padding."""
        source = self.source(self.tagged(features["text"]))
        target = self.target.with_start(self.target.tokenize(features["text_pair"]))
        mask = target["padding_mask"][:, 1:]
        inputs = {f"source_{name}": source[name] for name in _READ}
        inputs |= {"target_token_ids": target["token_ids"][:, :-1], "target_padding_mask": mask}
        return inputs, tf.where(mask > 0, target["token_ids"][:, 1:], -1)

    def sources(self, texts):
        """Strings `[N]` as `(inputs of the encoder, is_cut, is_empty)`: bool `[N]`, whether a text is longer than the
        model, and whether it has no piece but a tag and space."""
        pieces = self.source.tokenize(self.tagged(texts))
        found = self.source.with_start(pieces)
        inputs = {f"source_{name}": found[name][:, 1:] for name in _READ}
        is_cut = tf.cast(pieces.row_lengths(), tf.int32) > self.source.max_length - 1
        speaks = tf.reduce_all(pieces.values[:, None] != tf.constant(self._silent, tf.int32, [len(self._silent)]), 1)
        return inputs, is_cut, ~tf.reduce_any(pieces.with_values(speaks), 1)
