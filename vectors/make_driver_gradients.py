#!/usr/bin/env python3
"""Makes the golden losses and gradients of a tiny driver, with torch in double precision.

    python vectors/make_driver_gradients.py [--out FILE] [--seed N]

The committed file is `--out vectors/driver-gradients.safetensors --seed 1`; crates/ergon-train reads it in its tests.
"""

import argparse

import torch
from safetensors.torch import save_file

import driver_network

# The `tiny` network of crates/ergon-train/src/driver/tests/mod.rs.
TINY = {
    "vision": {"cameras": [(4, 2), (2, 2)], "patch_values": 12, "cell_values": 4, "cell_channels": 5, "stem": 10, "hidden": 8, "layers": 2, "heads": 2,
               "intermediate": 12, "merge": 2},
    "decoder": {"vocab": 20, "hidden": 16, "layers": 2, "heads": 2, "kv_lora_rank": 6, "nope": 4, "rope": 4, "v_head": 6,
                "intermediate": 20, "dense_layers": 1, "experts": 4, "experts_per_token": 2, "shared_experts": 1,
                "moe_intermediate": 8, "routed_scaling": 1.5, "rope_theta": 10000.0},
    "action": {"horizon": 4, "action_dim": 2, "hidden": 8, "layers": 2, "heads": 2, "intermediate": 12},
    "state_dim": 3, "hint_dim": 5, "perception_dim": 4, "rms_norm_eps": 1e-6,
    "special": {"bos": 0, "think": 1, "end_think": 2},
}
WEIGHTS = {"text": 0.7, "action": 1.0, "perception": 0.5}
SAMPLES, GROUPS = 3, 2


def values(name, shape, generator):
    noise = torch.randn(shape, generator=generator, dtype=torch.float32)
    if "norm" in name:
        return 1 + 0.3 * noise
    if name.endswith("e_score_correction_bias"):
        return 0.1 * noise
    return 0.4 * noise if len(shape) == 1 else noise / shape[-1] ** 0.5


def draw(generator):
    v, a = TINY["vision"], TINY["action"]
    randn = lambda *shape: torch.randn(shape, generator=generator)
    tokens = lambda n: torch.randint(3, TINY["decoder"]["vocab"], (n,), generator=generator).tolist()
    bytes_ = torch.randint(0, 256, (SAMPLES, driver_network.patches(v), v["patch_values"]), generator=generator)
    perception = randn(SAMPLES, TINY["perception_dim"]) * 2
    perception[0, 1] = float("nan")
    valid = torch.ones(SAMPLES, a["horizon"], dtype=torch.bool)
    valid[1, 2:] = False
    waypoints = randn(SAMPLES, a["horizon"], a["action_dim"]) * valid[..., None]
    return {
        "bytes": bytes_.to(torch.uint8), "state": randn(SAMPLES, TINY["state_dim"]), "hint": randn(SAMPLES, TINY["hint_dim"]),
        "instructions": [tokens(n) for n in (3, 0, 1)], "reasonings": [tokens(n) for n in (4, 2, 0)],
        "waypoints": waypoints, "valid": valid, "perception": perception,
        "times": torch.rand(SAMPLES * GROUPS, generator=generator),
        "noise": randn(SAMPLES * GROUPS, a["horizon"], a["action_dim"]),
    }


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--out", default="vectors/driver-gradients.safetensors")
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    generator = torch.Generator().manual_seed(arguments.seed)
    single = {name: values(name, shape, generator) for name, shape in driver_network.shapes(TINY).items()}
    batch = draw(generator)
    double = {name: value.double().requires_grad_() for name, value in single.items()}
    exact = {k: x.double() if torch.is_tensor(x) and x.is_floating_point() else x for k, x in batch.items()}
    exact["pixels"] = batch["bytes"].double() / 127.5 - 1
    losses = driver_network.losses(double, TINY, exact)
    sum(w * loss for w, loss in zip((WEIGHTS[k] for k in ("text", "action", "perception")), losses)).backward()
    out = {f"value.{name}": value for name, value in single.items()}
    for name, value in double.items():
        if value.grad is not None:
            out[f"gradient.{name}"] = value.grad.float()
    for key, value in batch.items():
        if torch.is_tensor(value):
            out[f"batch.{key}"] = value.to(torch.uint8) if value.dtype == torch.bool else value
        else:
            out.update({f"batch.{key}.{s}": torch.tensor(own, dtype=torch.int32) for s, own in enumerate(value)})
    out["losses"] = torch.stack(losses).detach().float()
    save_file(out, arguments.out, metadata={"oracle": f"torch {torch.__version__}", "seed": str(arguments.seed)})
    print([f"{loss.item():.6f}" for loss in losses], sum(value.numel() for value in single.values()), "parameters")


if __name__ == "__main__":
    main()
