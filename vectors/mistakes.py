#!/usr/bin/env python3
"""Shows that the vectors catch the mistakes that implementations of these models make most often.

    python vectors/mistakes.py [DIR]

Every mistake is made on purpose, in transformers, on the stored checkpoint that should reveal it. The printed error is in standard
deviations of the logits; a mistake below ten times the bound of the parity test (2e-3 for f32, 3e-2 for the others) is not caught,
and the script fails.
"""

import argparse
import math
import pathlib
import types

import torch
import transformers
from safetensors import safe_open
from safetensors.torch import load_file

import reference
import store
from cases import BASES, CASES


def layers_with(model, part):
    """The feed-forward or attention modules that have `part`."""
    return [module for module in model.modules() if hasattr(module, part)]


def plain_softmax_scale(model):
    for attention in layers_with(model, "qk_nope_head_dim"):
        attention.scaling = attention.qk_head_dim**-0.5


def plain_cos_sin(model):
    model.model.rotary_emb.attention_scaling = 1.0


def scaled_cos_sin(model):
    model.model.rotary_emb.attention_scaling = 0.1 * math.log(model.config.rope_parameters["factor"]) + 1.0


def unscaled_frequencies(model):
    rotary = model.model.rotary_emb
    rotary.inv_freq.copy_(rotary.compute_default_rope_parameters(model.config)[0])


def other_rope_layout(model):
    model.config.rope_interleave = not model.config.rope_interleave


def v2_half_rope(model):
    # The weights reordered so that interleaved rotation pairs what half rotation would.
    nope, rope = model.config.qk_nope_head_dim, model.config.qk_rope_head_dim
    order = torch.arange(rope).view(2, -1).T.reshape(-1)
    for attention in layers_with(model, "kv_a_proj_with_mqa"):
        query = attention.q_proj if attention.q_proj is not None else attention.q_b_proj
        heads = query.weight.data.view(-1, nope + rope, query.weight.shape[1])
        heads[:, nope:] = heads[:, nope:][:, order]
        key = attention.kv_a_proj_with_mqa.weight.data
        key[-rope:] = key[-rope:][order]


def norm_over_rotary_key(model):
    for attention in layers_with(model, "kv_a_proj_with_mqa"):
        def hook(module, inputs, output, rope=model.config.qk_rope_head_dim):
            key = output[..., -rope:]
            return torch.cat([output[..., :-rope], key * torch.rsqrt(key.pow(2).mean(-1, keepdim=True) + 1e-6)], -1)
        attention.kv_a_proj_with_mqa.register_forward_hook(hook)


def no_latent_norm(model):
    for attention in layers_with(model, "kv_a_layernorm"):
        attention.kv_a_layernorm.forward = lambda x: x


def no_query_key_norm(model):
    for attention in layers_with(model, "q_norm"):
        attention.q_norm.forward = attention.k_norm.forward = lambda x: x


def route(model, rule):
    """Replaces every router by `rule(router, logits) -> (weights, experts)`."""
    for router in model.modules():
        if type(router).__name__.lower().endswith("topkrouter"):
            def forward(self, hidden):
                hidden = hidden.reshape(-1, hidden.shape[-1]).float()
                logits = torch.nn.functional.linear(hidden, self.weight.float())
                weights, experts = rule(self, logits)
                return logits, weights, experts
            router.forward = types.MethodType(forward, router)


def v3_rule(scores=torch.sigmoid, select_bias=True, weight_bias=False, group=lambda g: g.topk(2).values.sum(-1), masked=-math.inf,
            groups=True, normalize=None, scale=True):
    """DeepSeek's routing with any one part replaced."""
    def rule(router, logits):
        probabilities = scores(logits)
        bias = getattr(router, "e_score_correction_bias", 0.0)
        chosen_by = probabilities + bias if select_bias else probabilities
        if groups and (router.num_group or 1) > 1:
            grouped = chosen_by.view(len(chosen_by), router.num_group, -1)
            kept = torch.zeros(grouped.shape[:2], dtype=torch.bool).scatter(1, group(grouped).topk(router.topk_group).indices, True)
            chosen_by = grouped.masked_fill(~kept[..., None], masked).view(chosen_by.shape)
        experts = chosen_by.topk(router.top_k).indices
        weights = (probabilities + bias if weight_bias else probabilities).gather(1, experts)
        if getattr(router, "norm_topk_prob", False) if normalize is None else normalize:
            weights = weights / weights.sum(-1, keepdim=True)
        return weights * (router.routed_scaling_factor if scale else 1.0), experts
    return rule


