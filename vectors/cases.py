"""The table of tiny checkpoints: one entry per architecture variant that parity is checked on.

Every entry names the architecture, the configuration keys that differ from that architecture's base below, and how the checkpoint is
written. Sizes are deliberately odd (heads that are not powers of two, widths that are no multiple of a SIMD register, ragged FP8
blocks), because that is where kernels go wrong.
"""

from dataclasses import dataclass, field

VOCAB = 96
LLAMA = dict(vocab_size=VOCAB, hidden_size=40, intermediate_size=72, num_hidden_layers=2, num_attention_heads=4,
             num_key_value_heads=2, max_position_embeddings=512, rms_norm_eps=1e-5, rope_theta=10000.0)
QWEN3 = dict(LLAMA, head_dim=16, rms_norm_eps=1e-6)
QWEN3_MOE = dict(QWEN3, num_experts=8, num_experts_per_tok=3, moe_intermediate_size=20, norm_topk_prob=True)
MLA = dict(vocab_size=VOCAB, hidden_size=36, intermediate_size=72, moe_intermediate_size=20, num_hidden_layers=2,
           num_attention_heads=3, num_key_value_heads=3, kv_lora_rank=24, qk_nope_head_dim=12, qk_rope_head_dim=8, v_head_dim=20,
           n_routed_experts=8, num_experts_per_tok=2, first_k_dense_replace=1,
           max_position_embeddings=512, rope_theta=10000.0)
DEEPSEEK_V2 = dict(MLA, q_lora_rank=None, n_shared_experts=2, n_group=1, topk_group=1, topk_method="greedy",
                   norm_topk_prob=False, routed_scaling_factor=1.0)
DEEPSEEK_V3 = dict(MLA, q_lora_rank=20, n_shared_experts=1, n_routed_experts=8, n_group=4, topk_group=2, num_experts_per_tok=3,
                   norm_topk_prob=True, routed_scaling_factor=2.5)
BASES = dict(llama=LLAMA, qwen3=QWEN3, qwen3_moe=QWEN3_MOE, deepseek_v2=DEEPSEEK_V2, deepseek_v3=DEEPSEEK_V3)

# Positions run to about 60, so an original context of 16 puts most of them where scaling matters.
YARN = dict(rope_type="yarn", factor=4.0, original_max_position_embeddings=16)


def yarn_mscale(mscale, mscale_all_dim, factor=4.0):
    """DeepSeek's YaRN: m scales the softmax by m^2 and cos/sin by the ratio of the two mscales."""
    return dict(YARN, factor=factor, beta_fast=32, beta_slow=1, mscale=mscale, mscale_all_dim=mscale_all_dim)


@dataclass
class Case:
    """One checkpoint: `config` overrides the base of `arch`; see README.md for what each field makes."""

    name: str
    arch: str
    config: dict = field(default_factory=dict)
    dtype: str = "f32"
    """Stored precision: f32, bf16, f16, or fp8 (e4m3 in blocks of 128x128 with `weight_scale_inv`; the rest bf16)."""
    spelling: str = "transformers5"
    """config.json as transformers 5 writes it (`rope_parameters`, `dtype`), or `published`: as the hub's files have it."""
    shard_bytes: int | None = None
    mtp: bool = False
    """Adds the multi-token-prediction layer model.layers.{num_hidden_layers}.* and its logits."""
    power_of_two_scales: bool = False
    """FP8 scales rounded to powers of two, as DeepSeek-V3.1 stores them."""
    negative_bias: bool = False
    """Router biases so low that biased scores are negative: masked groups must lose to them all the same."""


