#!/usr/bin/env python3
"""Speed of training the driver's network in torch, on random samples of the shape that
crates/ergon-train/examples/train_bench.rs uses: forward, backward, clipping, AdamW.

    python docs/benchmarks/train_driver_torch.py [--batch N] [--updates N] [--threads N]

Single precision and bfloat16 autocast, each with micro-batches of several sizes; the better counts.
"""

import argparse
import json
import pathlib
import sys
import time

import torch

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "vectors"))
import driver_network  # noqa: E402

INSTRUCTION, REASONING, GROUPS = 6, 16, 2
TURNING_DIM = 3  # inputs for learning only


def sizes():
    config = json.loads((ROOT / "crates/ergon-train/src/driver/driver_config.json").read_text())
    v, t, a = config["vision_config"], config["text_config"], config["action_config"]
    side = v["patch_size"]
    return {
        "vision": {"cameras": [(c["width"] // side, c["height"] // side) for c in v["cameras"]],
                   "patch_values": side * side * v["num_channels"], "cell_values": v["stem_cell_size"] ** 2 * v["num_channels"],
                   "cell_channels": v["stem_channels"], "stem": v["stem_size"], "hidden": v["hidden_size"],
                   "layers": v["num_hidden_layers"], "heads": v["num_attention_heads"],
                   "intermediate": v["intermediate_size"], "merge": v["spatial_merge_size"]},
        "decoder": {"vocab": t["vocab_size"], "hidden": t["hidden_size"], "layers": t["num_hidden_layers"],
                    "heads": t["num_attention_heads"], "kv_lora_rank": t["kv_lora_rank"], "nope": t["qk_nope_head_dim"],
                    "rope": t["qk_rope_head_dim"], "v_head": t["v_head_dim"], "intermediate": t["intermediate_size"],
                    "dense_layers": t["first_k_dense_replace"], "experts": t["n_routed_experts"],
                    "experts_per_token": t["num_experts_per_tok"], "shared_experts": t["n_shared_experts"],
                    "moe_intermediate": t["moe_intermediate_size"], "routed_scaling": t["routed_scaling_factor"],
                    "rope_theta": t["rope_theta"]},
        "action": {"horizon": a["horizon"], "action_dim": a["action_dim"], "hidden": a["hidden_size"],
                   "layers": a["num_hidden_layers"], "heads": a["num_attention_heads"],
                   "intermediate": a["intermediate_size"]},
        "state_dim": config["state_dim"] + TURNING_DIM, "hint_dim": config["hint_dim"], "perception_dim": config["perception_dim"],
        "rms_norm_eps": t["rms_norm_eps"], "special": {"bos": 0, "think": 1, "end_think": 2},
    }


def draw(c, n, generator):
    v, a, vocab = c["vision"], c["action"], c["decoder"]["vocab"]
    randn = lambda *shape: torch.randn(shape, generator=generator)
    tokens = lambda k: torch.randint(3, vocab, (k,), generator=generator).tolist()
    bytes_ = torch.randint(0, 256, (n, driver_network.patches(v), v["patch_values"]), generator=generator)
    return {
        "pixels": bytes_ / 127.5 - 1, "state": randn(n, c["state_dim"]), "hint": randn(n, c["hint_dim"]),
        "instructions": [tokens(INSTRUCTION) for _ in range(n)], "reasonings": [tokens(REASONING) for _ in range(n)],
        "waypoints": randn(n, a["horizon"], a["action_dim"]), "valid": torch.ones(n, a["horizon"], dtype=torch.bool),
        "perception": randn(n, c["perception_dim"]), "times": torch.rand(n * GROUPS, generator=generator),
        "noise": randn(n * GROUPS, a["horizon"], a["action_dim"]),
    }


def rate(c, arguments, autocast, micro):
    generator = torch.Generator().manual_seed(1)
    p = {}
    for name, shape in driver_network.shapes(c).items():
        values = torch.ones(shape) if "norm" in name else torch.randn(shape, generator=generator) / shape[-1] ** 0.5
        p[name] = values.requires_grad_(not name.endswith("e_score_correction_bias"))
    trained = [value for value in p.values() if value.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=1e-3, fused=True)
    batches = [draw(c, micro, generator) for _ in range(arguments.batch // micro)]

    def update():
        for batch in batches:
            with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
                text, action, perception = driver_network.losses(p, c, batch)
            ((0.3 * text + action + 0.5 * perception) / len(batches)).backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step()
        optimizer.zero_grad()

    update()
    start = time.perf_counter()
    for _ in range(arguments.updates):
        update()
    return arguments.updates * len(batches) * micro / (time.perf_counter() - start)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--updates", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    torch.set_num_threads(arguments.threads)
    c = sizes()
    best = 0.0
    for autocast in (False, True):
        for micro in (8, 32, 64):
            found = rate(c, arguments, autocast, micro)
            best = max(best, found)
            kind = "bf16 autocast" if autocast else "f32"
            print(f"torch {torch.__version__}, {kind}, micro-batch {micro}: {found:.1f} samples/s", flush=True)
    print(f"best: {best:.1f} samples/s")


if __name__ == "__main__":
    main()
