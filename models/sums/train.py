"""Trains the built-in demonstration model: a DeepSeek-V3-shaped decoder of a few hundred thousand weights that adds
and subtracts, and writes down the digits before it answers.

    python models/sums/train.py --out models/sums

It exists so that a fresh machine has a model to run: latent attention, routed and shared experts, a tokenizer, a chat
template and reasoning, end to end, with answers that anyone can check. Versions: requirements.txt beside this file.
"""

import argparse
import json
import pathlib
import random
import time

import torch
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers
from transformers import DeepseekV3Config, DeepseekV3ForCausalLM

SPECIAL = ["<|end|>", "<|user|>", "<|assistant|>", "<think>", "</think>"]
CHARACTERS = "0123456789+-=?,; \n" + "abcdefghijklmnopqrstuvwxyzWHC'." + "等于多少加减是"
TEMPLATE = (
    "{% for message in messages %}<|{{ message.role }}|>{{ message.content }}"
    "{% if message.role == 'assistant' %}<|end|>{% endif %}{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|><think>\n{% endif %}"
)


def tokenizer():
    """One token for each character, and the marks of the chat format."""
    vocabulary = {token: index for index, token in enumerate(SPECIAL + list(CHARACTERS))}
    vocabulary["<unk>"] = len(vocabulary)
    built = Tokenizer(models.WordLevel(vocabulary, unk_token="<unk>"))
    built.pre_tokenizer = pre_tokenizers.Split(Regex(r"[\s\S]"), behavior="isolated")
    built.decoder = decoders.Fuse()
    built.add_special_tokens([AddedToken(token, special=token.startswith("<|")) for token in SPECIAL])
    return built


def question(rng, a, sign, b):
    spoken = {"+": ("plus", "加"), "-": ("minus", "减")}[sign]
    return rng.choice([
        f"{a}{sign}{b}",
        f"{a} {sign} {b} = ?",
        f"What is {a} {sign} {b}?",
        f"What is {a} {spoken[0]} {b}?",
        f"How much is {a} {spoken[0]} {b}?",
        f"{a}{spoken[1]}{b}等于多少?",
        f"{a}{sign}{b}是多少?",
    ])


def steps(a, sign, b):
    """The written calculation, from the last digit on, with what is carried."""
    lines, carry = [], 0
    for place in range(max(len(str(a)), len(str(b)))):
        x, y = a // 10**place % 10, b // 10**place % 10
        result = x + y + carry if sign == "+" else x - y - carry
        lines.append(f"{x}{sign}{y}{sign}{carry}={result}")
        carry = int(result > 9 or result < 0)
    return "; ".join(lines)


def example(rng):
    digits = rng.choice([1, 2, 2, 3, 3, 3])
    a, b = rng.randrange(10**digits), rng.randrange(10 ** rng.randint(1, digits))
    sign = rng.choice("+-")
    if sign == "-" and b > a:
        a, b = b, a
    answer = a + b if sign == "+" else a - b
    prompt = f"<|user|>{question(rng, a, sign, b)}<|assistant|><think>\n"
    return prompt, f"{steps(a, sign, b)}\n</think>\n\n{answer}<|end|>", answer


def config(vocab_size):
    return DeepseekV3Config(
        vocab_size=vocab_size, hidden_size=96, intermediate_size=256, moe_intermediate_size=64,
        num_hidden_layers=4, num_attention_heads=4, num_key_value_heads=4, n_shared_experts=1, n_routed_experts=8,
        num_experts_per_tok=2, n_group=1, topk_group=1, routed_scaling_factor=1.0, norm_topk_prob=True,
        kv_lora_rank=32, q_lora_rank=None, qk_rope_head_dim=16, qk_nope_head_dim=24, v_head_dim=24,
        first_k_dense_replace=1, max_position_embeddings=256, rope_parameters={"rope_type": "default", "rope_theta": 10000.0},
        bos_token_id=None, eos_token_id=0, pad_token_id=0, initializer_range=0.05, num_nextn_predict_layers=0,
    )


