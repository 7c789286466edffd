"""Random models whose every part matters, and what transformers computes with them."""

import copy
import math

import torch
import transformers
from transformers.modeling_layers import MtpModel

CLASSES = dict(
    llama=(transformers.LlamaConfig, transformers.LlamaForCausalLM),
    qwen3=(transformers.Qwen3Config, transformers.Qwen3ForCausalLM),
    qwen3_moe=(transformers.Qwen3MoeConfig, transformers.Qwen3MoeForCausalLM),
    deepseek_v2=(transformers.DeepseekV2Config, transformers.DeepseekV2ForCausalLM),
    deepseek_v3=(transformers.DeepseekV3Config, transformers.DeepseekV3ForCausalLM),
)
PROMPT_TOKENS = 48
GREEDY_PROMPT_TOKENS = 12
GREEDY_TOKENS = 64
MIN_GREEDY_MARGIN = 0.004
"""Least gap between the two best logits at every greedy step, in standard deviations: twice the f32 bound, so that a correct program
cannot pick the other token."""
STEADY_ROUTER_GAP = 1e-4
"""Least relative gap between the last chosen and the first rejected expert: below it, rounding decides which expert runs."""


def build(arch, overrides, generator, calm=False):
    """A model of `arch` in f32, evaluation mode, weights drawn from `generator`.

    A calm model amplifies rounding less: for quantised files, whose oracle rounds activations too."""
    config_class, model_class = CLASSES[arch]
    # A copy: transformers completes the rope dictionary in place.
    config = config_class(**copy.deepcopy(overrides), bos_token_id=0, eos_token_id=1, attn_implementation="eager",
                          experts_implementation="eager")
    config.dtype = torch.float32
    model = model_class(config).float().eval()
    randomize(model, generator, calm)
    return model


def gain_of(name, calm):
    """How much larger than 1/sqrt(inputs) a matrix's standard deviation is."""
    if calm:
        return 0.8
    if name.endswith(("lm_head.weight", "shared_head.weight")):
        return 2.0
    if any(part in name for part in ("q_proj", "q_b_proj", "k_proj", "kv_a_proj", "gate.weight")):
        return 1.8  # peaked attention and decided routers: a wrong scale, rotation or mask then shows
    return 1.2


def randomize(module, generator, calm=False):
    """Fills every parameter and bias buffer. The library's own initialisation (std 0.02, norms 1, biases 0) would hide most errors."""
    tied = getattr(getattr(module, "config", None), "tie_word_embeddings", False)
    for name, tensor in list(module.named_parameters()) + list(module.named_buffers()):
        if "inv_freq" in name:
            continue
        values = torch.randn(tensor.shape, generator=generator)
        if "embed_tokens" in name:
            values *= 2.0 / math.sqrt(tensor.shape[-1]) if tied else 1.0
        elif "norm" in name:
            values = 1.0 + 0.3 * values
        elif tensor.dim() == 1:
            values *= 0.1 if "e_score_correction_bias" in name else 0.3
        else:
            values *= gain_of(name, calm) / math.sqrt(tensor.shape[-1])
        tensor.data.copy_(values)


def make_mtp(model, generator):
    """The multi-token-prediction module of `model` with random weights; embedding and head are the main model's, as published."""
    mtp = MtpModel(model, 1).float().eval()
    randomize(mtp.layers, generator)
    return mtp


def draw(count, vocab, generator):
    """`count` token ids; 0 and 1 are the special ones and stay out."""
    return torch.randint(2, vocab, (count,), generator=generator)


@torch.no_grad()
def logits_of(model, tokens):
    """Logits [tokens, vocab] in f32, the whole sequence in one pass and without a cache."""
    return model(tokens[None], use_cache=False).logits[0].float()


@torch.no_grad()
def mtp_logits_of(model, mtp, tokens):
    """Row i: the prediction of token i+2 from token i+1 and the main model's normalised hidden state at i. [tokens-1, vocab]"""
    hidden = model.model(tokens[None], use_cache=False).last_hidden_state[:, :-1]
    positions = torch.arange(1, len(tokens))[None]
    out = mtp.forward_layer(0, hidden, positions, None, input_ids=tokens[None, 1:])
    return model.lm_head(out)[0].float()


@torch.no_grad()
def greedy_of(model, generator, vocab):
    """(prompt, 64 greedy tokens) whose best token is always ahead by MIN_GREEDY_MARGIN; recomputed from scratch at every step."""
    for _ in range(400):
        prompt = draw(GREEDY_PROMPT_TOKENS, vocab, generator)
        sequence = prompt
        for _ in range(GREEDY_TOKENS):
            last = logits_of(model, sequence)[-1]
            top = last.topk(2)
            if top.values[0] - top.values[1] < MIN_GREEDY_MARGIN * last.std():
                break
            sequence = torch.cat([sequence, top.indices[:1]])
        else:
            if router_gap(model, sequence) >= STEADY_ROUTER_GAP:
                return prompt, sequence[len(prompt):]
    raise RuntimeError("no prompt with a clear greedy continuation in 400 tries")


@torch.no_grad()
def router_gap(model, tokens):
    """The smallest relative gap between a chosen and a rejected expert (or group) over all layers and tokens of one pass."""
    gaps, hooks = [math.inf], []

    def watch(module, inputs, _):
        logits = torch.nn.functional.linear(inputs[0].reshape(-1, inputs[0].shape[-1]).float(), module.weight.float())
        if getattr(module, "e_score_correction_bias", None) is not None:
            scores = logits.sigmoid() + module.e_score_correction_bias
        else:
            scores = logits.softmax(-1)
        groups, kept = getattr(module, "num_group", None) or 1, getattr(module, "topk_group", None) or 1
        if groups > 1:
            grouped = scores.view(len(scores), groups, -1)
            biased = hasattr(module, "e_score_correction_bias")
            group_scores = grouped.topk(2).values.sum(-1) if biased else grouped.max(-1).values
            order = group_scores.sort(descending=True)
            gaps.append(gap(order.values, kept))
            mask = torch.full_like(group_scores, -math.inf).scatter(1, order.indices[:, :kept], 0.0)
            scores = (grouped + mask[..., None]).view(len(scores), -1)
        gaps.append(gap(scores.sort(descending=True).values, module.top_k))

    for module in model.modules():
        if type(module).__name__.endswith("TopkRouter") or type(module).__name__.endswith("TopKRouter"):
            hooks.append(module.register_forward_hook(watch))
    logits_of(model, tokens)
    for hook in hooks:
        hook.remove()
    return min(gaps)


def gap(ordered, kept):
    """Least relative distance between column kept-1 and column kept of rows sorted in descending order."""
    if kept >= ordered.shape[1]:
        return math.inf
    chosen, rejected = ordered[:, kept - 1], ordered[:, kept]
    finite = rejected > -math.inf
    if not finite.any():
        return math.inf
    return ((chosen - rejected) / chosen.abs().clamp_min(1e-6))[finite].min().item()
