"""Makes the tokenizer fixtures of tests/tokenizer.rs and the ids and texts that the reference implementations give.

    pip install tokenizers==0.22.2 transformers==5.5.4 sentencepiece==0.2.3 gguf==0.19.0 llama-cpp-python==0.3.36
    python make_tokenizers.py [--out tokenizer] [--random 0] [--seed 1]

Every tokenizer is trained here on a few paragraphs of our own, with the pre-tokenizer of a published family. Oracles:
the `tokenizers` library for tokenizer.json, llama.cpp for GGUF, `sentencepiece` for scored vocabularies. With --random N
the list of strings gets N random ones more; the tests must pass on those as well.
"""

import argparse
import io
import json
import pathlib
import random

import gguf
import llama_cpp
import sentencepiece
from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, pre_tokenizers, processors, trainers

CORPUS = """The road bends left past the old mill, and the driver lifts off the throttle before the hill.
A gate checks every command: speed, distance, permission. It's what we're told, they've seen it, I'll do it, he'd say so.
def brake(speed_mps: float, gap_m: float) -> float:
    if gap_m < 2.0 * speed_mps:
        return -3.5  # comfortable
    return 0.0
for (int i = 0; i < 1024; i++) { total += weights[i] * inputs[i]; }
前方路口左转，然后直行三百米。自动驾驶汽车必须在红灯前停车。今天天气很好，我们去公园散步吧。
日本の道路では左側通行です。車は止まれ、信号は赤。ありがとうございます。
자동차는 신호등 앞에서 멈춰야 합니다. 안녕하세요.
Машина останавливается перед светофором. Водитель смотрит налево и направо.
El coche gira a la izquierda; después sigue recto. Où est la sortie ? Straße, Ärger, übermäßig.
1 22 333 4444 55555 3.14159 2024-12-31 1,000,000 0xFF 1e-9
    four spaces        eight\ttab\t\ttabs
मौसम अच्छा है। السيارة تتوقف عند الإشارة. 🚗🛑👩‍👩‍👧‍👦🇩🇪
""" * 4

STRINGS = [
    "",
    " ",
    "  ",
    "   ",
    "Hello, world!",
    " leading space",
    "trailing space ",
    "  two leading",
    "a  b   c    d     e",
    "tabs\tand\t\ttabs",
    "lines\nand\n\nlines\n\n\n and more\r\nwindows\r\n\r\n",
    "\n",
    "\n\n   \n  x",
    "I'm, you're, they've, he'd, we'll, it's, DON'T, I'LL, WE'VE, o'clock",
    "numbers 1 12 123 1234 12345 123456 1234567 3.14159 1,000,000 ½ ² ٣ Ⅷ",
    "x=1;y=22;z=333",
    "def f(x):\n    return x**2  # square\n\n\n\tif (a&&b||!c) { d[i] = e->f; }",
    "前方路口左转，然后直行三百米。",
    "混合 mixed 中文and英文123数字",
    "日本の道路　では「左側通行」です。",
    "자동차는 신호등 앞에서",
    "Машина перед светофором",
    "Straße übermäßig ÀÉÎÕÜ naïve café cafe\u0301",
    "السيارة تتوقف عند الإشارة",
    "मौसम अच्छा है।",
    "emoji 🚗🛑 👩‍👩‍👧‍👦 🇩🇪 👍🏽",
    "math ∑∫√≤≥ → ⇒ ± × ÷ € £ ¥",
    "zero\u200bwidth\u200djoiner\ufeffbom\u00a0nbsp\u2003em\u3000ideographic",
    "\u2028line separator\u2029",
    "control \x00\x01\x07\x1b\x7f end",
    "unassigned \U000e0001\U0010ffff private \ue000",
    "!!!???...---___===###$$$%%%^^^&&&***((()))",
    "'''\"\"\"```",
    "http://example.com/a?b=c&d=e#f",
    "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa",
    "                                     x",
    "▁▁ lower one eighth ▁block▁",
    "<s>not special?</s> <|begin|>",
    "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n",
    "text<|im_end|>  <|im_start|> spaced",
    "<think>\nhm\n</think>\n\nyes",
    "<0x41> <unk> [UNK]",
    "Ġ Ċ ģ are letters too",
    "ſ K long s and kelvin 'ſ",
    "ＦＵＬＬ ｗｉｄｔｈ ， 。 ！",
    "MixedCASEWords CamelCase snake_case SCREAMING_SNAKE",
]