CASES = [
    Case("llama-untied", "llama"),
    Case("llama-tied", "llama", dict(tie_word_embeddings=True), spelling="published"),
    Case("llama-mha-bias", "llama", dict(num_key_value_heads=4, attention_bias=True, mlp_bias=True)),
    Case("llama-head_dim", "llama", dict(num_attention_heads=3, num_key_value_heads=1, head_dim=22, hidden_size=54)),
    Case("llama-rope-llama3", "llama", dict(rope_theta=500000.0, rope_scaling=dict(
        rope_type="llama3", factor=8.0, low_freq_factor=1.0, high_freq_factor=4.0, original_max_position_embeddings=16)),
        spelling="published"),
    Case("llama-rope-linear", "llama", dict(rope_scaling=dict(rope_type="linear", factor=4.0)), spelling="published"),
    Case("llama-bf16", "llama", dict(num_hidden_layers=3), dtype="bf16"),
    Case("llama-f16", "llama", dtype="f16", spelling="published"),
    Case("llama-sharded", "llama", shard_bytes=40_000),
    Case("qwen3-tied", "qwen3", dict(tie_word_embeddings=True)),
    Case("qwen3-yarn", "qwen3", dict(rope_theta=1000000.0, rope_scaling=YARN), spelling="published"),
    Case("qwen3-windows", "qwen3", dict(use_sliding_window=True, sliding_window=7, max_window_layers=1,
                                        layer_types=["sliding_attention", "full_attention"])),
    Case("qwen3_moe-norm", "qwen3_moe"),
    Case("qwen3_moe-no_norm", "qwen3_moe", dict(norm_topk_prob=False, tie_word_embeddings=True), spelling="published"),
    Case("qwen3_moe-sparse_step", "qwen3_moe", dict(num_hidden_layers=4, decoder_sparse_step=2, mlp_only_layers=[1])),
    Case("qwen3_moe-bf16", "qwen3_moe", dtype="bf16", spelling="published", shard_bytes=60_000),
    Case("deepseek_v2-lite", "deepseek_v2"),
    Case("deepseek_v2-lite-yarn", "deepseek_v2", dict(rope_scaling=yarn_mscale(0.707, 0.707, 40.0)), spelling="published"),
    Case("deepseek_v2-mscale", "deepseek_v2", dict(rope_scaling=yarn_mscale(1.0, 0.5, 8.0))),
    Case("deepseek_v2-q_lora-groups", "deepseek_v2", dict(
        q_lora_rank=20, n_routed_experts=12, n_group=4, topk_group=2, num_experts_per_tok=3, topk_method="group_limited_greedy",
        routed_scaling_factor=16.0, rope_scaling=yarn_mscale(1.0, 1.0)), spelling="published"),
    Case("deepseek_v2-bias", "deepseek_v2", dict(attention_bias=True, mlp_bias=True, q_lora_rank=20, n_shared_experts=1)),
    Case("deepseek_v2-dense", "deepseek_v2", dict(first_k_dense_replace=2)),
    Case("deepseek_v3", "deepseek_v3", dict(n_routed_experts=12)),
    Case("deepseek_v3-no_q_lora", "deepseek_v3", dict(q_lora_rank=None, first_k_dense_replace=2, num_hidden_layers=3)),
    Case("deepseek_v3-yarn", "deepseek_v3", dict(rope_scaling=yarn_mscale(1.0, 1.0, 40.0)), spelling="published"),
    Case("deepseek_v3-no_norm", "deepseek_v3", dict(norm_topk_prob=False, n_group=1, topk_group=1)),
    Case("deepseek_v3-half-rope", "deepseek_v3", dict(rope_interleave=False, attention_bias=True)),
    Case("deepseek_v3-negative-bias", "deepseek_v3", dict(n_routed_experts=12, num_experts_per_tok=4), negative_bias=True),
    Case("deepseek_v3-mtp", "deepseek_v3", dict(num_nextn_predict_layers=1, num_hidden_layers=1, first_k_dense_replace=0), mtp=True, spelling="published"),
    Case("deepseek_v3-bf16", "deepseek_v3", dtype="bf16"),
    Case("deepseek_v3-fp8", "deepseek_v3", dict(
        hidden_size=138, intermediate_size=168, moe_intermediate_size=48, num_hidden_layers=2, q_lora_rank=136, kv_lora_rank=40,
        n_routed_experts=6, n_group=2, topk_group=1, num_experts_per_tok=2), dtype="fp8", spelling="published"),
    Case("deepseek_v3-fp8-mtp", "deepseek_v3", dict(
        hidden_size=132, intermediate_size=136, moe_intermediate_size=40, num_hidden_layers=1, first_k_dense_replace=0,
        q_lora_rank=None, n_routed_experts=4, n_group=2, topk_group=1, num_experts_per_tok=2, num_nextn_predict_layers=1,
        rope_scaling=yarn_mscale(1.0, 1.0)),
        dtype="fp8", mtp=True, power_of_two_scales=True, spelling="published"),
]
