"""Writing checkpoints in the spellings and precisions that are found in the wild."""

import copy
import json
import pathlib

import torch
from safetensors.torch import load_file, save_file

FP8_MAX = 448.0
FP8_BLOCK = 128
TORCH_DTYPES = dict(f32=torch.float32, bf16=torch.bfloat16, f16=torch.float16, fp8=torch.bfloat16)
# DeepSeek keeps these out of FP8; everything else that is a matrix is quantised.
NOT_FP8 = ("embed_tokens", "lm_head", "shared_head.head", "mlp.gate.", "eh_proj", "norm", "bias")


def save(model, case, folder, mtp=None):
    """Writes `model` into `folder` as `case` asks, and returns the weights as stored, read back in f32: {name: tensor}."""
    options = {} if case.shard_bytes is None else dict(max_shard_size=case.shard_bytes)
    keep_f32 = {name: tensor for name, tensor in model.state_dict().items() if "e_score_correction_bias" in name}
    # A copy, because casting a module rounds its rotary frequencies as well.
    copy.deepcopy(model).to(TORCH_DTYPES[case.dtype]).save_pretrained(folder, **options)
    (folder / "generation_config.json").unlink(missing_ok=True)
    if case.dtype != "f32" or mtp is not None:
        rewrite_tensors(folder, case, keep_f32, mtp_tensors(model, mtp) if mtp is not None else {})
    rewrite_config(folder / "config.json", case)
    return stored_weights(folder)


def rewrite_tensors(folder, case, keep_f32, extra):
    """Puts router biases back in f32 (as published), adds `extra`, and quantises to FP8 where the case asks for it."""
    for path in sorted(folder.glob("model*.safetensors")):
        tensors = load_file(path)
        tensors.update({name: tensor.clone() for name, tensor in keep_f32.items() if name in tensors})
        if path.name == "model.safetensors":
            tensors.update({name: tensor.to(TORCH_DTYPES[case.dtype]) if tensor.dim() > 1 or "norm" in name else tensor
                            for name, tensor in extra.items()})
        if case.dtype == "fp8":
            tensors = quantize_fp8(tensors, case.power_of_two_scales)
        save_file(tensors, path, metadata=dict(format="pt"))