GPT2 = r"'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+"
LLAMA3 = r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"
QWEN2 = LLAMA3.replace(r"\p{N}{1,3}", r"\p{N}")
DEEPSEEK3 = r"""[!"#$%&'()*+,\-./:;<=>?@\[\\\]^_`{|}~][A-Za-z]+|[^\r\n\p{L}\p{P}\p{S}]?[\p{L}\p{M}]+| ?[\p{P}\p{S}]+[\r\n]*|\s*[\r\n]+|\s+(?!\S)|\s+"""
DEEPSEEK_LETTERS = (
    "\\s?[A-Za-z\u00b5\u00c0-\u00d6\u00d8-\u00f6\u00f8-\u01ba\u01bc-\u01bf\u01c4-\u0293\u0295-\u02af"
    "\u0370-\u0373\u0376\u0377\u037b-\u037d\u037f\u0386\u0388-\u038a\u038c\u038e-\u03a1\u03a3-\u03f5"
    "\u03f7-\u0481\u048a-\u052f\u0531-\u0556\u10a0-\u10c5\u13a0-\u13f5\u13f8-\u13fd\u1c90-\u1cba"
    "\u1cbd-\u1cbf\u1d00-\u1d2b\u1d6b-\u1d77\u1d79-\u1d9a\u1e00-\u1f15\u1f18-\u1f1d\u1f20-\u1f45"
    "\u1f48-\u1f4d\u1f50-\u1f57\u1f59\u1f5b\u1f5d\u1f5f-\u1f7d\u1f80-\u1fb4\u1fb6-\u1fbc\u1fbe"
    "\u1fc2-\u1fc4\u1fc6-\u1fcc\u1fd0-\u1fd3\u1fd6-\u1fdb\u1fe0-\u1fec\u1ff2-\u1ff4\u1ff6-\u1ffc\u2102"
    "\u2107\u210a-\u2113\u2115\u2119-\u211d\u2124\u2126\u2128\u212a-\u212d\u212f-\u2134\u2139"
    "\u213c-\u213f\u2145-\u2149\u214e\u2183\u2184\u2c00-\u2c7b\u2c7e-\u2ce4\u2ceb-\u2cee\u2cf2\u2cf3"
    "\ua640-\ua66d\ua680-\ua69b\ua722-\ua76f\ua771-\ua787\ua78b-\ua78e\uab70-\uabbf\ufb00-\ufb06"
    "\ufb13-\ufb17\uff21-\uff3a\uff41-\uff5a\U00010400-\U0001044f\U000104b0-\U000104d3"
    "\U000104d8-\U000104fb\U00010c80-\U00010cb2\U00010cc0-\U00010cf2\U000118a0-\U000118df"
    "\U0001e900-\U0001e943]+"
)


def split(pattern):
    return pre_tokenizers.Split(Regex(pattern), "isolated")


def byte_level(**options):
    return pre_tokenizers.ByteLevel(add_prefix_space=False, **{"use_regex": False, **options})


# Name in GGUF -> the pre-tokenizer of the publisher's tokenizer.json, and whether whole words skip the merges.
FAMILIES = {
    "qwen2": ([split(QWEN2), byte_level()], False),
    "llama-bpe": ([split(LLAMA3), byte_level()], True),
    "deepseek-llm": (
        [
            split("[\r\n]"),
            split(DEEPSEEK_LETTERS),
            split("\\s?[!-/:-~\uff01-\uff0f\uff1a-\uff5e\u2018-\u201f\u3000-\u3002]+"),
            split("\\s+$"),
            split("[\u4e00-\u9fa5\u0800-\u4e00\uac00-\ud7ff]+"),
            pre_tokenizers.Digits(individual_digits=True),
            byte_level(),
        ],
        False,
    ),
    "deepseek-v3": ([split(r"\p{N}{1,3}"), split("[\u4e00-\u9fa5\u3040-\u309f\u30a0-\u30ff]+"), split(DEEPSEEK3), byte_level()], False),
    "smollm": ([pre_tokenizers.Digits(individual_digits=True), byte_level(use_regex=True)], False),
}
# Names whose rules are tried on the vocabulary of another family, in GGUF only.
GGUF_ONLY = {"default": "qwen2", "gpt-2": "qwen2", "deepseek-coder": "deepseek-llm", "tekken": "llama-bpe", "falcon": "smollm"}

SPECIAL = ["<|begin|>", "<|im_start|>", "<|im_end|>"]
USER_DEFINED = ["<think>", "</think>"]


def train_byte_level(pre, ignore_merges):
    tokenizer = Tokenizer(models.BPE(ignore_merges=ignore_merges))
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence(pre)
    tokenizer.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=640, initial_alphabet=sorted(pre_tokenizers.ByteLevel.alphabet()), special_tokens=[], show_progress=False
    )
    tokenizer.train_from_iterator(CORPUS.splitlines(keepends=True), trainer)
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in SPECIAL])
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in USER_DEFINED])
    bos = tokenizer.token_to_id("<|begin|>")
    tokenizer.post_processor = processors.TemplateProcessing(
        single="<|begin|> $A", pair="<|begin|> $A $B", special_tokens=[("<|begin|>", bos)]
    )
    return tokenizer


