#!/usr/bin/env python3
"""Runs models larger than a memory budget inside a control group of that budget, and holds the answers against those without one.

    python docs/benchmarks/memory.py prove --ergon BIN MODEL... [--share 0.5 0.25 0.125] [--prompt 2000] [--new 256]
    python docs/benchmarks/memory.py curve --ergon BIN MODEL [--share ...] [--locality 0.9] [--llama] [--svg FILE]

`prove`: for each model and each budget (a share of the model's size, plus what is no routed expert, as `ergon inspect --memory` tells it),
one run of `ergon generate --memory BUDGET` in a group whose limit is the budget and 5 %. Told: the group's peak, whether the kernel killed
anything, and whether the tokens are those of a run without a budget. `curve`: decoding speed against the share of the routed experts that
fits, measured by `ergon bench --cold`, and with --llama llama.cpp's over the mapped file in a group of the same budget and 5 %, which its page cache
fills. Needs root and Linux
control groups, version 1 or 2, with the memory controller.
"""

import argparse
import json
import os
import pathlib
import random
import subprocess
import sys
import time

V1 = pathlib.Path("/sys/fs/cgroup/memory")
V2 = pathlib.Path("/sys/fs/cgroup")
NAME = "ergon-memory-benchmark"


class Group:
    """A control group with a memory limit; a process enters it by writing its own id."""

    def __init__(self, limit):
        self.v2 = not V1.exists()
        if self.v2:
            (V2 / "cgroup.subtree_control").write_text("+memory")
        self.path = (V2 if self.v2 else V1) / NAME
        self.path.mkdir()
        (self.path / ("memory.max" if self.v2 else "memory.limit_in_bytes")).write_text(str(limit))
        swap = self.path / "memory.swap.max"
        if swap.exists():
            swap.write_text("0")

    def run(self, command):
        """(exit status, standard output, standard error) of a command inside."""
        enter = f'echo $$ > {self.path}/cgroup.procs && exec "$@"'
        done = subprocess.run(["sh", "-c", enter, "sh", *command], capture_output=True, text=True)
        return done.returncode, done.stdout, done.stderr

    def peak(self):
        return int((self.path / ("memory.peak" if self.v2 else "memory.max_usage_in_bytes")).read_text())

    def kills(self):
        name = "memory.events" if self.v2 else "memory.oom_control"
        fields = dict(line.split() for line in (self.path / name).read_text().splitlines())
        return int(fields.get("oom_kill", 0))

    def close(self):
        for _ in range(50):
            try:
                self.path.rmdir()
                return
            except OSError:
                time.sleep(0.1)


def ergon(binary, *args):
    done = subprocess.run([binary, *args, "--json"], capture_output=True, text=True)
    if done.returncode:
        sys.exit(f"{binary} {' '.join(args)}\n{done.stderr}")
    return json.loads(done.stdout)


