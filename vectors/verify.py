#!/usr/bin/env python3
"""Makes vectors with a fresh seed in a temporary folder and runs the parity tests on them.

    python vectors/verify.py [--seed N] [--every] [--keep DIR]

A program that fits only the committed vectors fails here. --every adds all GGUF mixes (about 150 MB).
"""

import argparse
import os
import pathlib
import random
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, default=random.SystemRandom().randrange(2, 1_000_000))
    parser.add_argument("--every", action="store_true")
    parser.add_argument("--keep", type=pathlib.Path, help="make the vectors here and leave them")
    args = parser.parse_args()
    print(f"seed {args.seed}", flush=True)
    with tempfile.TemporaryDirectory() as scratch:
        out = args.keep or pathlib.Path(scratch)
        common = ["--out", str(out), "--seed", str(args.seed)]
        subprocess.run([sys.executable, HERE / "make.py", *common], check=True)
        subprocess.run([sys.executable, HERE / "make_gguf.py", *common, *(["--every"] if args.every else [])], check=True)
        test = ["cargo", "test", "-p", "ergon-engine", "--test", "parity", "--test", "parity_invariance", "--", "--nocapture"]
        raise SystemExit(subprocess.run(test, cwd=HERE.parent, env=dict(os.environ, ERGON_VECTORS=str(out))).returncode)


if __name__ == "__main__":
    main()
