"""NomicBERT (Nussbaum et al. 2024, arXiv:2402.01613), of the nomic-embed-text models. Names: those of Nomic's
`modeling_hf_nomic_bert.py`; `modeling_nomic_bert.py` of Hugging Face Transformers writes its files with them too.

BERT with rotary positions in place of a position table, a gated feed-forward network, and projections without biases.
`config.json` has the fields of transformers, those of Nomic's code, or both.
"""

from kerasformer.families import bert
from kerasformer.families.family import Family, Settings
from kerasformer.families.weights import dense, norm, table, vector
from kerasformer.models.configs import RotaryConfig
from kerasformer.text.older_files import wordpiece

NAMES = [
    table("embeddings.token", "embeddings.word_embeddings"),
    table("embeddings.segment", "embeddings.token_type_embeddings"),
    norm("embeddings.norm", "emb_ln"),
    dense("blocks.{i}.attention.query_key_value", "encoder.layers.{i}.attn.Wqkv"),
    dense("blocks.{i}.attention.output_projection", "encoder.layers.{i}.attn.out_proj"),
    norm("blocks.{i}.attention_norm", "encoder.layers.{i}.norm1"),
    dense("blocks.{i}.feed_forward.inner", "encoder.layers.{i}.mlp.fc11"),
    dense("blocks.{i}.feed_forward.gate", "encoder.layers.{i}.mlp.fc12"),
    dense("blocks.{i}.feed_forward.outer", "encoder.layers.{i}.mlp.fc2"),
    norm("blocks.{i}.feed_forward_norm", "encoder.layers.{i}.norm2"),
]
# Names that the same tensors have inside of transformers, and in the files of some.
_RENAMED = {
    r"^bert\.": "",
    r"^embeddings\.LayerNorm\.": "emb_ln.",
    r"^layers\.": "encoder.layers.",
    r"\.self_attn\.o_proj\.": ".attn.out_proj.",
    r"\.post_attention_layernorm\.": ".norm1.",
    r"\.up_proj\.": ".fc11.",
    r"\.gate_proj\.": ".fc12.",
    r"\.down_proj\.": ".fc2.",
    r"\.post_mlp_layernorm\.": ".norm2.",
}
# Fields of Nomic's code, by their names in transformers.
_FIELDS = {
    "n_embd": "hidden_size",
    "n_layer": "num_hidden_layers",
    "n_head": "num_attention_heads",
    "n_inner": "intermediate_size",
    "layer_norm_epsilon": "layer_norm_eps",
    "resid_pdrop": "hidden_dropout_prob",
    "attn_pdrop": "attention_probs_dropout_prob",
}
# What Nomic's code has a choice of, and transformers has not. The first ones have other defaults in Nomic's code, and
# must be given where its other fields are.
_GIVEN = {
    "activation_function": ("swiglu", "geglu"),
    "rotary_emb_fraction": (1.0,),
    "qkv_proj_bias": (False,),
    "mlp_fc1_bias": (False,),
    "mlp_fc2_bias": (False,),
}
_FIXED = _GIVEN | {
    **dict.fromkeys(("prenorm", "parallel_block", "use_rms_norm", "causal"), (False,)),
    **dict.fromkeys(("rotary_emb_interleaved", "rotary_head_dim", "scale_attn_by_inverse_layer_idx"), (False,)),
    "scale_attn_weights": (True,),
    "rotary_emb_scale_base": (None,),
    # Its wavelengths are those of the longest text of a batch.
    "rotary_scaling_factor": (None, 0),
    "num_experts": (None, 0),
    "moe_every_n_layers": (None, 0, -1),
    # Of transformers. It has a table of segments in any case.
    "rope_scaling": (None,),
    "type_vocab_size": (2, 1),
}
_WAVELENGTHS = ("rope_theta", "rotary_emb_base")
_ACTIVATIONS = {"swiglu": "silu", "geglu": "gelu"}
_DEFAULTS = {"hidden_act": "silu", "hidden_dropout_prob": 0.0, "attention_probs_dropout_prob": 0.0}


def config(settings):
    """Our config from the fields of `config.json`, as `bert.config`."""
    for name, values in _FIXED.items():
        settings.must_be(name, *values)
    settings = _by_names_of_transformers(settings)
    found = bert.config(settings)
    block = found.blocks[0]
    head_dim = settings.get("head_dim") or found.hidden_dim // block.attention.num_heads
    attention = block.attention.replace(
        head_dim=None if head_dim * block.attention.num_heads == found.hidden_dim else head_dim,
        use_bias=False,
        positions=RotaryConfig(_wavelength(settings)),
    )
    block = block.replace(attention=attention, feed_forward=block.feed_forward.replace(gated=True, use_bias=False))
    return found.replace(embedding=found.embedding.replace(positions=None), blocks=(block,) * len(found.blocks))


def _by_names_of_transformers(settings):
    """`Settings` with the fields of transformers; those of Nomic's code must not contradict them."""
    defaults = _DEFAULTS | {"max_position_embeddings": settings.get("n_positions", 2048)}
    if "n_embd" not in settings:
        return Settings(defaults | settings, settings.path)
    named = {ours: settings[theirs] for theirs, ours in _FIELDS.items() if theirs in settings}
    named |= {name: settings[name] for name in _GIVEN}
    named["hidden_act"] = _ACTIVATIONS[settings["activation_function"]]
    for name, value in named.items():
        settings.must_be(name, value)
    return Settings(defaults | {"layer_norm_eps": 1e-5} | settings | named, settings.path)


def _wavelength(settings):
    """The "theta" of rotary positions, the same in each of the fields that has one."""
    rope = Settings(settings.get("rope_parameters") or {}, settings.path)
    rope.must_be("rope_type", "default")
    rope.must_be("partial_rotary_factor", 1.0)
    found = [float(given[name]) for given in (rope, settings) for name in _WAVELENGTHS if name in given]
    found = found or [10_000.0 if "n_embd" in settings else 1000.0]
    for other in found:
        Settings({"rope_theta": other}, settings.path).must_be("rope_theta", found[0])
    return found[0]


def settings(config):
    """The fields of `config.json`, the reverse of `config`."""
    attention = config.blocks[0].attention
    return bert.settings(config) | {
        "head_dim": attention.head_dim or config.hidden_dim // attention.num_heads,
        "rope_parameters": {"rope_type": "default", "rope_theta": attention.positions.max_wavelength},
    }


FAMILY = Family(
    model_type="nomic_bert",
    class_name="NomicBert",
    prefix="nomic_bert",
    config=config,
    settings=settings,
    names=NAMES,
    pooler=bert.POOLER,
    heads={
        "sequence_classification": [dense("head.output", "classifier")],
        "token_classification": [dense("head.output", "classifier")],
        "masked_lm": [
            dense("head.transform", "cls.predictions.transform.dense"),
            norm("head.norm", "cls.predictions.transform.layer_norm"),
            vector("head.bias", "cls.predictions.bias"),
        ],
    },
    tied=bert.FAMILY.tied,
    renamed=_RENAMED,
    joined={"attn.Wqkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj")},
    code=r"(configuration|modeling)_hf_nomic_bert\.",
    tokenizer=wordpiece,
)