def writer(path, name):
    out = gguf.GGUFWriter(path, "llama")
    out.add_name(name)
    # A vocabulary is all that is wanted; llama.cpp asks for these all the same.
    out.add_context_length(128)
    out.add_embedding_length(32)
    out.add_block_count(1)
    out.add_feed_forward_length(64)
    out.add_head_count(1)
    out.add_layer_norm_rms_eps(1e-5)
    return out


def close(out):
    out.write_header_to_file()
    out.write_kv_data_to_file()
    out.close()


def write_byte_level_gguf(path, pre, tokenizer):
    vocab = tokenizer.get_vocab()
    tokens = sorted(vocab, key=vocab.get)
    kinds = [
        gguf.TokenType.CONTROL if token in SPECIAL else gguf.TokenType.USER_DEFINED if token in USER_DEFINED else gguf.TokenType.NORMAL
        for token in tokens
    ]
    out = writer(path, pre)
    out.add_tokenizer_model("gpt2")
    out.add_tokenizer_pre(pre)
    out.add_token_list(tokens)
    out.add_token_types(kinds)
    merges = json.loads(tokenizer.to_str())["model"]["merges"]
    out.add_token_merges([" ".join(pair) for pair in merges])
    out.add_bos_token_id(vocab["<|begin|>"])
    out.add_eos_token_id(vocab["<|im_end|>"])
    out.add_add_bos_token(True)
    close(out)


def train_sentence_piece():
    model = io.BytesIO()
    sentencepiece.SentencePieceTrainer.train(
        sentence_iterator=iter(CORPUS.splitlines()), model_writer=model, model_type="bpe", vocab_size=720,
        byte_fallback=True, character_coverage=0.98, normalization_rule_name="identity", remove_extra_whitespaces=False,
        split_digits=True, allow_whitespace_only_pieces=True, user_defined_symbols=["<|im_start|>", "<|im_end|>"],
        minloglevel=2, num_threads=1,
    )
    return model.getvalue()


def write_sentence_piece_gguf(path, processor, add_space_prefix):
    tokens, scores, kinds = [], [], []
    for index in range(processor.get_piece_size()):
        tokens.append(processor.id_to_piece(index))
        scores.append(processor.get_score(index))
        kind = gguf.TokenType.NORMAL
        if processor.is_unknown(index):
            kind = gguf.TokenType.UNKNOWN
        elif processor.is_control(index):
            kind = gguf.TokenType.CONTROL
        elif processor.is_byte(index):
            kind = gguf.TokenType.BYTE
        elif tokens[-1].startswith("<|"):
            kind = gguf.TokenType.USER_DEFINED
        kinds.append(kind)
    out = writer(path, "spm")
    out.add_tokenizer_model("llama")
    out.add_tokenizer_pre("default")
    out.add_token_list(tokens)
    out.add_token_scores(scores)
    out.add_token_types(kinds)
    out.add_bos_token_id(1)
    out.add_eos_token_id(2)
    out.add_unk_token_id(0)
    out.add_add_bos_token(True)
    out.add_add_eos_token(False)
    out.add_add_space_prefix(add_space_prefix)
    close(out)


