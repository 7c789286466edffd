#!/usr/bin/env python3
"""Makes the tiny random checkpoints and, with transformers, what they must compute.

    python vectors/make.py [--out DIR] [--seed N] [--only NAME]

The committed set is `--out vectors --seed 1`. Any other seed must pass the parity test as well: `cargo xtask vectors --seed N`.
"""

import argparse
import copy
import pathlib
import shutil
import zlib

import torch
import transformers
from safetensors.torch import save_file

import reference
import store
from cases import BASES, CASES


def make(case, folder, seed):
    """One case: the checkpoint and expected.safetensors. Returns the spread of the logits."""
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}/{case.name}".encode()))
    overrides = {**BASES[case.arch], **case.config}
    model = reference.build(case.arch, overrides, generator)
    if case.negative_bias:
        for layer in model.model.layers[model.config.first_k_dense_replace:]:
            layer.mlp.gate.e_score_correction_bias -= 1.5
    mtp = reference.make_mtp(model, generator) if case.mtp else None
    if folder.exists():
        shutil.rmtree(folder)
    folder.mkdir(parents=True)
    store.load_stored(model, mtp, store.save(model, case, folder, mtp))

    vocab = model.config.vocab_size
    tokens = reference.draw(reference.PROMPT_TOKENS, vocab, generator)
    while reference.router_gap(model, tokens) < reference.STEADY_ROUTER_GAP:
        tokens = reference.draw(reference.PROMPT_TOKENS, vocab, generator)
    prompt, greedy = reference.greedy_of(model, generator, vocab)
    expected = dict(
        tokens=tokens.int(), logits=reference.logits_of(model, tokens), greedy_prompt=prompt.int(), greedy=greedy.int().clone())
    if mtp is not None:
        expected["mtp_logits"] = reference.mtp_logits_of(model, mtp, tokens)
    notes = dict(oracle=f"transformers {transformers.__version__}", dtype=case.dtype, seed=str(seed))
    if case.dtype in ("bf16", "f16"):
        notes["native_error"] = f"{native_error(model, case, tokens, expected['logits']):.2e}"
    save_file({name: tensor.contiguous() for name, tensor in expected.items()}, folder / "expected.safetensors", metadata=notes)
    return expected["logits"].std().item()


def native_error(model, case, tokens, logits):
    """How far transformers itself lands from `logits` when it also computes in the stored precision, in standard deviations."""
    native = copy.deepcopy(model)
    for parameter in native.parameters():
        parameter.data = parameter.data.to(store.TORCH_DTYPES[case.dtype])
    return ((reference.logits_of(native, tokens) - logits).abs().max() / logits.std()).item()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="make the cases whose name contains this")
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    transformers.logging.disable_progress_bar()
    total = 0
    for case in CASES:
        if args.only and args.only not in case.name:
            continue
        folder = args.out / case.name
        spread = make(case, folder, args.seed)
        size = store.folder_bytes(folder)
        total += size
        print(f"{case.name:28} {size / 1024:7.0f} KiB  logits std {spread:.2f}", flush=True)
    print(f"{total / 1e6:.2f} MB")


if __name__ == "__main__":
    main()
