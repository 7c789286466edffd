#!/usr/bin/env python3
"""Writes GGUF models with random weights in published shapes, for timing only.

    python vectors/bench_models.py DIR [--only NAME]

Blocks are drawn as bytes and never pass through f32, so a file of 2.6 GB takes seconds and little memory. Scales are chosen so that
weights have the spread of a trained model's and no activation overflows.

Random routers send tokens to all experts alike. In the models named `skewed`, some experts of each layer are visited more than others and
tokens of one subject (a sixty-fourth of the vocabulary) visit much the same ones; `ergon bench` prints how much.
"""

import argparse
import math
import pathlib
from dataclasses import dataclass, replace

import gguf
import numpy as np

import gguf_write

Q = gguf.GGMLQuantizationType


@dataclass
class Shape:
    """A decoder; MLA if kv_lora is set, grouped-query attention otherwise; experts in all but the first dense_layers, if there are any."""

    layers: int
    hidden: int
    heads: int
    experts: int = 0
    experts_used: int = 0
    expert_width: int = 0
    kv_heads: int = 0
    head_dim: int = 0
    q_lora: int = 0
    kv_lora: int = 0
    nope: int = 0
    rope: int = 0
    value: int = 0
    shared: int = 0
    dense_layers: int = 0
    dense_width: int = 0
    vocab: int = 32768
    # Deviations of a router's logits over experts that all tokens share and that tokens of a subject share; those of single tokens have 1.
    popularity: float = 0.0
    subject: float = 0.0

    @property
    def architecture(self):
        """llama.cpp's name for it."""
        return "deepseek2" if self.kv_lora else "qwen3moe" if self.experts else "llama"


# 0.4 B active of 2.5 B parameters.
MOE = Shape(layers=24, hidden=1024, heads=16, kv_heads=4, head_dim=64, experts=64, experts_used=8, expert_width=512)
# DeepSeek-V2-Lite's layers, fewer of them, with expert width 1408 -> 1536, so that rows are whole super-blocks, and with low-rank queries,
# because llama.cpp accepts full ones only in a model of Lite's 27 layers.
LITE = Shape(layers=6, hidden=2048, heads=16, q_lora=1536, kv_lora=512, nope=128, rope=64, value=128, experts=64, experts_used=6, expert_width=1536,
             shared=2, dense_layers=1, dense_width=10752)
# Qwen3-30B-A3B's layers, fewer of them.
QWEN = Shape(layers=4, hidden=2048, heads=32, kv_heads=4, head_dim=128, experts=128, experts_used=8, expert_width=768)
# Llama-3.2-1B's layers under a smaller vocabulary: 1.1 B parameters, all active.
DENSE = Shape(layers=16, hidden=2048, heads=32, kv_heads=8, head_dim=64, dense_layers=16, dense_width=8192)
MODELS = {
    "moe-q8_0": (MOE, Q.Q8_0), "moe-q4_k": (MOE, Q.Q4_K), "moe-bf16-small": (replace(MOE, layers=4), Q.BF16),
    "lite-q8_0": (LITE, Q.Q8_0), "lite-q4_k": (LITE, Q.Q4_K), "qwen-q8_0": (QWEN, Q.Q8_0), "qwen-q4_k": (QWEN, Q.Q4_K),
    "dense-q8_0": (DENSE, Q.Q8_0), "dense-q4_k": (DENSE, Q.Q4_K),
    "skewed-q4_k": (replace(MOE, popularity=1.5, subject=1.5), Q.Q4_K),
    "lite-15b-q4_k": (replace(LITE, layers=27, dense_width=11008), Q.Q4_K),
    # Nearly all of it routed experts, and little arithmetic: for emulated machines.
    "many-q4_k": (Shape(layers=8, hidden=256, heads=4, kv_heads=2, head_dim=64, experts=1024, experts_used=4, expert_width=256), Q.Q4_K),
    # 10 GB: for the time until the first token.
    "long-q8_0": (replace(LITE, layers=17), Q.Q8_0),
}


