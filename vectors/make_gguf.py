#!/usr/bin/env python3
"""Makes tiny random GGUF files in the quantisation mixes of llama.cpp, and the logits llama.cpp computes with them.

    python vectors/make_gguf.py [--out DIR] [--seed N] [--only NAME] [--every]

Without --every it makes the committed set; with it, every model in every mix.
"""

import argparse
import pathlib
import shutil
import tempfile
import zlib
from dataclasses import replace

import gguf
import llama_cpp
import numpy as np
import torch
import transformers
from safetensors.numpy import save_file

import gguf_write
import llama_oracle
import reference
import store
from gguf_cases import COMMITTED, EVERY, FTYPES, MODELS, ZOO

TEXT = "the thing, and then \u00e9\u4f60\u597d 12345 in\n\n the <s> end"


def quantize(source, target, mix):
    """`source` (F32) to `target` in a named mix, or with every format in one file."""
    if mix == "F32":
        shutil.copyfile(source, target)
    elif mix == "ZOO":
        write_zoo(source, target)
    else:
        llama_oracle.quantize_file(source, target, FTYPES[mix])


def write_zoo(source, target):
    """Copies a GGUF, each matrix in the format that ZOO gives it."""
    reader, writer = copy_keys(source, target)
    for tensor in reader.tensors:
        kind = next((kind for part, kind in ZOO if part in tensor.name), None)
        if kind is None or len(tensor.shape) < 2:
            writer.add_tensor(tensor.name, tensor.data)
        else:
            data, raw = llama_oracle.quantize_array(tensor.data, kind)
            writer.add_tensor(tensor.name, data, raw_dtype=raw)
    finish(writer)


def add_fused_kv_b(model, spec, path):
    """Adds attn_kv_b to a file with the split pair, as ik_llama.cpp's converter writes; llama.cpp itself refuses such files."""
    split = path.with_suffix(".split")
    path.rename(split)
    reader, writer = copy_keys(split, path)
    for tensor in reader.tensors:
        writer.add_tensor(tensor.name, tensor.data, raw_dtype=tensor.tensor_type)
    for name, array in gguf_write.tensors_of(model, replace(spec, kv_b="fused")).items():
        if "attn_kv_b" in name:
            data, raw = llama_oracle.quantize_array(array, "Q8_0")
            writer.add_tensor(name, data, raw_dtype=raw)
    finish(writer)
    split.unlink()


def copy_keys(source, target):
    """A reader of `source` and a writer of `target` that already has all of its keys."""
    reader = gguf.GGUFReader(source)
    writer = gguf.GGUFWriter(target, bytes(reader.fields["general.architecture"].parts[-1]).decode())
    for field in reader.fields.values():
        if field.name.startswith("GGUF.") or field.name == "general.architecture":
            continue
        sub_type = field.types[-1] if field.types[0] == gguf.GGUFValueType.ARRAY else None
        writer.add_key_value(field.name, field.contents(), field.types[0], sub_type)
    return reader, writer


def finish(writer):
    """Writes everything out."""
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()


def build(spec, seed):
    """The transformers model whose weights a GGUF model carries; dialects of one model share their weights."""
    family = spec.name.rsplit("-", 1)[0] if spec.kv_b else spec.name
    generator = torch.Generator().manual_seed(zlib.crc32(f"{seed}/{family}".encode()))
    model = reference.build(spec.hf_arch, spec.config, generator, calm=True)
    tokens = reference.draw(reference.PROMPT_TOKENS, spec.config["vocab_size"], generator)
    while reference.router_gap(model, tokens) < 1e-3:
        tokens = reference.draw(reference.PROMPT_TOKENS, spec.config["vocab_size"], generator)
    return model, tokens


def make(spec, mixes, out, seed):
    """All wanted mixes of one model. The F32 file is checked against transformers first: it proves the writer."""
    model, tokens = build(spec, seed)
    with tempfile.TemporaryDirectory() as scratch:
        source = pathlib.Path(scratch) / "f32.gguf"
        gguf_write.write(model, replace(spec, kv_b="split") if spec.kv_b == "both" else spec, source)
        exact = reference.logits_of(model, tokens).numpy()
        error = np.abs(llama_oracle.logits(source, tokens) - exact).max() / exact.std()
        print(f"{spec.name:24} llama.cpp F32 against transformers: {error:.1e} std", flush=True)
        if error > 5e-3:
            raise RuntimeError(f"{spec.name}: the F32 file does not compute what transformers does")
        for mix in mixes:
            folder = out / f"gguf-{spec.name}-{mix.lower()}"
            shutil.rmtree(folder, ignore_errors=True)
            folder.mkdir(parents=True)
            quantize(source, folder / "model.gguf", mix)
            logits = llama_oracle.logits(folder / "model.gguf", tokens)
            stepwise = llama_oracle.logits(folder / "model.gguf", tokens, batch=1)
            save_file(
                dict(tokens=tokens.int().numpy(), logits=logits,
                     text_tokens=llama_oracle.tokenize(folder / "model.gguf", TEXT, True)),
                folder / "expected.safetensors",
                metadata=dict(oracle=f"llama.cpp of llama-cpp-python {llama_cpp.__version__}", mix=mix, seed=str(seed), text=TEXT))
            if spec.kv_b == "both":
                add_fused_kv_b(model, spec, folder / "model.gguf")
            print(f"  {mix:10} {store.folder_bytes(folder) / 1024:7.0f} KiB  mean KL from f32 {kl(exact, logits):.1e},"
                  f" llama.cpp from itself token by token {kl(logits, stepwise):.1e}", flush=True)


def kl(reference_logits, other_logits):
    """Mean over positions of the divergence of softmax(other) from softmax(reference)."""
    p, q = (torch.from_numpy(logits).double().log_softmax(-1) for logits in (reference_logits, other_logits))
    return (p.exp() * (p - q)).sum(-1).mean().item()


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=pathlib.Path, default=pathlib.Path(__file__).parent)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--only", help="make the models whose name contains this")
    parser.add_argument("--every", action="store_true", help="every mix of every model, not only the committed ones")
    args = parser.parse_args()
    torch.set_num_threads(1)
    transformers.logging.set_verbosity_error()
    for spec in MODELS:
        mixes = EVERY + (["ZOO"] if spec.name == "llama" else []) if args.every else [
            mix for name, mix in COMMITTED if name == spec.name]
        if mixes and (args.only is None or args.only in spec.name):
            make(spec, mixes, args.out, args.seed)


if __name__ == "__main__":
    main()
