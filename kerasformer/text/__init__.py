"""Strings to token ids inside the graph, with offsets; long texts in windows; learning a vocabulary."""

from kerasformer.text.byte_pair_tokenizer import BytePairTokenizer
from kerasformer.text.learning import learn_wordpiece
from kerasformer.text.learning_sentencepiece import learn_sentencepiece
from kerasformer.text.sentencepiece import SentencePieceTokenizer
from kerasformer.text.sentences import split_sentences
from kerasformer.text.tokenizer import Tokenizer
from kerasformer.text.windows import Windows, window_texts
from kerasformer.text.wordpiece import WordPieceTokenizer

__all__ = [
    "BytePairTokenizer",
    "SentencePieceTokenizer",
    "Tokenizer",
    "Windows",
    "WordPieceTokenizer",
    "learn_sentencepiece",
    "learn_wordpiece",
    "split_sentences",
    "window_texts",
]
