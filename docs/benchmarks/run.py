#!/usr/bin/env python3
"""Times ergon beside llama.cpp on the same GGUF files, alternating, and prints a table and JSON.

    python docs/benchmarks/run.py MODEL.gguf... [--rounds 3] [--prefill 512] [--decode 128] [--depth 0] [--threads 2] [--ergon PATH]

vectors/bench_models.py makes the models. Each round runs one program after the other in processes of their own, so that whatever else the
machine does falls on both; llama.cpp runs with flash attention off and on, and its better rate of each kind counts. The machine must be
otherwise idle: a rival whose threads spin loses far more to a busy core than its speed says.
"""

import argparse
import json
import pathlib
import statistics
import subprocess
import sys

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[1]


def llama_cpp(model, args):
    """Best (prefill, decode) rate of llama.cpp over its flags, one repeat."""
    command = [sys.executable, HERE / "llama_cpp_speed.py", model, "--threads", str(args.threads), "--repeats", "1",
               "--prefill", str(args.prefill), "--decode", str(args.decode), "--depth", str(args.depth)]
    runs = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)["runs"]
    return (max(run["prefill_tokens_per_second"] for run in runs), max(run["decode_tokens_per_second"] for run in runs))


def ergon(model, args):
    """(prefill, decode) rate of ergon, one repeat."""
    command = [args.ergon, "bench", model, "--threads", str(args.threads), "--repeat", "1", "--json",
               "--prefill", str(args.prefill), "--decode", str(args.decode), "--depth", str(args.depth)]
    result = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    return result["prefill_tokens_per_s"]["median"], result["decode_tokens_per_s"]["median"]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("models", type=pathlib.Path, nargs="+")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--prefill", type=int, default=512)
    parser.add_argument("--decode", type=int, default=128)
    parser.add_argument("--depth", type=int, default=0)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--ergon", type=pathlib.Path, default=ROOT / "target" / "release" / "ergon")
    args = parser.parse_args()
    results = []
    print(f"{'model':24} {'program':10} {'prefill tok/s':>14} {'decode tok/s':>13}")
    for model in args.models:
        rates = {"llama.cpp": [], "ergon": []}
        for _ in range(args.rounds):
            rates["llama.cpp"].append(llama_cpp(model, args))
            rates["ergon"].append(ergon(model, args))
        for program, pairs in rates.items():
            prefill, decode = (statistics.median(values) for values in zip(*pairs))
            print(f"{model.name:24} {program:10} {prefill:14.1f} {decode:13.2f}", flush=True)
            results.append(dict(model=model.name, program=program, prefill_tokens_per_second=prefill, decode_tokens_per_second=decode,
                                rounds=pairs))
    print(json.dumps(dict(threads=args.threads, prefill=args.prefill, decode=args.decode, depth=args.depth, results=results)))


if __name__ == "__main__":
    main()
