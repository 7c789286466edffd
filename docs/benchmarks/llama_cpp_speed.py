#!/usr/bin/env python3
"""Times llama.cpp through llama-cpp-python: prefill and decode rates of one GGUF file, JSON on stdout.

    python docs/benchmarks/llama_cpp_speed.py MODEL.gguf [--threads 1,2] [--flash-attention off,on] [--prefill 512] [--decode 128]
                                              [--depth 0] [--repeats 3]

Tokeniser and sampler are outside the clock, as in llama-bench. Every combination of the options is tried, so that the rival is shown
at its best; the medians are over the repeats after one warm-up.
"""

import argparse
import itertools
import json
import pathlib
import random
import statistics
import sys
import time

import llama_cpp

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parents[2] / "vectors"))
import llama_oracle  # noqa: E402  (the path above)

F16 = 1  # ggml type of the KV cache: llama.cpp's default


def rates(path, threads, flash_attention, args):
    """(prefill tokens/s, decode tokens/s) per repeat."""
    rng = random.Random(1)
    total = args.depth + args.prefill + args.decode + 8
    with llama_oracle.session(path, total, threads, int(flash_attention), F16) as (model, context):
        vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
        tokens = [rng.randrange(3, vocab) for _ in range(total)]
        memory = llama_cpp.llama_get_memory(context)
        prefill, decode = [], []
        for _ in range(args.repeats + 1):
            llama_cpp.llama_memory_clear(memory, True)
            for start in range(0, args.depth, 512):
                llama_oracle.decode(context, tokens[start : min(start + 512, args.depth)], start, False)
            llama_cpp.llama_synchronize(context)
            begin = time.perf_counter()
            for start in range(args.depth, args.depth + args.prefill, 512):
                llama_oracle.decode(context, tokens[start : min(start + 512, args.depth + args.prefill)], start, False)
            llama_cpp.llama_synchronize(context)
            middle = time.perf_counter()
            for start in range(args.depth + args.prefill, args.depth + args.prefill + args.decode):
                llama_oracle.decode(context, tokens[start : start + 1], start, False)
            llama_cpp.llama_synchronize(context)
            prefill.append(args.prefill / (middle - begin))
            decode.append(args.decode / (time.perf_counter() - middle))
    return prefill[1:], decode[1:]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=pathlib.Path)
    parser.add_argument("--threads", default="1,2")
    parser.add_argument("--flash-attention", default="off,on")
    parser.add_argument("--prefill", type=int, default=512)
    parser.add_argument("--decode", type=int, default=128)
    parser.add_argument("--depth", type=int, default=0, help="tokens already in the KV cache")
    parser.add_argument("--repeats", type=int, default=3)
    args = parser.parse_args()
    runs = []
    for threads, flash in itertools.product(map(int, args.threads.split(",")), args.flash_attention.split(",")):
        prefill, decode = rates(args.model, threads, flash == "on", args)
        runs.append(dict(threads=threads, flash_attention=flash,
                         prefill_tokens_per_second=round(statistics.median(prefill), 1),
                         decode_tokens_per_second=round(statistics.median(decode), 2),
                         decode_spread=[round(min(decode), 2), round(max(decode), 2)]))
    print(json.dumps(dict(program=f"llama.cpp (llama-cpp-python {llama_cpp.__version__})", model=args.model.name,
                          system=llama_cpp.llama_print_system_info().decode().strip(), prefill=args.prefill, decode=args.decode,
                          depth=args.depth, runs=runs), indent=2))


if __name__ == "__main__":
    main()
