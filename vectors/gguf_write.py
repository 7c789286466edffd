"""From a transformers model to GGUF, in the names, shapes and keys that llama.cpp's converter uses."""

import gguf
import numpy as np

GLOBAL = {"model.embed_tokens.weight": "token_embd.weight", "model.norm.weight": "output_norm.weight", "lm_head.weight": "output.weight"}
LAYER = {
    "input_layernorm.weight": "attn_norm.weight", "post_attention_layernorm.weight": "ffn_norm.weight",
    "self_attn.q_proj.weight": "attn_q.weight", "self_attn.k_proj.weight": "attn_k.weight", "self_attn.v_proj.weight": "attn_v.weight",
    "self_attn.o_proj.weight": "attn_output.weight", "self_attn.q_norm.weight": "attn_q_norm.weight",
    "self_attn.k_norm.weight": "attn_k_norm.weight", "self_attn.q_a_proj.weight": "attn_q_a.weight",
    "self_attn.q_a_layernorm.weight": "attn_q_a_norm.weight", "self_attn.q_b_proj.weight": "attn_q_b.weight",
    "self_attn.kv_a_proj_with_mqa.weight": "attn_kv_a_mqa.weight", "self_attn.kv_a_layernorm.weight": "attn_kv_a_norm.weight",
    "self_attn.kv_b_proj.weight": "attn_kv_b.weight",
    "mlp.gate_proj.weight": "ffn_gate.weight", "mlp.up_proj.weight": "ffn_up.weight", "mlp.down_proj.weight": "ffn_down.weight",
    "mlp.gate.weight": "ffn_gate_inp.weight", "mlp.gate.e_score_correction_bias": "exp_probs_b.bias",
    "mlp.shared_experts.gate_proj.weight": "ffn_gate_shexp.weight", "mlp.shared_experts.up_proj.weight": "ffn_up_shexp.weight",
    "mlp.shared_experts.down_proj.weight": "ffn_down_shexp.weight", "mlp.experts.down_proj": "ffn_down_exps.weight",
}


def tensors_of(model, spec):
    """{GGUF name: f32 array, outermost dimension first} for every weight of `model`."""
    config, result = model.config, {}
    for name, tensor in model.state_dict().items():
        array = tensor.detach().numpy()
        if name in GLOBAL:
            result[GLOBAL[name]] = array
            continue
        _, _, layer, part = name.split(".", 3)
        prefix = f"blk.{layer}."
        if part == "mlp.experts.gate_up_proj":
            gate, up = np.split(array, 2, axis=1)
            result[prefix + "ffn_gate_exps.weight"] = np.ascontiguousarray(gate)
            result[prefix + "ffn_up_exps.weight"] = np.ascontiguousarray(up)
        elif part == "self_attn.kv_b_proj.weight":
            result.update(kv_b(array, config, spec.kv_b, prefix))
        else:
            if spec.gguf_arch == "llama" and part in ("self_attn.q_proj.weight", "self_attn.k_proj.weight"):
                heads = config.num_attention_heads if "q_proj" in part else config.num_key_value_heads
                array = interleave(array, heads)
            result[prefix + LAYER[part]] = array
    if config.tie_word_embeddings:
        result.pop("output.weight", None)
    if config.rope_parameters["rope_type"] == "llama3":
        # The converter stores how much slower each rotary pair turns, instead of the parameters it follows from.
        rotary = model.model.rotary_emb
        plain, _ = rotary.compute_default_rope_parameters(config)
        result["rope_freqs.weight"] = (plain / rotary.inv_freq).numpy()
    return result


