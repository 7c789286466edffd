"""Gradients by torch's autograd for the operations of ergon-kernels' backward passes, in golden.safetensors.

Inputs are single precision; outputs and gradients are computed in double precision and stored as F64.
Run: python vectors/backward/make.py   (made with torch 2.15.0, safetensors 0.8.0, numpy 2.5.5; the versions of a run
are in the file's metadata)
"""

import pathlib

import numpy
import safetensors
import safetensors.torch
import torch
import torch.nn.functional as F

SEED = 20261124
torch.manual_seed(SEED)
tensors = {}


def case(name, inputs, function):
    """Stores inputs, output, a random gradient of the output, and the gradients of the inputs."""
    leaves = {key: value.double().requires_grad_() for key, value in inputs.items()}
    out = function(**leaves)
    dout = torch.randn(out.shape, dtype=torch.float32) if out.dim() else torch.ones(())
    out.backward(dout.double())
    for key, value in inputs.items():
        tensors[f"{name}.{key}"] = value
        tensors[f"{name}.d{key}"] = leaves[key].grad
    tensors[f"{name}.out"] = out.detach()
    tensors[f"{name}.dout"] = dout


def attention(causal):
    """[rows, heads, dim] in and out; a causal query i sees keys up to i + keys - queries."""

    def run(q, k, v):
        queries, keys = q.shape[0], k.shape[0]
        mask = torch.ones(queries, keys, dtype=torch.bool)
        if causal:
            mask = mask.tril(keys - queries)
        heads = [x.transpose(0, 1).unsqueeze(0) for x in (q, k, v)]
        return F.scaled_dot_product_attention(*heads, attn_mask=mask)[0].transpose(0, 1).contiguous()

    return run


def heads(queries, keys, count, k_dim, v_dim):
    return {
        "q": torch.randn(queries, count, k_dim),
        "k": torch.randn(keys, count, k_dim),
        "v": torch.randn(keys, count, v_dim),
    }


def rope(x):
    """Interleaved pairs of rows [positions, 8], theta 10000."""
    half = x.shape[1] // 2
    angle = torch.arange(x.shape[0]).double()[:, None] * 10000.0 ** (-torch.arange(half).double() / half)
    turned = torch.view_as_complex(x.reshape(-1, half, 2)) * torch.polar(torch.ones_like(angle), angle)
    return torch.view_as_real(turned).reshape(x.shape)


case("rms_norm", {"x": 2 * torch.randn(5, 40), "w": torch.randn(40)}, lambda x, w: F.rms_norm(x, (40,), w, 1e-6))
case("swiglu", {"gate": 3 * torch.randn(50), "up": torch.randn(50)}, lambda gate, up: F.silu(gate) * up)
case("silu", {"x": 4 * torch.randn(50)}, lambda x: F.silu(x))
case("gelu", {"x": 3 * torch.randn(50)}, lambda x: F.gelu(x, approximate="tanh"))
case("rope", {"x": torch.randn(5, 8)}, rope)
case("attention_full", heads(9, 21, 2, 24, 20), attention(False))
case("attention_causal", heads(19, 19, 2, 32, 16), attention(True))
case("attention_prefix", heads(7, 40, 2, 16, 32), attention(True))
case("linear", {"x": torch.randn(6, 19), "w": torch.randn(11, 19), "b": torch.randn(11)}, lambda x, w, b: F.linear(x, w, b))

targets = torch.tensor([3, -100, 0, 36, 17])
tensors["cross_entropy.targets"] = targets
case(
    "cross_entropy",
    {"logits": 3 * torch.randn(5, 37)},
    lambda logits: F.cross_entropy(logits, targets, ignore_index=-100, reduction="sum"),
)

ids = torch.tensor([2, 0, 2, 4])
tensors["embedding.ids"] = ids
case("embedding", {"table": torch.randn(5, 20)}, lambda table: F.embedding(ids, table))

rows = torch.tensor([1, 3, 0])
tensors["scatter.rows"] = rows
case(
    "scatter",
    {"x": torch.randn(3, 20), "weights": torch.rand(3)},
    lambda x, weights: torch.zeros(4, 20, dtype=torch.float64).index_add(0, rows, x * weights[:, None]),
)

weight = torch.nn.Parameter(torch.randn(40).double())
tensors["adamw.before"] = weight.detach().float()
weight.data = weight.data.float().double()
optimiser = torch.optim.AdamW([weight], lr=1e-2, betas=(0.9, 0.99), eps=1e-8, weight_decay=0.1)
for step in range(4):
    gradient = torch.randn(40)
    tensors[f"adamw.gradient{step}"] = gradient
    weight.grad = gradient.double()
    optimiser.step()
tensors["adamw.after"] = weight.detach().clone()

versions = {
    "torch": torch.__version__,
    "safetensors": safetensors.__version__,
    "numpy": numpy.__version__,
    "seed": str(SEED),
}
safetensors.torch.save_file(
    {key: value.contiguous() for key, value in tensors.items()},
    pathlib.Path(__file__).with_name("golden.safetensors"),
    metadata=versions,
)
print(versions, len(tensors), "tensors")
