"""NomicBERT: the two forms of its config and of its weights, folders that name Nomic's code, and what is refused."""

import json
import shutil

import numpy as np
import pytest
from recorded import FIXTURES, Recorded
from safetensors.numpy import load_file, save_file

import kerasformer as kf
from kerasformer.errors import InputError
from kerasformer.families import describe, open_checkpoint
from kerasformer.families.family import Settings
from kerasformer.families.nomic_bert import FAMILY

CODE = "nomic-ai/nomic-bert-2048--{}_hf_nomic_bert.NomicBert{}"
# Of nomic-embed-text-v1.5, in the sizes of the recorded checkpoint.
FIELDS = {
    "model_type": "nomic_bert",
    "architectures": ["NomicBertModel"],
    "auto_map": {
        "AutoConfig": CODE.format("configuration", "Config"),
        "AutoModel": CODE.format("modeling", "Model"),
        "AutoModelForMaskedLM": CODE.format("modeling", "ForPreTraining"),
    },
    "activation_function": "swiglu",
    "attn_pdrop": 0.0,
    "causal": False,
    "layer_norm_epsilon": 1e-05,
    "max_trained_positions": 2048,
    "mlp_fc1_bias": False,
    "mlp_fc2_bias": False,
    "n_embd": 32,
    "n_head": 4,
    "n_inner": 48,
    "n_layer": 2,
    "n_positions": 40,
    "pad_vocab_size_multiple": 4,
    "prenorm": False,
    "qkv_proj_bias": False,
    "resid_pdrop": 0.0,
    "rotary_emb_base": 300,
    "rotary_emb_fraction": 1.0,
    "rotary_emb_interleaved": False,
    "rotary_emb_scale_base": None,
    "rotary_scaling_factor": None,
    "scale_attn_weights": True,
    "initializer_range": 0.2,
    "type_vocab_size": 2,
    "use_rms_norm": False,
    "vocab_size": 120,
}
PROMPTS = {"query": "search_query: ", "document": "search_document: "}


@pytest.fixture(scope="module")
def recorded():
    return Recorded(FIXTURES / "encoder_nomic_bert.npz")


@pytest.fixture
def folder(recorded, tmp_path):
    """As Nomic's: without a pooler, with its config."""
    folder = recorded.write(tmp_path / "nomic")
    (folder / "config.json").write_text(json.dumps(FIELDS))
    tensors = load_file(folder / "model.safetensors")
    save_file({name: value for name, value in tensors.items() if "pooler" not in name}, folder / "model.safetensors")
    return folder


def config(fields):
    return FAMILY.config(Settings(fields, "config.json"))


def test_both_forms_of_the_config(recorded):
    theirs = json.loads(str(recorded["config"]))
    assert config(FIELDS) == config(theirs) == config(FIELDS | theirs)
    assert config(theirs | {"rope_parameters": None}).blocks[0].attention.positions.max_wavelength == 1000
    # A width of heads of its own, and the other gate.
    wide = config(theirs | {"head_dim": 16})
    assert wide.blocks[0].attention.head_dim == 16
    assert config(FIELDS | {"activation_function": "geglu"}).blocks[0].feed_forward.activation == "gelu"
    for other in (config(theirs), wide):
        assert config(FAMILY.settings(other)) == other


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"prenorm": True}, "`prenorm` must be False to be read. config.json has True"),
        ({"causal": True}, "`causal` must be False"),
        ({"use_rms_norm": True}, "`use_rms_norm` must be False"),
        ({"qkv_proj_bias": True}, "`qkv_proj_bias` must be False"),
        ({"activation_function": "gelu"}, "`activation_function` must be 'swiglu' or 'geglu'"),
        ({"rotary_emb_fraction": 0.5}, "`rotary_emb_fraction` must be 1.0"),
        ({"rotary_emb_fraction": ...}, "lacks the field 'rotary_emb_fraction'"),
        ({"rotary_emb_interleaved": True}, "`rotary_emb_interleaved` must be False"),
        ({"rotary_scaling_factor": 2}, "`rotary_scaling_factor` must be None or 0 to be read. config.json has 2"),
        ({"num_experts": 8, "moe_every_n_layers": 2}, "`num_experts` must be .* has 8"),
        ({"type_vocab_size": 0}, "`type_vocab_size` must be 2 or 1"),
        ({"hidden_size": 64}, "`hidden_size` must be 32 .* has 64"),
        ({"hidden_act": "gelu"}, "`hidden_act` must be 'silu' .* has 'gelu'"),
        ({"rope_parameters": {"rope_type": "dynamic", "factor": 2.0}}, "`rope_type` must be 'default' .*'dynamic'"),
        ({"rope_parameters": {"rope_theta": 1e4}}, "`rope_theta` must be 10000.0 .* has 300.0"),
        ({"rope_scaling": {"rope_type": "linear"}}, "`rope_scaling` must be None"),
    ],
)
def test_what_is_refused(fields, match):
    with pytest.raises(InputError, match=match):
        config({name: value for name, value in (FIELDS | fields).items() if value is not ...})


