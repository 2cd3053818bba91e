"""Writes a model folder of the demo's as a .gguf file, the way other programs do."""

import json
from pathlib import Path

import gguf
from safetensors.numpy import load_file

NAMES = {
    "model.embed_tokens": "token_embd", "model.norm": "output_norm", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate",
    "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "input_layernorm": "attn_norm",
    "post_attention_layernorm": "ffn_norm",
}


def write_gguf(base: Path, target: Path, splitter: str) -> None:
    """`splitter` names the pre-tokenizer, which is all that GGUF tells of it; padding is eos, as usual."""
    config = json.loads((base / "config.json").read_text(encoding="utf-8"))
    writer = gguf.GGUFWriter(str(target), "qwen3")
    writer.add_context_length(config["max_position_embeddings"])
    writer.add_embedding_length(config["hidden_size"])
    writer.add_block_count(config["num_hidden_layers"])
    writer.add_feed_forward_length(config["intermediate_size"])
    writer.add_head_count(config["num_attention_heads"])
    writer.add_head_count_kv(config["num_key_value_heads"])
    writer.add_key_length(config["head_dim"])
    writer.add_value_length(config["head_dim"])
    writer.add_rope_freq_base(config["rope_parameters"]["rope_theta"])
    writer.add_layer_norm_rms_eps(config["rms_norm_eps"])
    writer.add_vocab_size(config["vocab_size"])
    _add_tokenizer(writer, base, splitter)
    for name, tensor in load_file(base / "model.safetensors").items():
        stem = name.removesuffix(".weight")
        if stem not in NAMES:
            _, _, layer, rest = stem.split(".", 3)
            writer.add_tensor(f"blk.{layer}.{NAMES[rest]}.weight", tensor)
        else:
            writer.add_tensor(f"{NAMES[stem]}.weight", tensor)
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def _add_tokenizer(writer: gguf.GGUFWriter, base: Path, splitter: str) -> None:
    stored = json.loads((base / "tokenizer.json").read_text(encoding="utf-8"))
    vocabulary, types = dict(stored["model"]["vocab"]), {}
    for token in stored["added_tokens"]:
        vocabulary[token["content"]] = token["id"]
        kind = gguf.TokenType.CONTROL if token["special"] else gguf.TokenType.USER_DEFINED
        types[token["content"]] = kind
    tokens = sorted(vocabulary, key=lambda token: vocabulary[token])
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(splitter)
    writer.add_token_list(tokens)
    writer.add_token_types([types.get(token, gguf.TokenType.NORMAL) for token in tokens])
    writer.add_token_merges([" ".join(pair) for pair in stored["model"]["merges"]])
    writer.add_eos_token_id(vocabulary["<|im_end|>"])
    writer.add_pad_token_id(vocabulary["<|im_end|>"])
    writer.add_chat_template((base / "chat_template.jinja").read_text(encoding="utf-8"))