def interleave(matrix, heads):
    """The row order of llama files: rotary pairs adjacent (2i, 2i+1) instead of half a head apart."""
    rows, cols = matrix.shape
    return np.ascontiguousarray(matrix.reshape(heads, 2, rows // heads // 2, cols).swapaxes(1, 2).reshape(rows, cols))


def kv_b(matrix, config, dialect, prefix):
    """kv_b_proj as one matrix, as per-head K (transposed, for absorption) and V, or as all three."""
    nope, value, latent = config.qk_nope_head_dim, config.v_head_dim, config.kv_lora_rank
    heads = matrix.reshape(config.num_attention_heads, nope + value, latent)
    result = {}
    if dialect in ("fused", "both"):
        result[prefix + "attn_kv_b.weight"] = matrix
    if dialect in ("split", "both"):
        result[prefix + "attn_k_b.weight"] = np.ascontiguousarray(heads[:, :nope].swapaxes(1, 2))
        result[prefix + "attn_v_b.weight"] = np.ascontiguousarray(heads[:, nope:])
    return result


def write(model, spec, path):
    """Writes an F32 GGUF: configuration keys, a small tokenizer, every tensor."""
    writer = gguf.GGUFWriter(path, spec.gguf_arch)
    config = model.config
    writer.add_block_count(config.num_hidden_layers)
    writer.add_context_length(config.max_position_embeddings)
    writer.add_embedding_length(config.hidden_size)
    writer.add_feed_forward_length(config.intermediate_size)
    writer.add_head_count(config.num_attention_heads)
    writer.add_layer_norm_rms_eps(config.rms_norm_eps)
    writer.add_rope_freq_base(config.rope_parameters["rope_theta"])
    writer.add_vocab_size(config.vocab_size)
    if spec.gguf_arch == "deepseek2":
        deepseek_keys(writer, config, spec)
    else:
        writer.add_head_count_kv(config.num_key_value_heads)
        writer.add_key_length(config.head_dim)
        writer.add_value_length(config.head_dim)
        if spec.gguf_arch == "llama":
            writer.add_rope_dimension_count(config.head_dim)
    if spec.gguf_arch == "qwen3moe":
        writer.add_expert_count(config.num_experts)
        writer.add_expert_used_count(config.num_experts_per_tok)
        writer.add_expert_feed_forward_length(config.moe_intermediate_size)
    tokenizer(writer, spec.tokenizer, config.vocab_size)
    for name, array in tensors_of(model, spec).items():
        writer.add_tensor(name, array.astype(np.float32))
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def deepseek_keys(writer, config, spec):
    """Keys of arch deepseek2; legacy files (fused kv_b only) describe plain multi-head attention instead of one latent head."""
    legacy = spec.kv_b == "fused"
    nope, rope, value, latent = config.qk_nope_head_dim, config.qk_rope_head_dim, config.v_head_dim, config.kv_lora_rank
    writer.add_head_count_kv(config.num_attention_heads if legacy else 1)
    writer.add_key_length(nope + rope if legacy else latent + rope)
    writer.add_value_length(value if legacy else latent)
    if not legacy:
        writer.add_key_length_mla(nope + rope)
        writer.add_value_length_mla(value)
    if config.q_lora_rank is not None:
        writer.add_q_lora_rank(config.q_lora_rank)
    writer.add_kv_lora_rank(latent)
    writer.add_rope_dimension_count(rope)
    writer.add_leading_dense_block_count(config.first_k_dense_replace)
    writer.add_expert_count(config.n_routed_experts)
    writer.add_expert_used_count(config.num_experts_per_tok)
    writer.add_expert_shared_count(config.n_shared_experts)
    writer.add_expert_feed_forward_length(config.moe_intermediate_size)
    writer.add_expert_weights_scale(config.routed_scaling_factor)
    sigmoid = config.model_type == "deepseek_v3"
    writer.add_expert_weights_norm(config.norm_topk_prob)
    writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SIGMOID if sigmoid else gguf.ExpertGatingFuncType.SOFTMAX)
    if config.n_group > 1:
        writer.add_expert_group_count(config.n_group)
        writer.add_expert_group_used_count(config.topk_group)
    rope_scaling = config.rope_parameters
    if rope_scaling["rope_type"] == "yarn":
        writer.add_rope_scaling_type(gguf.RopeScalingType.YARN)
        writer.add_rope_scaling_factor(rope_scaling["factor"])
        writer.add_rope_scaling_orig_ctx_len(rope_scaling["original_max_position_embeddings"])
        writer.add_rope_scaling_yarn_log_mul(0.1 * rope_scaling["mscale_all_dim"])


SPECIALS = ["<unk>", "<s>", "</s>"]


def tokenizer(writer, kind, vocab_size):
    """A vocabulary of bytes, a few merges or pieces, and special tokens, padded with unused ones to `vocab_size`."""
    if kind == "spm":
        tokens = SPECIALS + [f"<0x{byte:02X}>" for byte in range(256)] + ["\u2581", "\u2581t", "\u2581the", "h", "e", "t", "he", "th"]
        types = [gguf.TokenType.UNKNOWN] + [gguf.TokenType.CONTROL] * 2 + [gguf.TokenType.BYTE] * 256
        types += [gguf.TokenType.NORMAL] * (len(tokens) - len(types))
        scores = [0.0] * 259 + [-float(rank) for rank in range(len(tokens) - 259)]
        writer.add_tokenizer_model("llama")
    else:
        merges = ["t h", "th e", "\u0120 t", "\u0120t h", "\u0120th e", "i n", "a n", "an d"]
        tokens = SPECIALS + byte_alphabet() + [merge.replace(" ", "") for merge in merges]
        types = [gguf.TokenType.CONTROL] * 3 + [gguf.TokenType.NORMAL] * (len(tokens) - 3)
        scores = None
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre(kind)
        writer.add_token_merges(merges)
    unused = [f"<unused{index}>" for index in range(vocab_size - len(tokens))]
    writer.add_token_list(tokens + unused)
    writer.add_token_types(types + [gguf.TokenType.UNUSED] * len(unused))
    if scores is not None:
        writer.add_token_scores(scores + [-1000.0] * len(unused))
    writer.add_bos_token_id(1)
    writer.add_eos_token_id(2)
    writer.add_add_bos_token(kind == "spm" or kind.startswith("deepseek"))


def byte_alphabet():
    """GPT-2's printable stand-ins for the 256 bytes, in byte order."""
    printable = list(range(33, 127)) + list(range(161, 173)) + list(range(174, 256))
    spare = iter(range(256, 512))
    return [chr(byte) if byte in printable else chr(next(spare)) for byte in range(256)]