def test_both_forms_of_the_weights(recorded, tmp_path):
    """Those of transformers' own names, which `save_pretrained(save_original_format=False)` writes, and Nomic's."""
    folder = recorded.write(tmp_path / "model", "token_classification")
    expected = open_checkpoint(folder).tensors
    names = [("encoder.layers", "layers"), ("emb_ln", "embeddings.LayerNorm"), ("attn.out_proj", "self_attn.o_proj")]
    names += [("fc11", "up_proj"), ("fc12", "gate_proj"), ("fc2", "down_proj")]
    names += [("norm1", "post_attention_layernorm"), ("norm2", "post_mlp_layernorm")]
    for prefix, renamed in (("nomic_bert.", names), ("bert.", [])):
        tensors = {}
        for stored, value in load_file(folder / "model.safetensors").items():
            name = stored.replace("nomic_bert.", prefix)
            for old, new in renamed:
                name = name.replace(old, new)
            parts = [f"self_attn.{part}_proj" for part in "qkv"] if renamed and "Wqkv" in name else [""]
            for part, piece in zip(parts, np.split(value, len(parts)), strict=True):
                tensors[name.replace("attn.Wqkv", part) if part else name] = piece
        other = tmp_path / prefix
        shutil.copytree(folder, other)
        save_file(tensors, other / "model.safetensors")
        found = open_checkpoint(other).tensors
        assert found.keys() == expected.keys()
        for name, tensor in expected.items():
            assert found[name].shape == tensor.shape
            np.testing.assert_array_equal(found[name].read(), tensor.read())


def test_code_of_others_is_refused(folder):
    for auto_map in ({"AutoModel": "modeling_mine.MyModel"}, FIELDS["auto_map"] | {"AutoModel": "mine.NomicBertModel"}):
        (folder / "config.json").write_text(json.dumps(FIELDS | {"auto_map": auto_map}))
        with pytest.raises(InputError, match=r"code of its own \(`auto_map`\), which is never run") as error:
            open_checkpoint(folder)
        assert "\n" not in str(error.value)
    (folder / "config.json").write_text(json.dumps(FIELDS | {"model_type": "bert"}))
    with pytest.raises(InputError, match="which is never run"):
        open_checkpoint(folder)


def test_an_embedder(recorded, folder, tmp_path):
    """A folder like that of nomic-embed-text, with prompts: vectors, and the folder out and in."""
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "search", "_", "query", "document", ":"]
    words += [f"w{place}" for place in range(105)]  # 5 rows of the table are padding
    (folder / "vocab.txt").write_text("\n".join(words) + "\n")
    (folder / "tokenizer_config.json").write_text('{"tokenizer_class": "BertTokenizer", "model_max_length": 8192}')
    kinds = [("", "Transformer"), ("1_Pooling", "Pooling")]
    modules = [{"path": path, "type": f"sentence_transformers.models.{kind}"} for path, kind in kinds]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text('{"pooling_mode_mean_tokens": true}')
    (folder / "sentence_bert_config.json").write_text('{"max_seq_length": 8192, "do_lower_case": false}')
    (folder / "config_sentence_transformers.json").write_text(json.dumps({"prompts": PROMPTS}))
    found = describe(folder)
    assert (found["family"], found["positions"], found["prompts"]) == ("nomic_bert", "rotary", PROMPTS)
    assert found["obstacles"] == []
    task = kf.load(folder, prompt_name="query")
    assert task.tokenizer.max_length == 8192
    ids = np.array([[2, 5, 6, 7, 9, 11, 12, 3]])
    np.testing.assert_array_equal(task.tokenizer(["search_query: w1 w2"])["token_ids"], ids)
    inputs = {"token_ids": ids, "segment_ids": np.zeros_like(ids), "padding_mask": np.ones_like(ids)}
    vector = task.encoder(inputs)["sequence_output"].numpy().mean(1)
    np.testing.assert_allclose(task.embed(["w1 w2"]), vector, rtol=0, atol=1e-6)

    task.save(tmp_path / "ours")
    again = kf.load(tmp_path / "ours")
    assert again.settings == task.settings
    np.testing.assert_array_equal(again.embed(["w1 w2"]), task.embed(["w1 w2"]))
    written, read = (load_file(path / "model.safetensors") for path in (tmp_path / "ours", folder))
    assert written.keys() == read.keys()
    assert all((written[name] == read[name]).all() for name in read)
