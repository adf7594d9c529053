"""Strings to token ids inside the graph, with offsets; learning a vocabulary."""

from kerasformer.text.learning import learn_wordpiece
from kerasformer.text.sentences import split_sentences
from kerasformer.text.wordpiece import WordPieceTokenizer

__all__ = ["WordPieceTokenizer", "learn_wordpiece", "split_sentences"]
