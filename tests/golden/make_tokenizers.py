#!/usr/bin/env python3
"""Golden ids of the tokenizers, made by the PyPI package `tokenizers` (and Python's unicodedata, Unicode 14).

  python3 make_tokenizers.py DATA OUT      DATA: a folder with vocab/, SST-2/, wikitext-103/ ...; OUT: this folder

Writes for roberta-base (byte-level BPE) and bert-base-uncased (WordPiece):
  tokenizer_blocks.tsv   one line per Unicode block and tricky lines: text (hex of UTF-8), ids of both
  tokenizer_hashes.tsv   file, lines hashed together, FNV-1a (32 bits) over the ids of every 1,000 lines, of both
"""
import sys, unicodedata
from tokenizers import Tokenizer, models, normalizers, pre_tokenizers

data, out = sys.argv[1], sys.argv[2]
bpe = Tokenizer(models.BPE.from_file(f"{data}/vocab/roberta-base/vocab.json", f"{data}/vocab/roberta-base/merges.txt"))
bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
vocab = {w.rstrip("\n"): i for i, w in enumerate(open(f"{data}/vocab/bert-base-uncased/vocab.txt", encoding="utf-8"))}
bert = Tokenizer(models.WordPiece(vocab, unk_token="[UNK]", max_input_chars_per_word=100))
bert.normalizer = normalizers.BertNormalizer(lowercase=True)
bert.pre_tokenizer = pre_tokenizers.BertPreTokenizer()


def ids(tok, text):
    return tok.encode(text, add_special_tokens=False).ids


lines = []
size = 128                                   # Unicode blocks begin at multiples of 16, most of them at multiples of 128
for start in range(0, 0x110000, size):
    chars = [chr(c) for c in range(start, start + size)
             if not 0xD800 <= c < 0xE000 and unicodedata.category(chr(c)) not in ("Cn", "Co", "Cs")]
    ideographs = 0x3400 <= start < 0x9F00 or 0xAC00 <= start < 0xD700 or 0x17000 <= start < 0x18C00 or start >= 0x20000
    if not chars or (ideographs and start % 0x1000):              # of the long uniform blocks, one line in sixteen
        continue
    step = max(1, len(chars) // 24)
    some = chars[::step][:24]
    lines.append("".join(some[:12]) + " " + " ".join(some[12:]))
lines += [
    "", " ", "  leading and trailing  ", "I'm you're they've he'd we'll it's can't", "I'M YOU'RE", "'tis 'S", "tabs\tand\nnewlines\r\n",
    "a  b   c    d", "x\u00a0y\u2003z", "3.14 1,000,000 1/2 \u00bd \u00b2", "na\u00efve caf\u00e9 cafe\u0301 \u00c5ngstr\u00f6m",
    "\u0130stanbul \u03a3\u03a6\u0399\u0393\u039e \u1e9e Stra\u00dfe", "\u4e2d\u6587\u6d4b\u8bd5 mixed \u65e5\u672c\u8a9e \ud55c\uad6d\uc5b4",
    "\u0627\u0644\u0639\u0631\u0628\u064a\u0629 \u05e2\u05d1\u05e8\u05d9\u05ea \u0e20\u0e32\u0e29\u0e32\u0e44\u0e17\u0e22",
    "\U0001f468\u200d\U0001f469\u200d\U0001f467 \U0001f1e9\U0001f1ea \u2764\ufe0f", "zero\u200bwidth soft\u00adhyphen bom\ufeff",
    "nul\x00 bell\x07 del\x7f nel\x85 replacement\ufffd", "mongolian\u180evowel ogham\u1680space", "w" * 99, "w" * 100, "w" * 101,
    "wo" * 300, "!!!???...", "<s> </s> <pad> <mask> [CLS] [SEP] [UNK]", "e\u0301" * 60, "\u0958 \u0929 \uac01 \u1112\u1161\u11ab",
    "http://example.org/a?b=c&d=e#f", "end with space ", "\ud7a3\u3000\u2028x\u2029y", "A\u030a\u0327 z\u0335",
]
with open(f"{out}/tokenizer_blocks.tsv", "w") as f:
    for text in lines:
        f.write("\t".join([text.encode().hex(), " ".join(map(str, ids(bpe, text))), " ".join(map(str, ids(bert, text)))]) + "\n")


def fnv(h, values):
    for v in values:
        for k in (0, 8, 16):
            h = ((h ^ (v >> k & 255)) * 16777619) & 0xFFFFFFFF
    return ((h ^ 255) * 16777619) & 0xFFFFFFFF


total = 0
with open(f"{out}/tokenizer_hashes.tsv", "w") as f:
    for name, limit in (("SST-2/train.tsv", 48000), ("wikitext-103/wiki.valid.tokens", 4000), ("CoNLL-2003/eng.testa", 4000)):
        text = open(f"{data}/{name}", encoding="utf-8", newline="").read().split("\n")[:limit]
        for at in range(0, len(text), 1000):
            a = b = 2166136261
            for line in text[at:at + 1000]:
                a, b = fnv(a, ids(bpe, line)), fnv(b, ids(bert, line))
            f.write(f"{name}\t{min(1000, len(text) - at)}\t{a:08x}\t{b:08x}\n")
        total += len(text)
print(len(lines), "lines with ids,", total, "lines hashed")
