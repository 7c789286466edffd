"""Golden vectors of the weight formats, made by the reference implementation (Python package gguf 0.19.0, numpy 2).

    python make_formats.py [seed]     writes formats.bin beside this file

Records, little-endian, until the end of the file: name (16 bytes, padded with zeros), kind (u32: 0 read, 1 write),
number of weights (u32), number of bytes (u32), the bytes, the weights as singles. "read": the weights are the reading
of the bytes. "write": the bytes are the rounding of the weights.
"""

import pathlib
import struct
import sys

import gguf
import numpy as np
from gguf import GGMLQuantizationType as T
from gguf import quants

READ = {
    "f32": T.F32, "f16": T.F16, "bf16": T.BF16, "q4_0": T.Q4_0, "q4_1": T.Q4_1, "q5_0": T.Q5_0, "q5_1": T.Q5_1,
    "q8_0": T.Q8_0, "q2_k": T.Q2_K, "q3_k": T.Q3_K, "q4_k": T.Q4_K, "q5_k": T.Q5_K, "q6_k": T.Q6_K,
    "iq4_nl": T.IQ4_NL, "iq4_xs": T.IQ4_XS, "mxfp4": T.MXFP4,
}
# Where the reference has a writer and ours promises the same rounding.
WRITE = {"f16": T.F16, "bf16": T.BF16, "q4_0": T.Q4_0, "q8_0": T.Q8_0, "mxfp4": T.MXFP4}
HALVES = {
    "q4_0": [0], "q4_1": [0, 2], "q5_0": [0], "q5_1": [0, 2], "q8_0": [0], "q2_k": [80, 82], "q3_k": [108],
    "q4_k": [0, 2], "q5_k": [0, 2], "q6_k": [208], "iq4_nl": [0], "iq4_xs": [0],
}


def record(name, kind, weights, data):
    weights = np.ascontiguousarray(weights, dtype="<f4").ravel()
    data = np.ascontiguousarray(data).view(np.uint8).ravel()
    return name.encode().ljust(16, b"\0") + struct.pack("<3I", kind, weights.size, data.size) + data.tobytes() + weights.tobytes()


def main():
    random = np.random.default_rng(int(sys.argv[1]) if len(sys.argv) > 1 else 1)
    out = []
    for name, kind in READ.items():
        block, size = gguf.GGML_QUANT_SIZES[kind]
        blocks = 512 // block
        data = random.integers(0, 256, (blocks, size), dtype=np.uint8)
        for at in HALVES.get(name, []):
            scales = random.normal(0, 1, blocks).astype(np.float16)
            scales[0] = 6e-8  # subnormal
            data[:, at:at + 2] = scales.view(np.uint8).reshape(-1, 2)
        if block == 1:
            values = random.normal(0, 1, blocks).astype(np.float32)
            values[:4] = [0.0, -0.0, 1e-40, 65504.0]
            data = quants.quantize(values.reshape(1, -1), kind).view(np.uint8)
        weights = quants.dequantize(data.reshape(1, -1), kind)
        out.append(record(name, 0, weights, data))
    for name, kind in WRITE.items():
        weights = random.normal(0, 1, (1, 512)).astype(np.float32)
        weights[0, :32] = 0
        weights[0, 32:64] = np.round(weights[0, 32:64])  # ties
        weights[0, 64:96] *= 1e-3
        out.append(record(name, 1, weights, quants.quantize(weights, kind)))
    path = pathlib.Path(__file__).with_name("formats.bin")
    path.write_bytes(b"".join(out))
    print(f"{path}: {path.stat().st_size} bytes, gguf {__import__('importlib.metadata').metadata.version('gguf')}")


main()