def quantize_fp8(tensors, power_of_two):
    """Matrices to e4m3 with one f32 factor per 128x128 block, `<name>_scale_inv`: stored * factor = weight, despite the name."""
    result = {}
    for name, tensor in tensors.items():
        if tensor.dim() != 2 or any(part in name for part in NOT_FP8):
            result[name] = tensor
            continue
        weight = tensor.float()
        rows, cols = weight.shape
        quantized = torch.empty_like(weight)
        scales = torch.empty(-(-rows // FP8_BLOCK), -(-cols // FP8_BLOCK))
        for r in range(scales.shape[0]):
            for c in range(scales.shape[1]):
                block = (slice(r * FP8_BLOCK, (r + 1) * FP8_BLOCK), slice(c * FP8_BLOCK, (c + 1) * FP8_BLOCK))
                scale = weight[block].abs().max() / FP8_MAX
                if power_of_two:
                    scale = torch.exp2(torch.ceil(torch.log2(scale)))
                scales[r, c] = scale
                quantized[block] = weight[block] / scale
        result[name] = quantized.to(torch.float8_e4m3fn)
        result[name + "_scale_inv"] = scales
    return result


def dequantize_fp8(tensors):
    """The inverse of `quantize_fp8`, in f32."""
    result = {}
    for name, tensor in tensors.items():
        if name.endswith("_scale_inv"):
            continue
        if tensor.dtype == torch.float8_e4m3fn:
            scales = tensors[name + "_scale_inv"]
            full = scales.repeat_interleave(FP8_BLOCK, 0).repeat_interleave(FP8_BLOCK, 1)
            tensor = tensor.float() * full[: tensor.shape[0], : tensor.shape[1]]
        result[name] = tensor.float()
    return result


def stored_weights(folder):
    """All tensors of a folder in f32, FP8 dequantised."""
    tensors = {}
    for path in sorted(folder.glob("model*.safetensors")):
        tensors.update(load_file(path))
    return dequantize_fp8(tensors)


def mtp_tensors(model, mtp):
    """The prediction layer under its published names, with the copies of embedding and head that DeepSeek ships."""
    prefix = f"model.layers.{model.config.num_hidden_layers}."
    layer = mtp.layers[0]
    tensors = {
        "embed_tokens.weight": model.model.embed_tokens.weight,
        "shared_head.head.weight": model.lm_head.weight,
        "shared_head.norm.weight": layer.post_norm.weight,
        "enorm.weight": layer.enorm.weight,
        "hnorm.weight": layer.hnorm.weight,
        "eh_proj.weight": layer.eh_proj.weight,
    }
    for name, tensor in layer.mtp_block.state_dict().items():
        if name == "mlp.experts.gate_up_proj":
            for expert, matrix in enumerate(tensor):
                gate, up = matrix.chunk(2)
                tensors[f"mlp.experts.{expert}.gate_proj.weight"] = gate
                tensors[f"mlp.experts.{expert}.up_proj.weight"] = up
        elif name == "mlp.experts.down_proj":
            for expert, matrix in enumerate(tensor):
                tensors[f"mlp.experts.{expert}.down_proj.weight"] = matrix
        else:
            tensors[name] = tensor
    return {prefix + name: tensor.detach().clone().contiguous() for name, tensor in tensors.items()}


def load_stored(model, mtp, stored):
    """Puts stored (rounded) weights back into `model` and `mtp`, so that what is expected is what the file says."""
    layers = model.config.num_hidden_layers
    prefix = f"model.layers.{layers}."
    main = {name: tensor for name, tensor in stored.items() if not name.startswith(prefix)}
    fill(model, fuse_experts(main))
    if mtp is not None:
        layer = fuse_experts({name[len(prefix):]: tensor for name, tensor in stored.items() if name.startswith(prefix)})
        own = dict(enorm="enorm", hnorm="hnorm", eh_proj="eh_proj", post_norm="shared_head.norm")
        fill(mtp.layers[0], {
            name: layer[name.replace(name.split(".")[0], own[name.split(".")[0]], 1) if name.split(".")[0] in own
                        else name.removeprefix("mtp_block.")]
            for name in mtp.layers[0].state_dict()
        })


def fuse_experts(tensors):
    """Per-expert matrices to the stacked ones that transformers holds in memory."""
    result, experts = {}, {}
    for name, tensor in tensors.items():
        head, found, tail = name.partition("mlp.experts.")
        if not found:
            result[name] = tensor
            continue
        index, matrix, _ = tail.split(".")
        experts.setdefault(head, {}).setdefault(matrix, {})[int(index)] = tensor
    for head, matrices in experts.items():
        stack = {kind: torch.stack([by_index[i] for i in range(len(by_index))]) for kind, by_index in matrices.items()}
        result[head + "mlp.experts.gate_up_proj"] = torch.cat([stack["gate_proj"], stack["up_proj"]], dim=1)
        result[head + "mlp.experts.down_proj"] = stack["down_proj"]
    return result


def fill(module, tensors):
    """load_state_dict that insists on everything except a tied head."""
    missing, unexpected = module.load_state_dict(tensors, strict=False)
    if unexpected or any(name != "lm_head.weight" for name in missing):
        raise RuntimeError(f"stored weights do not match the model: missing {missing}, unexpected {unexpected}")


def rewrite_config(path, case):
    """config.json in the spelling of the case, plus what the case stores besides."""
    config = json.loads(path.read_text())
    if case.arch == "deepseek_v3" and not case.mtp and case.spelling == "published":
        # The other spelling keeps transformers 5.23's habit of announcing a prediction layer that is not in the file.
        config["num_nextn_predict_layers"] = 0
    if case.spelling == "published":
        config = published_spelling(config)
    if case.dtype == "fp8":
        config["quantization_config"] = dict(
            activation_scheme="dynamic", fmt="e4m3", quant_method="fp8", weight_block_size=[FP8_BLOCK, FP8_BLOCK])
        if case.power_of_two_scales:
            config["quantization_config"]["scale_fmt"] = "ue8m0"
    path.write_text(json.dumps(config, indent=2) + "\n")


def published_spelling(config):
    """What the configurations on the hub look like: rope_theta and rope_scaling apart, torch_dtype, num_experts, router keys."""
    rope = config.pop("rope_parameters")
    config["rope_theta"] = rope.pop("rope_theta")
    kind = rope.pop("rope_type", "default")
    rope.pop("type", None)
    deepseek = config["model_type"].startswith("deepseek")
    if kind == "default":
        config["rope_scaling"] = None
    else:
        config["rope_scaling"] = {"type" if deepseek or kind == "linear" else "rope_type": kind, **rope}
    config["torch_dtype"] = config.pop("dtype")
    if "num_local_experts" in config:
        config["num_experts"] = config.pop("num_local_experts")
    if deepseek:
        config.pop("head_dim", None)
        config.pop("qk_head_dim", None)
        config.pop("rope_interleave", None)
        v3 = config["model_type"] == "deepseek_v3"
        config.setdefault("topk_method", "noaux_tc" if v3 else "greedy")
        config["scoring_func"] = "sigmoid" if v3 else "softmax"
        config["moe_layer_freq"] = 1
        config["ep_size"] = 1
    elif config["model_type"] == "llama":
        if config["head_dim"] * config["num_attention_heads"] == config["hidden_size"]:
            config.pop("head_dim")
    config.pop("transformers_version", None)
    return config


def folder_bytes(folder):
    """Size of everything in a folder."""
    return sum(path.stat().st_size for path in pathlib.Path(folder).rglob("*") if path.is_file())