def softmax(logits):
    return logits.softmax(-1)


def largest(grouped):
    return grouped.max(-1).values


def qwen_rule(normalize):
    def rule(router, logits):
        weights, experts = logits.softmax(-1).topk(router.top_k)
        return weights / weights.sum(-1, keepdim=True) if normalize else weights, experts
    return rule


def scaled_shared_experts(model):
    for block in layers_with(model, "shared_experts"):
        block.shared_experts.down_proj.weight.data *= model.config.routed_scaling_factor


def divided_fp8_scales(tensors):
    return {name: 1.0 / tensor if name.endswith("_scale_inv") else tensor for name, tensor in tensors.items()}


def first_fp8_scale_only(tensors):
    return {name: tensor[:1, :1].expand_as(tensor) if name.endswith("_scale_inv") else tensor for name, tensor in tensors.items()}


def rule(make):
    return lambda model: route(model, make)


# (what is done wrong, the case that shows it, the change to the model or, for FP8, to the stored tensors)
MISTAKES = [
    ("softmax scale without mscale^2, V2", "deepseek_v2-lite-yarn", plain_softmax_scale),
    ("softmax scale without mscale^2, V3", "deepseek_v3-yarn", plain_softmax_scale),
    ("cos/sin without the mscale ratio", "deepseek_v2-mscale", plain_cos_sin),
    ("cos/sin with YaRN's own factor although the mscales are equal", "deepseek_v3-yarn", scaled_cos_sin),
    ("cos/sin without YaRN's factor, Qwen3", "qwen3-yarn", plain_cos_sin),
    ("YaRN frequencies unscaled", "deepseek_v3-yarn", unscaled_frequencies),
    ("llama3 frequencies unscaled", "llama-rope-llama3", unscaled_frequencies),
    ("linear frequencies unscaled", "llama-rope-linear", unscaled_frequencies),
    ("rope in halves instead of pairs, V2", "deepseek_v2-lite", v2_half_rope),
    ("rope in halves instead of pairs, V3", "deepseek_v3", other_rope_layout),
    ("rope in pairs although rope_interleave is false", "deepseek_v3-half-rope", other_rope_layout),
    ("latent norm over the rotary key as well", "deepseek_v2-lite", norm_over_rotary_key),
    ("latent norm left out", "deepseek_v3", no_latent_norm),
    ("query and key norms left out", "qwen3-tied", no_query_key_norm),
    ("selection without the bias", "deepseek_v3", rule(v3_rule(select_bias=False))),
    ("weights with the bias", "deepseek_v3", rule(v3_rule(weight_bias=True))),
    ("softmax instead of sigmoid", "deepseek_v3", rule(v3_rule(scores=softmax))),
    ("group score: largest instead of the sum of two", "deepseek_v3", rule(v3_rule(group=largest))),
    ("group score: sum of two instead of largest", "deepseek_v2-q_lora-groups", rule(v3_rule(scores=softmax, normalize=False))),
    ("groups ignored, V3", "deepseek_v3", rule(v3_rule(groups=False))),
    ("groups ignored, V2", "deepseek_v2-q_lora-groups", rule(v3_rule(scores=softmax, normalize=False, groups=False))),
    ("masked groups score 0", "deepseek_v3-negative-bias", rule(v3_rule(masked=0.0))),
    ("weights not normalised", "deepseek_v3", rule(v3_rule(normalize=False))),
    ("weights normalised although norm_topk_prob is false", "deepseek_v3-no_norm", rule(v3_rule(normalize=True))),
    ("routed_scaling_factor left out", "deepseek_v2-q_lora-groups", rule(v3_rule(scores=softmax, normalize=False, group=largest, scale=False))),
    ("routed_scaling_factor on the shared expert", "deepseek_v3", scaled_shared_experts),
    ("Qwen3-MoE not normalised", "qwen3_moe-norm", rule(qwen_rule(False))),
    ("Qwen3-MoE normalised although norm_topk_prob is false", "qwen3_moe-no_norm", rule(qwen_rule(True))),
    ("FP8 scales divided by", "deepseek_v3-fp8", divided_fp8_scales),
    ("FP8 scale of the first block for all", "deepseek_v3-fp8", first_fp8_scale_only),
]


