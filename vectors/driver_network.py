"""The driver's network in torch, written from the model's contract: the oracle of the hand-written gradients, and what
docs/benchmarks/train_driver_torch.py measures against.

Parameters are a dict from published tensor names to tensors. Sequences of a batch are packed one after the other.
"""

import math

import torch
import torch.nn.functional as F


def shapes(c):
    """Name -> shape of every tensor of a config (a dict of plain numbers)."""
    v, d, a = c["vision"], c["decoder"], c["action"]
    out = {}

    def linear(name, rows, cols, bias=False):
        out[f"{name}.weight"] = (rows, cols)
        if bias:
            out[f"{name}.bias"] = (rows,)

    def mlp(name, hidden, width):
        linear(f"{name}.gate_proj", width, hidden)
        linear(f"{name}.up_proj", width, hidden)
        linear(f"{name}.down_proj", hidden, width)

    h = v["hidden"]
    linear("vision_model.embeddings.cell_in", v["cell_channels"], v["cell_values"], True)
    linear("vision_model.embeddings.patch_in", v["stem"], v["patch_values"] // v["cell_values"] * v["cell_channels"], True)
    linear("vision_model.embeddings.patch_out", h, v["stem"], True)
    out["vision_model.embeddings.position_embedding.weight"] = (patches(v), h)
    for i in range(v["layers"]):
        name = f"vision_model.encoder.layers.{i}"
        out[f"{name}.layer_norm1.weight"] = out[f"{name}.layer_norm2.weight"] = (h,)
        for part in ("q", "k", "v", "out"):
            linear(f"{name}.self_attn.{part}_proj", h, h)
        mlp(f"{name}.mlp", h, v["intermediate"])
    out["vision_model.post_layernorm.weight"] = (h,)
    linear("multi_modal_projector.linear", d["hidden"], h * v["merge"] ** 2)
    for name, dim in (("state_proj", c["state_dim"]), ("hint_proj", c["hint_dim"])):
        linear(f"{name}.in", d["hidden"], dim, True)
        linear(f"{name}.out", d["hidden"], d["hidden"], True)
    out["language_model.model.embed_tokens.weight"] = (d["vocab"], d["hidden"])
    for i in range(d["layers"]):
        name = f"language_model.model.layers.{i}"
        out[f"{name}.input_layernorm.weight"] = out[f"{name}.post_attention_layernorm.weight"] = (d["hidden"],)
        heads, rank = d["heads"], d["kv_lora_rank"]
        linear(f"{name}.self_attn.q_proj", heads * (d["nope"] + d["rope"]), d["hidden"])
        linear(f"{name}.self_attn.kv_a_proj_with_mqa", rank + d["rope"], d["hidden"])
        out[f"{name}.self_attn.kv_a_layernorm.weight"] = (rank,)
        linear(f"{name}.self_attn.kv_b_proj", heads * (d["nope"] + d["v_head"]), rank)
        linear(f"{name}.self_attn.o_proj", d["hidden"], heads * d["v_head"])
        if i < d["dense_layers"]:
            mlp(f"{name}.mlp", d["hidden"], d["intermediate"])
            continue
        linear(f"{name}.mlp.gate", d["experts"], d["hidden"])
        out[f"{name}.mlp.gate.e_score_correction_bias"] = (d["experts"],)
        for e in range(d["experts"]):
            mlp(f"{name}.mlp.experts.{e}", d["hidden"], d["moe_intermediate"])
        mlp(f"{name}.mlp.shared_experts", d["hidden"], d["moe_intermediate"] * d["shared_experts"])
    out["language_model.model.norm.weight"] = (d["hidden"],)
    linear("language_model.lm_head", d["vocab"], d["hidden"])
    linear("perception_head", c["perception_dim"], d["hidden"], True)
    h = a["hidden"]
    linear("action_expert.action_in_proj", h, a["action_dim"], True)
    linear("action_expert.action_time_mlp_in", h, 2 * h, True)
    linear("action_expert.action_time_mlp_out", h, h, True)
    out["action_expert.position_embedding.weight"] = (a["horizon"], h)
    for i in range(a["layers"]):
        name = f"action_expert.layers.{i}"
        out[f"{name}.input_layernorm.weight"] = out[f"{name}.post_attention_layernorm.weight"] = (h,)
        for part in ("q", "k", "v", "o"):
            linear(f"{name}.self_attn.{part}_proj", h, h)
        linear(f"{name}.self_attn.k_ctx_proj", h, d["hidden"])
        linear(f"{name}.self_attn.v_ctx_proj", h, d["hidden"])
        mlp(f"{name}.mlp", h, a["intermediate"])
    out["action_expert.norm.weight"] = (h,)
    linear("action_expert.action_out_proj", a["action_dim"], h, True)
    return out


def patches(v):
    return sum(columns * rows for columns, rows in v["cameras"])


def rms_norm(x, weight, eps):
    x32 = x.to(weight.dtype)
    return x32 * torch.rsqrt(x32.pow(2).mean(-1, keepdim=True) + eps) * weight


def silu_mlp(p, name, x):
    w = lambda part: p[f"{name}.{part}_proj.weight"]
    return F.linear(F.silu(F.linear(x, w("gate"))) * F.linear(x, w("up")), w("down"))


def split(x, heads):
    """[..., n, heads * width] -> [..., heads, n, width]"""
    return x.unflatten(-1, (heads, -1)).transpose(-3, -2)


def join(x):
    return x.transpose(-3, -2).flatten(-2)


def merged(v):
    """For each image token its patches: neighbours of one camera, row by row."""
    out, first, m = [], 0, v["merge"]
    for columns, rows in v["cameras"]:
        for r in range(0, rows, m):
            for c in range(0, columns, m):
                out.append([first + (r + i) * columns + c + j for i in range(m) for j in range(m)])
        first += columns * rows
    return out


def vision(p, c, pixels):
    v, eps = c["vision"], c["rms_norm_eps"]
    name = "vision_model.embeddings"
    x = F.linear(pixels.unflatten(-1, (-1, v["cell_values"])), p[f"{name}.cell_in.weight"], p[f"{name}.cell_in.bias"])
    x = F.gelu(x, approximate="tanh").flatten(-2)
    x = F.linear(x, p[f"{name}.patch_in.weight"], p[f"{name}.patch_in.bias"])
    x = F.linear(F.gelu(x, approximate="tanh"), p[f"{name}.patch_out.weight"], p[f"{name}.patch_out.bias"])
    x = x + p[f"{name}.position_embedding.weight"]
    for i in range(v["layers"]):
        name = f"vision_model.encoder.layers.{i}"
        y = rms_norm(x, p[f"{name}.layer_norm1.weight"], eps)
        q, k, w = (split(F.linear(y, p[f"{name}.self_attn.{part}_proj.weight"]), v["heads"]) for part in "qkv")
        x = x + F.linear(join(F.scaled_dot_product_attention(q, k, w)), p[f"{name}.self_attn.out_proj.weight"])
        x = x + silu_mlp(p, f"{name}.mlp", rms_norm(x, p[f"{name}.layer_norm2.weight"], eps))
    x = rms_norm(x, p["vision_model.post_layernorm.weight"], eps)
    x = x[:, torch.tensor(merged(v))].flatten(-2)
    return F.linear(x, p["multi_modal_projector.linear.weight"])


def rotate(x, positions, theta):
    """Turns neighbouring pairs of the last dimension; x [n, heads, width]."""
    width = x.shape[-1]
    frequencies = theta ** -(torch.arange(0, width, 2, dtype=torch.float64) / width)
    angles = (positions[:, None].double() * frequencies)[:, None]
    cos, sin = angles.cos().to(x.dtype), angles.sin().to(x.dtype)
    a, b = x[..., 0::2], x[..., 1::2]
    return torch.stack((a * cos - b * sin, a * sin + b * cos), -1).flatten(-2)


def latent_attention(p, name, d, eps, x, spans, positions):
    heads, nope, rope = d["heads"], d["nope"], d["rope"]
    q = F.linear(x, p[f"{name}.q_proj.weight"]).unflatten(-1, (heads, nope + rope))
    q = torch.cat((q[..., :nope], rotate(q[..., nope:], positions, d["rope_theta"])), -1)
    latent, shared = F.linear(x, p[f"{name}.kv_a_proj_with_mqa.weight"]).split((d["kv_lora_rank"], rope), -1)
    latent = rms_norm(latent, p[f"{name}.kv_a_layernorm.weight"], eps)
    kv = F.linear(latent, p[f"{name}.kv_b_proj.weight"]).unflatten(-1, (heads, nope + d["v_head"]))
    shared = rotate(shared[:, None], positions, d["rope_theta"]).expand(-1, heads, -1)
    k, v = torch.cat((kv[..., :nope], shared.to(kv.dtype)), -1), kv[..., nope:]
    q, k, v = q.to(v.dtype), k.to(v.dtype), v
    if len({end - start for start, end in spans}) == 1:
        own = (t.unflatten(0, (len(spans), -1)).transpose(1, 2) for t in (q, k, v))
        mixed = F.scaled_dot_product_attention(*own, is_causal=True).transpose(1, 2).flatten(-2)
        return F.linear(mixed.flatten(0, 1), p[f"{name}.o_proj.weight"])
    out = []
    for start, end in spans:
        own = (t[start:end].transpose(0, 1)[None] for t in (q, k, v))
        out.append(F.scaled_dot_product_attention(*own, is_causal=True)[0].transpose(0, 1).flatten(-2))
    return F.linear(torch.cat(out), p[f"{name}.o_proj.weight"])


def experts(p, name, d, x):
    scores = F.linear(x, p[f"{name}.gate.weight"]).sigmoid()
    chosen = (scores + p[f"{name}.gate.e_score_correction_bias"]).topk(d["experts_per_token"], -1).indices
    factors = scores.gather(-1, chosen)
    factors = factors / (factors.sum(-1, keepdim=True) + 1e-20) * d["routed_scaling"]
    out = silu_mlp(p, f"{name}.shared_experts", x)
    for e in range(d["experts"]):
        rows, slot = (chosen == e).nonzero(as_tuple=True)
        y = silu_mlp(p, f"{name}.experts.{e}", x[rows]) * factors[rows, slot][:, None]
        out = out.index_add(0, rows, y.to(out.dtype))
    return out


def decoder(p, c, x, spans):
    d, eps = c["decoder"], c["rms_norm_eps"]
    positions = torch.cat([torch.arange(end - start) for start, end in spans])
    for i in range(d["layers"]):
        name = f"language_model.model.layers.{i}"
        y = rms_norm(x, p[f"{name}.input_layernorm.weight"], eps)
        x = x + latent_attention(p, f"{name}.self_attn", d, eps, y, spans, positions)
        y = rms_norm(x, p[f"{name}.post_attention_layernorm.weight"], eps)
        x = x + (silu_mlp if i < d["dense_layers"] else lambda p, n, y: experts(p, n, d, y))(p, f"{name}.mlp", y)
    return rms_norm(x, p["language_model.model.norm.weight"], eps)


def time_embedding(t, width):
    fraction = torch.linspace(0, 1, width // 2, dtype=torch.float64)
    angles = 2 * math.pi * t[:, None].double() / (4e-3 * (4.0 / 4e-3) ** fraction)
    return torch.cat((angles.sin(), angles.cos()), -1)


def velocity(p, c, context, spans, x, times, groups):
    """x [samples * groups, horizon, dim] at one time each."""
    a, eps = c["action"], c["rms_norm_eps"]
    name = "action_expert"
    w = lambda part: (p[f"{name}.{part}.weight"], p[f"{name}.{part}.bias"])
    x = F.linear(x, *w("action_in_proj"))
    time = time_embedding(times, a["hidden"]).to(x.dtype)[:, None].expand(x.shape)
    x = F.linear(F.silu(F.linear(torch.cat((x, time), -1), *w("action_time_mlp_in"))), *w("action_time_mlp_out"))
    x = x + p[f"{name}.position_embedding.weight"]
    for i in range(a["layers"]):
        layer = f"{name}.layers.{i}"
        of = lambda part: p[f"{layer}.self_attn.{part}_proj.weight"]
        y = rms_norm(x, p[f"{layer}.input_layernorm.weight"], eps)
        q, k, v = (F.linear(y, of(part)) for part in "qkv")
        k_context, v_context = F.linear(context, of("k_ctx")), F.linear(context, of("v_ctx"))
        out = []
        if len({end - start for start, end in spans}) == 1:
            of_groups = lambda t: t.unflatten(0, (len(spans), -1)).repeat_interleave(groups, 0)
            both = lambda t, ctx: split(torch.cat((of_groups(ctx), t), 1), a["heads"])
            out.append(join(F.scaled_dot_product_attention(split(q, a["heads"]), both(k, k_context), both(v, v_context))))
        for s, (start, end) in enumerate(spans if not out else []):
            own = slice(s * groups, (s + 1) * groups)
            both = lambda t, ctx: torch.cat((ctx[start:end][None].expand(groups, -1, -1), t[own]), 1)
            parts = (split(t, a["heads"]) for t in (q[own], both(k, k_context), both(v, v_context)))
            out.append(join(F.scaled_dot_product_attention(*parts)))
        x = x + F.linear(torch.cat(out), of("o"))
        x = x + silu_mlp(p, f"{layer}.mlp", rms_norm(x, p[f"{layer}.post_attention_layernorm.weight"], eps))
    return F.linear(rms_norm(x, p[f"{name}.norm.weight"], eps), *w("action_out_proj"))


def losses(p, c, batch):
    """Text, action and perception, each the mean over the samples of the mean over what is known."""
    special, n = c["special"], len(batch["instructions"])
    images = vision(p, c, batch["pixels"])
    two = lambda name, x: F.linear(
        F.silu(F.linear(x, p[f"{name}.in.weight"], p[f"{name}.in.bias"])), p[f"{name}.out.weight"], p[f"{name}.out.bias"])
    state, hint = two("state_proj", batch["state"]), two("hint_proj", batch["hint"])
    rows, spans, targets, at = [], [], [], 0
    for s in range(n):
        reasoning = batch["reasonings"][s] + [special["end_think"]]
        text = [special["bos"], *batch["instructions"][s], special["think"], *reasoning]
        embedded = p["language_model.model.embed_tokens.weight"][torch.tensor(text)]
        rows.append(torch.cat((images[s], state[s][None], hint[s][None], embedded.to(images.dtype))))
        end = at + len(rows[-1])
        targets.append((list(range(end - 1 - len(reasoning), end - 1)), reasoning))
        spans.append((at, end))
        at = end
    hidden = decoder(p, c, torch.cat(rows), spans)
    text = 0
    for own, right in targets:
        logits = F.linear(hidden[own], p["language_model.lm_head.weight"])
        text = text + F.cross_entropy(logits.to(hidden.dtype), torch.tensor(right)) / n
    at_hint = torch.tensor([start + images.shape[1] + 1 for start, _ in spans])
    scalars = F.linear(hidden[at_hint], p["perception_head.weight"], p["perception_head.bias"])
    known = ~batch["perception"].isnan()
    error = F.smooth_l1_loss(scalars.to(hidden.dtype), batch["perception"].nan_to_num(), reduction="none") * known
    perception = (error.sum(-1) / known.sum(-1).clamp(min=1)).mean()
    groups = len(batch["times"]) // n
    right = batch["waypoints"].repeat_interleave(groups, 0)
    t = batch["times"][:, None, None].to(right.dtype)
    v = velocity(p, c, hidden, spans, t * batch["noise"] + (1 - t) * right, batch["times"], groups)
    valid = batch["valid"].repeat_interleave(groups, 0)[..., None]
    squares = ((v - (batch["noise"] - right)) ** 2 * valid).sum((-1, -2))
    action = (squares / (valid.sum((-1, -2)) * right.shape[-1])).mean()
    return text, action, perception