def blocks(rng, kind, rows, cols):
    """[rows, row bytes] of random blocks whose weights have mean 0 and standard deviation about 0.8/sqrt(cols)."""
    spread = 0.8 / math.sqrt(cols)
    if kind == Q.F32:
        return (rng.standard_normal((rows, cols)) * spread).astype(np.float32)
    if kind == Q.BF16:
        values = (rng.standard_normal((rows, cols)) * spread).astype(np.float32)
        return (values.view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)
    block, size = gguf.GGML_QUANT_SIZES[kind]
    count = rows * cols // block
    data = np.frombuffer(rng.bytes(count * size), dtype=np.uint8).reshape(count, size).copy()

    def put(offset, value):
        data[:, offset : offset + 2] = np.frombuffer(np.float16(value).tobytes(), dtype=np.uint8)

    if kind == Q.Q8_0:
        put(0, spread / 73.9)  # deviation of a uniform signed byte
    elif kind == Q.Q4_K:
        scale = spread / 251.0  # deviation of scale*nibble - 7.5*minimum with uniform 6-bit scale and minimum
        put(0, scale)
        put(2, 7.5 * scale)
    elif kind == Q.Q6_K:
        put(208, spread / (73.9 * 18.5))
    else:
        raise ValueError(kind)
    return data.reshape(rows, cols // block * size)


SUBJECTS = 64
# The embedding's share of the residual stream must stay large behind all layers, or routers would see none of it.
EMBEDDING_SCALE = 8.0


class Skew:
    """Embeddings and routers that share directions: one that all tokens have, and one for each subject."""

    def __init__(self, shape, rng):
        self.shape, self.rng = shape, rng
        directions = rng.standard_normal((1 + SUBJECTS, shape.hidden))
        self.directions = directions / np.linalg.norm(directions, axis=1, keepdims=True)

    def embedding(self):
        """bf16 [vocab, hidden]: a third each of the shared direction, the subject's, and the token's own."""
        shape = self.shape
        length = math.sqrt(shape.hidden)
        own = self.rng.standard_normal((shape.vocab, shape.hidden)).astype(np.float32)
        subject = np.arange(shape.vocab) // -(-shape.vocab // SUBJECTS)
        values = own + length * (self.directions[0] + self.directions[1 + subject])
        return ((EMBEDDING_SCALE * values).astype(np.float32).view(np.uint32) >> 16).astype(np.uint16).view(np.uint8)

    def router(self):
        """f32 [experts, hidden]."""
        shape = self.shape
        # A normalised row has the length sqrt(hidden), of which each part is a third of the square.
        part = math.sqrt(shape.hidden / 3)
        popularity = shape.popularity / part * self.rng.standard_normal((shape.experts, 1))
        subject = shape.subject / part * self.rng.standard_normal((shape.experts, SUBJECTS))
        own = self.rng.standard_normal((shape.experts, shape.hidden)) / part
        return (own + popularity * self.directions[:1] + subject @ self.directions[1:]).astype(np.float32)


def layout(shape, index):
    """(name, experts or heads or None, rows, cols) of the matrices of one layer."""
    prefix = f"blk.{index}."
    hidden, heads = shape.hidden, shape.heads
    if shape.kv_lora:
        query = shape.nope + shape.rope
        yield prefix + "attn_q_a.weight", None, shape.q_lora, hidden
        yield prefix + "attn_q_b.weight", None, heads * query, shape.q_lora
        yield prefix + "attn_kv_a_mqa.weight", None, shape.kv_lora + shape.rope, hidden
        yield prefix + "attn_k_b.weight", heads, shape.kv_lora, shape.nope
        yield prefix + "attn_v_b.weight", heads, shape.value, shape.kv_lora
        yield prefix + "attn_output.weight", None, hidden, heads * shape.value
    else:
        yield prefix + "attn_q.weight", None, heads * shape.head_dim, hidden
        yield prefix + "attn_k.weight", None, shape.kv_heads * shape.head_dim, hidden
        yield prefix + "attn_v.weight", None, shape.kv_heads * shape.head_dim, hidden
        yield prefix + "attn_output.weight", None, hidden, heads * shape.head_dim
    if index < shape.dense_layers:
        yield prefix + "ffn_gate.weight", None, shape.dense_width, hidden
        yield prefix + "ffn_up.weight", None, shape.dense_width, hidden
        yield prefix + "ffn_down.weight", None, hidden, shape.dense_width
        return
    yield prefix + "ffn_gate_inp.weight", None, shape.experts, hidden
    yield prefix + "ffn_gate_exps.weight", shape.experts, shape.expert_width, hidden
    yield prefix + "ffn_up_exps.weight", shape.experts, shape.expert_width, hidden
    yield prefix + "ffn_down_exps.weight", shape.experts, hidden, shape.expert_width
    if shape.shared:
        width = shape.shared * shape.expert_width
        yield prefix + "ffn_gate_shexp.weight", None, width, hidden
        yield prefix + "ffn_up_shexp.weight", None, width, hidden
        yield prefix + "ffn_down_shexp.weight", None, hidden, width


def norms(shape, index):
    """(name, length) of the norm weights of one layer."""
    prefix = f"blk.{index}."
    yield prefix + "attn_norm.weight", shape.hidden
    yield prefix + "ffn_norm.weight", shape.hidden
    if shape.kv_lora:
        yield prefix + "attn_q_a_norm.weight", shape.q_lora
        yield prefix + "attn_kv_a_norm.weight", shape.kv_lora
    elif shape.experts:
        yield prefix + "attn_q_norm.weight", shape.head_dim
        yield prefix + "attn_k_norm.weight", shape.head_dim


def kind_of(name, kind, cols):
    """The format of one matrix in a file of mostly `kind`: llama.cpp's exceptions for router, head and rows of no whole block."""
    if "gate_inp" in name:
        return Q.F32
    if kind == Q.Q4_K and name == "output.weight":
        return Q.Q6_K
    return Q.Q8_0 if cols % gguf.GGML_QUANT_SIZES[kind][0] else kind


def write(path, shape, kind, seed=1):
    """Streams one model to `path`: first all headers, then each tensor as it is drawn."""
    rng = np.random.default_rng(seed)
    writer = gguf.GGUFWriter(path, shape.architecture)
    keys(writer, shape)
    matrices = [("token_embd.weight", None, shape.vocab, shape.hidden), ("output.weight", None, shape.vocab, shape.hidden)]
    vectors = [("output_norm.weight", shape.hidden)]
    for index in range(shape.layers):
        matrices.extend(layout(shape, index))
        vectors.extend(norms(shape, index))
    kinds = {name: kind_of(name, kind, cols) for name, _, _, cols in matrices}
    skew = Skew(shape, rng) if shape.popularity or shape.subject else None
    if skew:
        kinds["token_embd.weight"] = Q.BF16
    for name, length in vectors:
        writer.add_tensor_info(name, (length,), np.dtype(np.float32), length * 4)
    for name, experts, rows, cols in matrices:
        block, size = gguf.GGML_QUANT_SIZES[kinds[name]]
        row_bytes = cols // block * size
        outer = () if experts is None else (experts,)
        if kinds[name] == Q.F32:
            writer.add_tensor_info(name, (*outer, rows, cols), np.dtype(np.float32), (experts or 1) * rows * row_bytes)
        else:
            writer.add_tensor_info(name, (*outer, rows, row_bytes), np.dtype(np.uint8), (experts or 1) * rows * row_bytes,
                                   raw_dtype=kinds[name])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_ti_data_to_file()
    for _, length in vectors:
        writer.write_tensor_data(np.ones(length, dtype=np.float32))
    for name, experts, rows, cols in matrices:
        if skew and name == "token_embd.weight":
            data = skew.embedding()
        elif skew and "gate_inp" in name:
            data = skew.router()
        else:
            data = blocks(rng, kinds[name], (experts or 1) * rows, cols)
        writer.write_tensor_data(data)
    writer.close()


def keys(writer, shape):
    """Configuration and tokenizer keys."""
    writer.add_block_count(shape.layers)
    writer.add_context_length(32768)
    writer.add_embedding_length(shape.hidden)
    writer.add_feed_forward_length(shape.dense_width or shape.expert_width)
    writer.add_head_count(shape.heads)
    writer.add_layer_norm_rms_eps(1e-6)
    writer.add_rope_freq_base(1e6)
    writer.add_vocab_size(shape.vocab)
    if shape.experts:
        writer.add_expert_count(shape.experts)
        writer.add_expert_used_count(shape.experts_used)
        writer.add_expert_feed_forward_length(shape.expert_width)
    if shape.kv_lora:
        writer.add_head_count_kv(1)
        writer.add_key_length(shape.kv_lora + shape.rope)
        writer.add_value_length(shape.kv_lora)
        writer.add_key_length_mla(shape.nope + shape.rope)
        writer.add_value_length_mla(shape.value)
        writer.add_q_lora_rank(shape.q_lora)
        writer.add_kv_lora_rank(shape.kv_lora)
        writer.add_rope_dimension_count(shape.rope)
        writer.add_leading_dense_block_count(shape.dense_layers)
        writer.add_expert_shared_count(shape.shared)
        writer.add_expert_weights_scale(1.0)
        writer.add_expert_weights_norm(False)
        writer.add_expert_gating_func(gguf.ExpertGatingFuncType.SOFTMAX)
    else:
        writer.add_head_count_kv(shape.kv_heads)
        writer.add_key_length(shape.head_dim)
        writer.add_value_length(shape.head_dim)
        writer.add_rope_dimension_count(shape.head_dim)
    gguf_write.tokenizer(writer, "qwen2", shape.vocab)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=pathlib.Path)
    parser.add_argument("--only", help="make the models whose name contains this")
    args = parser.parse_args()
    args.dir.mkdir(parents=True, exist_ok=True)
    for name, (shape, kind) in MODELS.items():
        if args.only and args.only not in name:
            continue
        path = args.dir / f"{name}.gguf"
        write(path, shape, kind)
        print(f"{path} {path.stat().st_size / 1e9:.2f} GB", flush=True)


if __name__ == "__main__":
    main()