def sentence_piece_as_json(processor):
    """The shape of a Llama 2 tokenizer.json: SentencePiece's merges rebuilt from the scores, legacy normalizer."""
    pieces = {processor.id_to_piece(i): i for i in range(processor.get_piece_size())}
    merges = []
    for piece, index in pieces.items():
        if processor.is_control(index) or processor.is_byte(index) or processor.is_unknown(index) or piece.startswith("<|"):
            continue
        for cut in range(1, len(piece)):
            if piece[:cut] in pieces and piece[cut:] in pieces:
                merges.append((index, pieces[piece[:cut]], pieces[piece[cut:]], (piece[:cut], piece[cut:])))
    merges = [pair for *_, pair in sorted(merges)]
    tokenizer = Tokenizer(models.BPE(vocab=pieces, merges=merges, unk_token="<unk>", fuse_unk=True, byte_fallback=True))
    from tokenizers import normalizers

    tokenizer.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    tokenizer.decoder = decoders.Sequence(
        [decoders.Replace("▁", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    )
    tokenizer.add_special_tokens([AddedToken(text, special=True, normalized=False) for text in ["<unk>", "<s>", "</s>"]])
    tokenizer.add_tokens([AddedToken(text, normalized=False) for text in ["<|im_start|>", "<|im_end|>"]])
    tokenizer.post_processor = processors.TemplateProcessing(single="<s> $A", pair="<s> $A <s> $B", special_tokens=[("<s>", 1)])
    return tokenizer


def json_case(tokenizer, strings):
    cases = []
    for text in strings:
        ids = tokenizer.encode(text).ids
        cases.append(
            {
                "ids": ids,
                "bare": tokenizer.encode(text, add_special_tokens=False).ids,
                "text": tokenizer.decode(ids),
                "text_with_special": tokenizer.decode(ids, skip_special_tokens=False),
            }
        )
    return cases


def llama_case(path, strings):
    model = llama_cpp.Llama(str(path), vocab_only=True, verbose=False)
    return [
        {
            "ids": model.tokenize(text.encode(), add_bos=True, special=True),
            "bare": model.tokenize(text.encode(), add_bos=False, special=True),
        }
        for text in strings
    ]


def random_string(rng):
    pools = [
        "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ",
        "0123456789",
        "  \t\n\r  ",
        "!\"#$%&'()*+,-./:;<=>?@[\\]^_`{|}~",
        "路口左转直行自动驾驶の道路ですありがとう신호등",
        "éèüßñçÀİıſ",
        "🚗🛑👩‍👧🇩🇪👍🏽",
        "Машинаслева",
        "السيارةमौसम",
        "\u00a0\u2003\u3000\u200b\ufeff\u0301\u0308",
        "½²٣Ⅷ€→∑",
    ]
    words = CORPUS.split()
    parts = []
    for _ in range(rng.randint(1, 12)):
        choice = rng.random()
        if choice < 0.35:
            parts.append(rng.choice(words))
        elif choice < 0.42:
            parts.append(rng.choice(SPECIAL + USER_DEFINED))
        elif choice < 0.5:
            parts.append(chr(rng.choice([rng.randint(1, 0xD7FF), rng.randint(0xE000, 0x10FFFF)])))
        else:
            pool = rng.choice(pools)
            parts.append("".join(rng.choice(pool) for _ in range(rng.randint(1, 6))))
    return "".join(part + rng.choice(["", "", " "]) for part in parts)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("--out", default=pathlib.Path(__file__).parent / "tokenizer", type=pathlib.Path)
    parser.add_argument("--random", default=0, type=int)
    parser.add_argument("--seed", default=1, type=int)
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    rng = random.Random(options.seed)
    strings = STRINGS + [random_string(rng) for _ in range(options.random)]
    expected = {"strings": strings, "json": {}, "gguf": {}}

    trained = {}
    for name, (pre, ignore_merges) in FAMILIES.items():
        trained[name] = tokenizer = train_byte_level(pre, ignore_merges)
        tokenizer.save(str(options.out / f"{name}.json"), pretty=False)
        expected["json"][name] = json_case(tokenizer, strings)
    for name in [*FAMILIES, *GGUF_ONLY]:
        path = options.out / f"{name}.gguf"
        write_byte_level_gguf(path, name, trained[GGUF_ONLY.get(name, name)])
        expected["gguf"][name] = llama_case(path, strings)

    processor = sentencepiece.SentencePieceProcessor(model_proto=train_sentence_piece())
    tokenizer = sentence_piece_as_json(processor)
    tokenizer.save(str(options.out / "spm.json"), pretty=False)
    expected["json"]["spm"] = json_case(tokenizer, strings)
    for name, prefix in [("spm", True), ("spm-no-prefix", False)]:
        path = options.out / f"{name}.gguf"
        write_sentence_piece_gguf(path, processor, prefix)
        expected["gguf"][name] = llama_case(path, strings)
    # SentencePiece itself knows no special tokens in text, so only strings without them are compared.
    expected["sentencepiece"] = [
        {"ids": processor.encode(text), "text": processor.decode(processor.encode(text))}
        if "<" not in text and "\x00" not in text else None
        for text in strings
    ]
    with open(options.out / "expected.json", "w", encoding="utf-8") as file:
        json.dump(expected, file, ensure_ascii=True, separators=(",", ":"))
        file.write("\n")

    for name in FAMILIES:
        pairs = zip(strings, expected["json"][name], expected["gguf"][name])
        different = [text for text, ours, theirs in pairs if ours["ids"] != theirs["ids"]]
        print(f"{name}: tokenizers and llama.cpp differ on {len(different)} of {len(strings)}: {different[:3]}")
    pairs = zip(strings, expected["sentencepiece"], expected["gguf"]["spm"], expected["json"]["spm"])
    pairs = [(text, ours["ids"], theirs["bare"], hf["bare"]) for text, ours, theirs, hf in pairs if ours]
    print(f"sentencepiece and llama.cpp differ on {[t for t, a, b, _ in pairs if a != b][:5]}")
    print(f"sentencepiece and its tokenizer.json differ on {[t for t, a, _, b in pairs if a != b][:5]}")


if __name__ == "__main__":
    main()