def swapped_projection(model, mtp):
    width = model.config.hidden_size
    mtp.layers[0].eh_proj.weight.data = mtp.layers[0].eh_proj.weight.data.roll(width, dims=1)


def hidden_before_norm(model, mtp):
    model.model.norm.forward = lambda x: x


def no_head_norm(model, mtp):
    mtp.layers[0].post_norm.forward = lambda x: x


# As above, for the logits of the prediction layer.
MTP_MISTAKES = [
    ("prediction: hidden state before the embedding", "deepseek_v3-mtp", swapped_projection),
    ("prediction: hidden state before the final norm", "deepseek_v3-mtp", hidden_before_norm),
    ("prediction: shared_head.norm left out", "deepseek_v3-mtp", no_head_norm),
]


def mtp_error(case, folder, change, tokens):
    """Error of the prediction layer's logits with a mistake in it, in standard deviations."""
    generator = torch.Generator().manual_seed(0)
    model = reference.build(case.arch, {**BASES[case.arch], **case.config}, generator)
    mtp = reference.make_mtp(model, generator)
    store.load_stored(model, mtp, store.stored_weights(folder))
    expected = reference.mtp_logits_of(model, mtp, tokens)
    change(model, mtp)
    return ((reference.mtp_logits_of(model, mtp, tokens) - expected).abs().max() / expected.std()).item()


def load(case, folder, change):
    """The case's model with its stored weights and the mistake in it."""
    generator = torch.Generator().manual_seed(0)
    model = reference.build(case.arch, {**BASES[case.arch], **case.config}, generator)
    tensors = {}
    for path in sorted(folder.glob("model*.safetensors")):
        tensors.update(load_file(path))
    if case.dtype == "fp8" and change is not None:
        tensors, change = change(tensors), None
    store.load_stored(model, None, store.dequantize_fp8(tensors))
    if change is not None:
        change(model)
    return model


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dir", type=pathlib.Path, nargs="?", default=pathlib.Path(__file__).parent)
    folder = parser.parse_args().dir
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    missed = 0
    for what, name, change in MISTAKES + MTP_MISTAKES:
        case = next(case for case in CASES if case.name == name)
        with safe_open(folder / name / "expected.safetensors", "pt") as expected:
            tokens, logits = expected.get_tensor("tokens").long(), expected.get_tensor("logits")
        if case.mtp:
            error = mtp_error(case, folder / name, change, tokens)
        else:
            error = deviation(load(case, folder / name, change), tokens, logits)
            right = deviation(load(case, folder / name, None), tokens, logits)
            assert right < 1e-4, f"{name}: the stored case does not reproduce its own logits ({right})"
        caught = not error < 10 * (2e-3 if case.dtype == "f32" else 3e-2)
        missed += not caught
        print(f"{'' if caught else 'NOT CAUGHT '}{what:64} {name:28} {error:8.1e}", flush=True)
    raise SystemExit(1 if missed else 0)


def deviation(model, tokens, logits):
    """Largest error of a logit in standard deviations."""
    return ((reference.logits_of(model, tokens) - logits).abs().max() / logits.std()).item()


if __name__ == "__main__":
    main()
