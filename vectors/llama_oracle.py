"""llama.cpp through llama-cpp-python's low-level interface: quantising files and computing logits."""

import contextlib
import ctypes
import os

import gguf
import llama_cpp
import numpy as np

GGML = ctypes.CDLL(os.path.join(os.path.dirname(llama_cpp.__file__), "lib", "libggml-base.so"))
GGML.ggml_quantize_chunk.restype = ctypes.c_size_t
GGML.ggml_quantize_chunk.argtypes = [ctypes.c_int, ctypes.c_void_p, ctypes.c_void_p] + [ctypes.c_int64] * 3 + [ctypes.c_void_p]
_SILENT = llama_cpp.llama_log_callback(lambda level, text, data: None)
llama_cpp.llama_log_set(_SILENT, ctypes.c_void_p())
llama_cpp.llama_backend_init()
DISABLED = 0  # LLAMA_FLASH_ATTN_TYPE_DISABLED


def quantize_file(source, target, ftype):
    """One of llama.cpp's named mixes, with its own choice of a format per tensor."""
    params = llama_cpp.llama_model_quantize_default_params()
    params.ftype, params.nthread = ftype, 1
    if llama_cpp.llama_model_quantize(str(source).encode(), str(target).encode(), ctypes.byref(params)) != 0:
        raise RuntimeError(f"llama.cpp cannot quantise {source} to ftype {ftype}")


def quantize_array(array, type_name):
    """Rows of f32 to one format: (bytes array [..., row bytes], ggml type)."""
    kind = gguf.GGMLQuantizationType[type_name]
    block, size = gguf.GGML_QUANT_SIZES[kind]
    array = np.ascontiguousarray(array, dtype=np.float32)
    cols = array.shape[-1]
    out = np.zeros((*array.shape[:-1], cols // block * size), dtype=np.uint8)
    rows = array.size // cols
    written = GGML.ggml_quantize_chunk(kind, array.ctypes.data, out.ctypes.data, 0, rows, cols, None)
    assert written == out.nbytes, (type_name, written, out.nbytes)
    return out, kind


@contextlib.contextmanager
def session(path, context_tokens, threads=1, flash_attention=DISABLED, kv_type=gguf.GGMLQuantizationType.F32, batch=512):
    """An opened model and context; KV in f32 unless told otherwise, so that only the weights are rounded."""
    model_params = llama_cpp.llama_model_default_params()
    model_params.n_gpu_layers = 0
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), model_params)
    if not model:
        raise RuntimeError(f"llama.cpp cannot load {path}")
    params = llama_cpp.llama_context_default_params()
    params.n_ctx, params.n_batch, params.n_ubatch = context_tokens, batch, batch
    params.n_threads = params.n_threads_batch = threads
    params.flash_attn_type = flash_attention
    params.type_k = params.type_v = kv_type
    context = llama_cpp.llama_init_from_model(model, params)
    if not context:
        raise RuntimeError(f"llama.cpp cannot make a context for {path}")
    try:
        yield model, context
    finally:
        llama_cpp.llama_free(context)
        llama_cpp.llama_model_free(model)


def decode(context, tokens, start, every_logit):
    """Feeds tokens at positions start.. to sequence 0; wants logits of all of them or of the last."""
    batch = llama_cpp.llama_batch_init(len(tokens), 0, 1)
    batch.n_tokens = len(tokens)
    for index, token in enumerate(tokens):
        batch.token[index], batch.pos[index] = int(token), start + index
        batch.n_seq_id[index], batch.seq_id[index][0] = 1, 0
        batch.logits[index] = every_logit or index + 1 == len(tokens)
    status = llama_cpp.llama_decode(context, batch)
    llama_cpp.llama_batch_free(batch)
    if status != 0:
        raise RuntimeError(f"llama_decode failed with {status}")


def logits(path, tokens, batch=512):
    """[tokens, vocab] f32, one thread, `batch` tokens at a time."""
    rows = []
    with session(path, len(tokens) + 8) as (model, context):
        vocab = llama_cpp.llama_vocab_n_tokens(llama_cpp.llama_model_get_vocab(model))
        for start in range(0, len(tokens), batch):
            part = tokens[start : start + batch]
            decode(context, part, start, True)
            pointer = llama_cpp.llama_get_logits(context)
            rows.append(np.ctypeslib.as_array(pointer, shape=(len(part), vocab)).copy())
    return np.concatenate(rows)


def tokenize(path, text, add_special):
    """llama.cpp's token ids for a text."""
    params = llama_cpp.llama_model_default_params()
    params.vocab_only = True
    model = llama_cpp.llama_model_load_from_file(str(path).encode(), params)
    data = text.encode()
    ids = (llama_cpp.llama_token * (len(data) + 8))()
    vocab = llama_cpp.llama_model_get_vocab(model)
    count = llama_cpp.llama_tokenize(vocab, data, len(data), ids, len(ids), add_special, True)
    llama_cpp.llama_model_free(model)
    return np.array(ids[:count], dtype=np.int32)
