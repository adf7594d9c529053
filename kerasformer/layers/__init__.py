"""Layers of Transformers, for any functional Keras model. Keras and TensorFlow only: no text, no files."""

from kerasformer.layers.attention import scaled_dot_product_attention
from kerasformer.layers.bert_embedding import BertEmbedding
from kerasformer.layers.crf import Transitions, crf_decode, crf_log_partition, crf_marginals, crf_score
from kerasformer.layers.decoder_block import DecoderBlock
from kerasformer.layers.dropout import Dropout
from kerasformer.layers.encoder_block import EncoderBlock
from kerasformer.layers.feed_forward import FeedForward
from kerasformer.layers.first_token import FirstToken
from kerasformer.layers.inter_sentence_encoder import InterSentenceEncoder
from kerasformer.layers.keyed_dropout import keyed_dropout
from kerasformer.layers.learned_position_embedding import LearnedPositionEmbedding
from kerasformer.layers.masked_language_model_head import MaskedLanguageModelHead
from kerasformer.layers.max_pooling import MaxPooling
from kerasformer.layers.mean_pooling import MeanPooling
from kerasformer.layers.multi_head_attention import MultiHeadAttention
from kerasformer.layers.normalization import LayerNormalization
from kerasformer.layers.padding import (
    PackTokens,
    PaddingLayout,
    SequenceMask,
    TokenPositions,
    UnpackTokens,
    padding_layout,
)
from kerasformer.layers.relative_position_bias import RelativePositionBias
from kerasformer.layers.rotary_position_embedding import RotaryPositionEmbedding
from kerasformer.layers.sinusoidal_position_embedding import SinusoidalPositionEmbedding
from kerasformer.layers.span_head import SpanHead
from kerasformer.layers.token_and_position_embedding import TokenAndPositionEmbedding
from kerasformer.layers.token_embedding import TokenEmbedding
from kerasformer.layers.token_scores import TokenScores

__all__ = [
    "BertEmbedding",
    "DecoderBlock",
    "Dropout",
    "EncoderBlock",
    "FeedForward",
    "FirstToken",
    "InterSentenceEncoder",
    "LayerNormalization",
    "LearnedPositionEmbedding",
    "MaskedLanguageModelHead",
    "MaxPooling",
    "MeanPooling",
    "MultiHeadAttention",
    "PackTokens",
    "PaddingLayout",
    "RelativePositionBias",
    "RotaryPositionEmbedding",
    "SequenceMask",
    "SinusoidalPositionEmbedding",
    "SpanHead",
    "TokenAndPositionEmbedding",
    "TokenEmbedding",
    "TokenPositions",
    "TokenScores",
    "Transitions",
    "UnpackTokens",
    "crf_decode",
    "crf_log_partition",
    "crf_marginals",
    "crf_score",
    "keyed_dropout",
    "padding_layout",
    "scaled_dot_product_attention",
]
