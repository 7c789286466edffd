"""The GGUF cases: architecture variants, dialects and quantisation mixes that llama.cpp is the oracle for."""

from dataclasses import dataclass, field

VOCAB = 288
# 256 wide, so that rows are whole K-quant super-blocks; what is narrower falls back to formats of 32, as in published files.
ROPE_LLAMA3 = dict(rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)
LLAMA = dict(vocab_size=VOCAB, hidden_size=256, intermediate_size=256, num_hidden_layers=2, num_attention_heads=8,
             num_key_value_heads=2, head_dim=32, max_position_embeddings=512, rms_norm_eps=1e-5, rope_theta=10000.0, rope_scaling=ROPE_LLAMA3)
QWEN3 = dict({key: value for key, value in LLAMA.items() if key != "rope_scaling"}, num_attention_heads=4, head_dim=64, rms_norm_eps=1e-6, rope_theta=1000000.0)
QWEN3_MOE = dict(QWEN3, num_experts=4, num_experts_per_tok=2, moe_intermediate_size=256, norm_topk_prob=True, num_hidden_layers=1)
MLA = dict(vocab_size=VOCAB, hidden_size=256, intermediate_size=256, moe_intermediate_size=256, num_hidden_layers=2,
           num_attention_heads=2, num_key_value_heads=2, kv_lora_rank=256, qk_nope_head_dim=32, qk_rope_head_dim=32, v_head_dim=128,
           n_routed_experts=4, num_experts_per_tok=2, first_k_dense_replace=1, max_position_embeddings=512, rope_theta=10000.0,
           rms_norm_eps=1e-6)
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16, beta_fast=32, beta_slow=1)
DEEPSEEK_V3 = dict(MLA, q_lora_rank=256, n_shared_experts=1, n_group=2, topk_group=1, norm_topk_prob=True, routed_scaling_factor=2.5,
                   rope_scaling=dict(YARN, mscale=1.0, mscale_all_dim=1.0))
# llama.cpp knows a V2-Lite (no q_lora) by its 27 layers, so this one is deep and thin.
DEEPSEEK_V2_LITE = dict(MLA, q_lora_rank=None, n_shared_experts=2, n_group=1, topk_group=1, topk_method="greedy", norm_topk_prob=False,
                        routed_scaling_factor=1.0, num_hidden_layers=27, hidden_size=64, intermediate_size=64,
                        moe_intermediate_size=32, kv_lora_rank=32, v_head_dim=32, n_routed_experts=3,
                        rope_scaling=dict(YARN, factor=40.0, mscale=0.707, mscale_all_dim=0.707))


@dataclass
class GgufModel:
    """Weights to write: the transformers architecture they are drawn for, its configuration, GGUF's name for it, the tokenizer."""

    name: str
    hf_arch: str
    gguf_arch: str
    config: dict
    tokenizer: str
    """`spm`, or the name of a byte-level BPE pre-tokenizer."""
    kv_b: str = ""
    """DeepSeek: which spelling of kv_b_proj the file has: `fused` (legacy), `split`, or `both`."""


MODELS = [
    GgufModel("llama", "llama", "llama", LLAMA, "spm"),
    GgufModel("qwen3", "qwen3", "qwen3", QWEN3, "qwen2"),
    GgufModel("qwen3moe", "qwen3_moe", "qwen3moe", QWEN3_MOE, "qwen2"),
    GgufModel("deepseek2-v3-split", "deepseek_v3", "deepseek2", DEEPSEEK_V3, "deepseek-v3", "split"),
    GgufModel("deepseek2-v3-fused", "deepseek_v3", "deepseek2", DEEPSEEK_V3, "deepseek-v3", "fused"),
    GgufModel("deepseek2-v3-both", "deepseek_v3", "deepseek2", DEEPSEEK_V3, "deepseek-v3", "both"),
    GgufModel("deepseek2-lite-split", "deepseek_v2", "deepseek2", DEEPSEEK_V2_LITE, "deepseek-llm", "split"),
    GgufModel("deepseek2-lite-fused", "deepseek_v2", "deepseek2", DEEPSEEK_V2_LITE, "deepseek-llm", "fused"),
]

FTYPES = dict(F32=0, F16=1, Q4_0=2, Q8_0=7, Q2_K=10, Q3_K_M=12, Q4_K_M=15, Q5_K_M=17, Q6_K=18, IQ4_NL=25, IQ4_XS=30, BF16=32,
              MXFP4_MOE=38)
# One file with every format in it: (substring of the tensor name, ggml type), first match wins.
ZOO = [("attn_q.", "Q2_K"), ("attn_k.", "Q3_K"), ("attn_v.", "Q5_K"), ("attn_output", "Q6_K"), ("0.ffn_gate", "IQ4_NL"),
       ("0.ffn_up", "Q4_0"), ("0.ffn_down", "MXFP4"), ("1.ffn_gate", "IQ4_XS"), ("1.ffn_up", "Q5_0"), ("1.ffn_down", "BF16"),
       ("token_embd", "Q4_K"), ("output.weight", "Q8_0")]

COMMITTED = [("llama", "ZOO"), ("qwen3moe", "Q4_K_M"), ("deepseek2-v3-split", "Q4_K_M"), ("deepseek2-v3-both", "Q2_K"),
             ("deepseek2-lite-fused", "Q8_0")]
EVERY = ["F32", "F16", "BF16", "Q8_0", "Q4_0", "Q2_K", "Q3_K_M", "Q4_K_M", "Q5_K_M", "Q6_K", "IQ4_NL", "IQ4_XS", "MXFP4_MOE"]