def drop_cache(path):
    """Asks the system to drop the file from its page cache."""
    for file in [path] if path.is_file() else path.iterdir():
        with open(file, "rb") as opened:
            os.fsync(opened.fileno())
            os.posix_fadvise(opened.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def prompt(tokens):
    """Ids without pattern, below any vocabulary that matters."""
    state, ids = 1, []
    for _ in range(tokens):
        state = (state * 6364136223846793005 + 1442695040888963407) % 2**64
        ids.append(str((state >> 33) % 30000))
    return ",".join(ids)


def budget_of(binary, model, share, tokens):
    """A budget that has room for this share of the routed experts beside everything else."""
    plan = ergon(binary, "inspect", str(model), "--memory", "1MiB", "--tokens", str(tokens))
    memory = plan["memory"]
    others = memory["needed_bytes"] - memory["smallest_expert_cache_bytes"]
    return int(others + share * plan["bytes_routed_experts"]), plan


def prove(args):
    print(f"{'model':<16}{'model MiB':>10}{'budget MiB':>11}{'times':>7}{'peak/budget':>12}{'killed':>7}{'same tokens':>12}{'prefill/s':>10}{'decode/s':>9}")
    for model in args.models:
        common = ["generate", str(model), "--tokens", prompt(args.prompt), "--max-tokens", str(args.new), "--ignore-eos",
                  "--temperature", "1", "--seed", "7"]
        free = ergon(args.ergon, *common)
        for share in args.share:
            budget, plan = budget_of(args.ergon, model, share, args.prompt + args.new)
            size = plan["bytes_resident"] + plan["bytes_routed_experts"]
            drop_cache(model)
            group = Group(int(budget * 1.05))
            status, out, error = group.run([args.ergon, *common, "--memory", f"{budget // 1024}KiB", "--json"])
            peak, kills = group.peak(), group.kills()
            group.close()
            if status:
                print(f"{model.stem:<16} failed with {status}: {error.strip()}")
                continue
            found = json.loads(out)
            same = found["token_ids"] == free["token_ids"] and len(found["token_ids"]) == args.new
            timings = found["timings"]
            print(f"{model.stem:<16}{size / 2**20:>10.0f}{budget / 2**20:>11.0f}{size / budget:>7.1f}{peak / budget:>12.3f}{kills:>7}"
                  f"{'yes' if same else 'NO':>12}{timings['prefill_tokens_per_s']:>10.1f}{timings['decode_tokens_per_s']:>9.1f}", flush=True)


# Without repacking, which would copy the weights to memory of its own; the rest of its defaults.
LLAMA = """
import sys, time
import llama_cpp
from llama_cpp import Llama
defaults = llama_cpp.llama_cpp.llama_model_default_params
def mapped():
    params = defaults()
    params.use_extra_bufts = False
    return params
llama_cpp.llama_cpp.llama_model_default_params = mapped
model, prompt, new = sys.argv[1], [int(t) for t in sys.argv[2].split(",")], [int(t) for t in sys.argv[3].split(",")]
llama = Llama(model, n_ctx=1024, n_threads=2, n_threads_batch=2, verbose=False)
llama.eval(prompt)
start = time.time()
for token in new:
    llama.eval([token])
print(len(new) / (time.time() - start))
"""


def local_tokens(count, locality, vocab=32768, subjects=64):
    """Tokens as `ergon bench --locality` draws them: most come from the same part of the vocabulary as the one before."""
    draw, tokens, last = random.Random(1), [], 0
    size = vocab // subjects
    for _ in range(count):
        last = last // size * size + draw.randrange(size) if draw.random() < locality else draw.randrange(vocab)
        tokens.append(str(last))
    return ",".join(tokens)


def llama_rate(model, budget, new, locality):
    """Tokens per second of llama.cpp over the mapped file in a group of the budget and 5 %; None if it does not get through."""
    drop_cache(model)
    group = Group(int(budget * 1.05))
    status, out, _ = group.run([sys.executable, "-c", LLAMA, str(model), prompt(64), local_tokens(new, locality)])
    group.close()
    return float(out.split()[-1]) if status == 0 else None


def curve(args):
    model = args.models[0]
    bench = ["bench", str(model), "--prefill", "512", "--decode", str(args.new), "--repeat", "3", "--locality", str(args.locality)]
    whole = ergon(args.ergon, *bench)
    resident = whole["decode_tokens_per_s"]["median"]
    print(f"{model.stem}, locality {args.locality}: resident {resident:.1f} tokens/s, prefill {whole['prefill_tokens_per_s']['median']:.1f}")
    print(f"{'share':>6}{'budget MiB':>11}{'decode/s':>9}{'kept':>7}{'prefill/s':>10}{'found':>7}{'MB/token':>9}{'from cache':>11}{'disk GB/s':>10}{'of limit':>9}"
          f"{'waiting':>8}{'top tenth':>10}{'repeated':>9}" + (f"{'llama.cpp':>10}" if args.llama else ""))
    points = [(1.0, resident)]
    for share in args.share:
        budget, _ = budget_of(args.ergon, model, share, 1024)
        found = ergon(args.ergon, *bench, "--memory", f"{budget // 1024}KiB", "--cold")
        experts = found["memory"]["experts"]
        share = experts["in_memory"] / experts["total"]
        cache, rate = found["cache"], found["decode_tokens_per_s"]["median"]
        points.append((share, rate))
        line = (f"{share:>6.3f}{budget / 2**20:>11.0f}{rate:>9.2f}{rate / resident:>7.2f}{found['prefill_tokens_per_s']['median']:>10.1f}"
                f"{cache['hit_rate']:>7.2f}{cache['bytes_read_per_token'] / 1e6:>9.1f}{cache['page_cache_share']:>11.2f}{cache['disk_gb_s']:>10.2f}"
                f"{cache['fraction_of_limit'] or 0:>9.2f}{cache['stall_share']:>8.2f}{cache['top_tenth_share']:>10.2f}{cache['repeated_share']:>9.2f}")
        if args.llama:
            rival = llama_rate(model, budget, args.new, args.locality)
            line += f"{rival:>10.2f}" if rival else f"{'failed':>10}"
        print(line, flush=True)
    if args.svg:
        args.svg.write_text(picture(model.stem, sorted(points)))


def picture(name, points):
    """Speed kept against the share of the routed experts in memory, as SVG."""
    width, height, left, bottom = 560, 320, 60, 50
    most = max(rate for _, rate in points)
    x = lambda share: left + share * (width - left - 20)
    y = lambda rate: height - bottom - rate / most * (height - bottom - 30)
    path = " ".join(f"{x(share):.1f},{y(rate):.1f}" for share, rate in points)
    dots = "".join(f'<circle cx="{x(s):.1f}" cy="{y(r):.1f}" r="4"><title>{s:.3f}: {r:.1f}</title></circle>' for s, r in points)
    ticks = "".join(f'<text x="{x(s):.1f}" y="{height - bottom + 20}" text-anchor="middle">{s:g}</text>' for s in (0, 0.25, 0.5, 0.75, 1))
    marks = "".join(f'<text x="{left - 8}" y="{y(most * part) + 4:.1f}" text-anchor="end">{most * part:.0f}</text>' for part in (0, 0.5, 1))
    return (f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" font-family="sans-serif" font-size="13">'
            f'<rect width="{width}" height="{height}" fill="white"/><text x="{left}" y="20">{name}: decoded tokens per second</text>'
            f'<path d="M{left} 30V{height - bottom}H{width - 20}" fill="none" stroke="black"/>{ticks}{marks}'
            f'<text x="{(left + width) / 2}" y="{height - 10}" text-anchor="middle">share of the routed experts that the budget holds</text>'
            f'<polyline points="{path}" fill="none" stroke="#0969da" stroke-width="2"/><g fill="#0969da">{dots}</g></svg>\n')


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", choices=["prove", "curve"])
    parser.add_argument("models", nargs="+", type=pathlib.Path)
    parser.add_argument("--ergon", required=True)
    parser.add_argument("--share", nargs="+", type=float, default=[0.5, 0.25, 0.125])
    parser.add_argument("--prompt", type=int, default=2000)
    parser.add_argument("--new", type=int, default=None, help="tokens to decode (prove: 256, curve: 64)")
    parser.add_argument("--locality", type=float, default=0.9)
    parser.add_argument("--llama", action="store_true", help="also llama.cpp (llama-cpp-python) over the same file")
    parser.add_argument("--svg", type=pathlib.Path)
    args = parser.parse_args()
    if args.new is None:
        args.new = 256 if args.what == "prove" else 64
    prove(args) if args.what == "prove" else curve(args)


if __name__ == "__main__":
    main()
