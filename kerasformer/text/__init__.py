"""Strings to token ids inside the graph, with offsets; learning a vocabulary."""

from kerasformer.text.learning import learn_wordpiece
from kerasformer.text.learning_sentencepiece import learn_sentencepiece
from kerasformer.text.sentencepiece import SentencePieceTokenizer
from kerasformer.text.wordpiece import WordPieceTokenizer

__all__ = ["SentencePieceTokenizer", "WordPieceTokenizer", "learn_sentencepiece", "learn_wordpiece"]