def batch(rng, built, size):
    """Token ids and targets; questions and padding are not trained on."""
    rows = []
    for _ in range(size):
        prompt, completion, _ = example(rng)
        prompt, completion = built.encode(prompt).ids, built.encode(completion).ids
        rows.append((prompt + completion, [-100] * len(prompt) + completion))
    width = max(len(ids) for ids, _ in rows)
    ids = torch.tensor([ids + [0] * (width - len(ids)) for ids, _ in rows])
    targets = torch.tensor([targets + [-100] * (width - len(targets)) for _, targets in rows])
    return ids, targets


def balance(model, counts, rate=0.001):
    """DeepSeek V3's bias update: experts with less than their share become easier to choose."""
    for layer, count in counts.items():
        bias = model.model.layers[layer].mlp.gate.e_score_correction_bias
        bias += rate * torch.sign(count.mean() - count)
        count.zero_()


def watch_experts(model, counts):
    for index, layer in enumerate(model.model.layers):
        if hasattr(layer.mlp, "gate"):
            counts[index] = torch.zeros(layer.mlp.gate.num_experts)

            def hook(_module, _inputs, output, index=index):
                chosen = output[2] if output[2].dtype == torch.int64 else output[1]
                counts[index] += torch.bincount(chosen.flatten(), minlength=len(counts[index])).float()

            layer.mlp.gate.register_forward_hook(hook)


def accuracy(model, built, seed, count):
    """The share of unseen questions that greedy decoding answers exactly."""
    rng, right = random.Random(seed), 0
    for _ in range(count):
        prompt, _, answer = example(rng)
        ids = torch.tensor([built.encode(prompt).ids])
        out = model.generate(ids, max_new_tokens=64, do_sample=False, attention_mask=torch.ones_like(ids))
        text = built.decode(out[0, ids.shape[1]:].tolist(), skip_special_tokens=False)
        right += text.split("</think>")[-1].replace("<|end|>", "").strip() == str(answer)
    return right / count


def save(model, built, out):
    model.to(torch.bfloat16).save_pretrained(out)
    (out / "generation_config.json").write_text(json.dumps({"eos_token_id": 0, "temperature": 0.0}, indent=2) + "\n")
    built.save(str(out / "tokenizer.json"))
    described = {"chat_template": TEMPLATE, "eos_token": "<|end|>", "tokenizer_class": "PreTrainedTokenizerFast"}
    (out / "tokenizer_config.json").write_text(json.dumps(described, indent=2, ensure_ascii=False) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--steps", type=int, default=1600)
    parser.add_argument("--batch", type=int, default=64)
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    torch.manual_seed(options.seed)
    torch.set_num_threads(options.threads)
    rng, built = random.Random(options.seed), tokenizer()
    model = DeepseekV3ForCausalLM(config(built.get_vocab_size()))
    print(f"{sum(p.numel() for p in model.parameters())} weights", flush=True)
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3, betas=(0.9, 0.98), weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 3e-3, options.steps, pct_start=0.05)
    counts, started = {}, time.time()
    watch_experts(model, counts)
    for step in range(1, options.steps + 1):
        ids, targets = batch(rng, built, options.batch)
        logits = model(ids, use_cache=False).logits[:, :-1]
        loss = torch.nn.functional.cross_entropy(logits.flatten(0, 1), targets[:, 1:].flatten(), ignore_index=-100)
        optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
        schedule.step()
        with torch.no_grad():
            balance(model, counts)
        if step % 100 == 0:
            print(f"step {step} loss {loss.item():.4f} {time.time() - started:.0f} s", flush=True)
    model.eval()
    save(model, built, options.out)
    model.float()
    print(f"accuracy on 300 unseen questions, weights rounded to bf16: {accuracy(model, built, 10_000, 300):.3f}")


if __name__ == "__main__":
    main()
