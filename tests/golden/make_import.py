#!/usr/bin/env python3
"""Tiny published models with random weights, and what they answer: encoders by Hugging Face's own classes, multiplexed
ones written here from the definitions (docs/method.md), not from the published programs.

  python3 make_import.py FOLDER        (needs: torch, numpy, safetensors, transformers)

FOLDER/NAME/ gets config.json, model.safetensors or pytorch_model.bin, and out.safetensors (in.*, out.*); those with a
head get their tokenizer's files and texts.json (texts, pairs, logits) instead of out.safetensors.
"""
import json, math, os, sys
import torch, torch.nn.functional as F
from safetensors.torch import save_file
from transformers import BertConfig, BertModel, RobertaConfig, RobertaModel

folder = sys.argv[1]
torch.manual_seed(5)
torch.set_num_threads(1)
H, HEADS, INNER, LAYERS, B, N, S = 8, 2, 16, 2, 2, 3, 6


def write(name, config, state, results, torch_file=False):
    state = {k: v.detach().clone().contiguous() if not torch_file else v.detach() for k, v in state.items()}
    to = f"{folder}/{name}"
    os.makedirs(to, exist_ok=True)
    if torch_file:
        torch.save(state, f"{to}/pytorch_model.bin")
    else:
        save_file(state, f"{to}/model.safetensors")
    with open(f"{to}/config.json", "w") as f:
        json.dump(config, f, indent=1, sort_keys=True)
    save_file({k: v.detach().contiguous() for k, v in results.items()}, f"{to}/out.safetensors")


def encoders():
    for arch, config, model in (("roberta", RobertaConfig, RobertaModel), ("bert", BertConfig, BertModel)):
        pad = 1 if arch == "roberta" else 0
        eps = 1e-5 if arch == "roberta" else 1e-12
        c = config(vocab_size=40, hidden_size=H, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
                   intermediate_size=INNER, max_position_embeddings=20, type_vocab_size=1 if pad else 2,
                   pad_token_id=pad, layer_norm_eps=eps, initializer_range=0.5, attn_implementation="eager")
        m = model(c).eval()
        for p in m.parameters():
            p.data.add_(0.1 * torch.randn(p.shape))
        ids = torch.randint(3, 40, (B, S))
        mask = torch.ones(B, S, dtype=torch.long)
        ids[1, 4:], mask[1, 4:] = pad, 0
        types = torch.zeros(B, S, dtype=torch.long)
        if arch == "bert":
            types[:, 3:] = 1
        with torch.no_grad():
            y = m(input_ids=ids, attention_mask=mask, token_type_ids=types).last_hidden_state
        d = c.to_dict()
        keep = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
                "max_position_embeddings", "type_vocab_size", "pad_token_id", "layer_norm_eps", "hidden_act",
                "model_type")
        state = m.state_dict() if arch == "bert" else {"roberta." + k: v for k, v in m.state_dict().items()}
        write(arch, {k: d[k] for k in keep}, state,
              {"in.ids": ids.int(), "in.mask": mask.int(), "in.types": types.int(), "out.states": y},
              torch_file=arch == "bert")


def weights(arch):
    """The encoder's tensors, under the published names."""
    p = {}

    def layer(name, d, c):
        p[name + ".weight"], p[name + ".bias"] = 0.3 * torch.randn(d, c), 0.1 * torch.randn(d)

    def norm(name):
        p[name + ".weight"], p[name + ".bias"] = 1 + 0.1 * torch.randn(H), 0.1 * torch.randn(H)

    e = arch + ".embeddings."
    p[e + "word_embeddings.weight"] = torch.randn(V[arch], H)
    p[e + "position_embeddings.weight"] = 0.5 * torch.randn(24, H)
    p[e + "token_type_embeddings.weight"] = 0.5 * torch.randn(1 if arch == "roberta" else 2, H)
    p[e + "position_ids"] = torch.arange(24)[None]
    norm(e + "LayerNorm")
    for l in range(LAYERS):
        a = f"{arch}.encoder.layer.{l}."
        for part in ("query", "key", "value"):
            layer(f"{a}attention.self.{part}", H, H)
        layer(a + "attention.output.dense", H, H)
        norm(a + "attention.output.LayerNorm")
        layer(a + "intermediate.dense", INNER, H)
        layer(a + "output.dense", H, INNER)
        norm(a + "output.LayerNorm")
    return p, layer, norm


V = {"roberta": 60, "bert": 700}
PAD, EPS = {"roberta": 1, "bert": 0}, {"roberta": 1e-5, "bert": 1e-12}


def ln(p, name, x, eps):
    return F.layer_norm(x, (H,), p[name + ".weight"], p[name + ".bias"], eps)


def lin(p, name, x):
    return x @ p[name + ".weight"].T + p[name + ".bias"]


def encode(p, arch, x):
    """Post-norm layers; everything is attended."""
    eps = EPS[arch]
    for l in range(LAYERS):
        a = f"{arch}.encoder.layer.{l}."
        q, k, v = (lin(p, f"{a}attention.self.{n}", x).unflatten(-1, (HEADS, -1)).transpose(1, 2)
                   for n in ("query", "key", "value"))
        w = torch.softmax(q @ k.transpose(-1, -2) / math.sqrt(H // HEADS), -1)
        y = lin(p, a + "attention.output.dense", (w @ v).transpose(1, 2).flatten(2))
        x = ln(p, a + "attention.output.LayerNorm", x + y, eps)
        y = lin(p, a + "output.dense", F.gelu(lin(p, a + "intermediate.dense", x)))
        x = ln(p, a + "output.LayerNorm", x + y, eps)
    return x


def mixed(p, arch, ids, key):
    """ids [B, N, T], prefix and all -> mixed states [B, T, H]."""
    e, pad = arch + ".embeddings.", PAD[arch]
    T = ids.shape[-1]
    if arch == "roberta":
        token = (ids != pad).long()
        pos, again = pad + token.cumsum(-1) * token, torch.arange(T) + pad + 1
    else:
        pos, again = torch.arange(T), torch.arange(T)
    position, kind = p[e + "position_embeddings.weight"], p[e + "token_type_embeddings.weight"][0]
    x = ln(p, e + "LayerNorm", p[e + "word_embeddings.weight"][ids] + position[pos] + kind, EPS[arch])
    if key.dim() == 2:
        x = (x * key[None, :, None, :]).mean(1)
    else:
        x = torch.einsum("ncd,bntd->btc", key, x) / math.sqrt(N)
    return encode(p, arch, ln(p, e + "LayerNorm", x + position[again] + kind, EPS[arch]))


def muxed(name, arch, demux, output, variant="gaussian_hadamard", family="datamux", torch_file=False, old=False,
          depth=3):
    g, eps, K = F.gelu, EPS[arch], 5
    p, layer, norm = weights(arch)
    ortho = variant == "random_ortho"
    p["instance_embedding"] = torch.linalg.qr(torch.randn(N, H, H))[0] if ortho else torch.randn(N, H)
    ids = torch.randint(3, 40, (B, N, S))
    ids[1, 1, 4:] = ids[0, 2, 3:] = PAD[arch]
    filler, cls, first = (50, 51, V[arch] - 2) if arch == "roberta" else (680, 101, 678)
    full = ids
    if demux == "index":
        prefix = torch.full((N, N + 1), filler)
        for i in range(N):
            prefix[i, i], prefix[i, N] = first - i, cls
        full = torch.cat([prefix.expand(B, N, N + 1), ids], -1)
    else:
        full = ids.clone()
        full[:, :, 0] = cls
    P = N + 1 if demux == "index" else 0
    h = mixed(p, arch, full, p["instance_embedding"])
    own = h[:, None, P:].expand(B, N, S, H)                        # every own position, for every instance
    at = (h[:, P - 1] if P else h[:, 0])[:, None, None].expand(B, N, 1, H)

    def pick(x):
        return own if x == "tag" else at

    def declare_index(prefix):
        layer(prefix + "dense", H, 2 * H)
        norm(prefix + "layer_norm")

    def index(prefix, x):
        key = h[:, :N, None].expand(x.shape)
        return ln(p, prefix + "layer_norm", g(lin(p, prefix + "dense", torch.cat([key, x], -1))), eps)

    def declare_each(prefix):
        for i in range(N):
            layer(f"{prefix}demux_module.dense_{i}", H, H)
            norm(f"{prefix}demux_module.layer_norm_{i}")

    def each(prefix, x):
        return torch.stack([ln(p, f"{prefix}demux_module.layer_norm_{i}",
                               g(lin(p, f"{prefix}demux_module.dense_{i}", x[:, i])), eps) for i in range(N)], 1)

    x = pick(output)
    d, r = "demultiplexer.", "retrieval_head."
    if demux == "index":
        declare_index(d)
        declare_index(r)
        layer(r + "decoder", V[arch], H)
        p[r + "bias"] = p[r + "decoder.bias"]
        z = index(d, x)
        if family == "muxplm":
            layer("classifier", K, H)
            logits = lin(p, "classifier", z)
        elif output == "tag":
            layer(d + "decoder", K, H)
            p[d + "bias"] = p[d + "decoder.bias"]
            logits = lin(p, d + "decoder", z)
        else:
            layer(d + "dense_before_out_proj", H, H)
            layer(d + "out_proj", K, H)
            logits = lin(p, d + "out_proj", g(lin(p, d + "dense_before_out_proj", z)))
        recall = lin(p, r + "decoder", index(r, own))
    elif demux == "mlp":
        declare_each(d)
        declare_each(r)
        layer(d + "dense_before_out_proj", H, H)
        norm(d + "layernorm_presoftmax")
        layer(d + "out_proj", K, H)
        layer(r + "dense_pre_vocab", H, H)
        norm(r + "layer_norm_pre_vocab")
        layer(r + "decoder", V[arch], H)
        p[r + "bias"] = p[r + "decoder.bias"]
        z = ln(p, d + "layernorm_presoftmax", g(lin(p, d + "dense_before_out_proj", each(d, x))), eps)
        logits = lin(p, d + "out_proj", z)
        z = ln(p, r + "layer_norm_pre_vocab", g(lin(p, r + "dense_pre_vocab", each(r, own))), eps)
        recall = lin(p, r + "decoder", z)
    else:
        m = "demux_module."
        p[m + "demux_instance_embedding"] = torch.randn(N, H)
        layer(m + "dense_1", H, 2 * H)
        for k in range(2, depth + 1):
            layer(f"{m}dense_{k}", H, H)
        for k in range(1, depth + 1):
            norm(f"{m}layer_norm_{k}")
        for prefix in (d, r):
            layer(prefix + "pre_decoder", H, H)
            norm(prefix + "pre_decoder_layer_norm")
        layer("classifier", K, H)
        p[r + "decoder.weight"] = p[arch + ".embeddings.word_embeddings.weight"]
        p[r + "decoder.bias"] = torch.randn(V[arch])

        def first_layer(x):
            key = p[m + "demux_instance_embedding"][None, :, None].expand(x.shape)
            return g(lin(p, m + "dense_1", torch.cat([key, x], -1)))

        z = first_layer(x)
        for k in range(2, depth):
            z = z + g(lin(p, f"{m}dense_{k}", z))
        z = z + ln(p, d + "pre_decoder_layer_norm", g(lin(p, d + "pre_decoder", z)), eps)
        logits = lin(p, "classifier", z)
        z = ln(p, m + "layer_norm_1", first_layer(own), eps)
        z = ln(p, m + "layer_norm_2", g(lin(p, m + "dense_2", z)), eps)
        z = ln(p, r + "pre_decoder_layer_norm", g(lin(p, r + "pre_decoder", z)), eps)
        recall = lin(p, r + "decoder", z)
        for k in [k for k in p if k.startswith(m)]:
            p[d + k] = p[r + k] = p[k]
    if old:
        p = {k.replace("demultiplexer.", "lm_head.").replace("instance_embedding", "sentence_embedding"): v
             for k, v in p.items()}
    kind = "TokenClassification" if output == "tag" else "SequenceClassification"
    config = {"model_type": arch, "vocab_size": V[arch], "hidden_size": H, "num_hidden_layers": LAYERS,
              "num_attention_heads": HEADS, "intermediate_size": INNER, "max_position_embeddings": 24,
              "type_vocab_size": 1 if arch == "roberta" else 2, "pad_token_id": PAD[arch], "layer_norm_eps": eps,
              "hidden_act": "gelu", "num_instances": N, "muxing_variant": variant, "demuxing_variant": demux,
              "num_hidden_demux_layers": depth, "architectures": ["Muxed" + kind]}
    write(name, config, p, {"in.ids": ids.flatten(0, 1).int(), "out.logits": logits.flatten(0, 2),
                            "out.recall": recall.flatten(0, 2)[:, :60]}, torch_file)


def half():
    """RoBERTa's encoder stored in f16 (matrices) and bf16 (vectors), computed in f32."""
    c = RobertaConfig(vocab_size=40, hidden_size=H, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
                      intermediate_size=INNER, max_position_embeddings=20, type_vocab_size=1, pad_token_id=1,
                      layer_norm_eps=1e-5, initializer_range=0.5, attn_implementation="eager")
    m = RobertaModel(c, add_pooling_layer=False).eval()
    stored = {}
    for name, p in m.named_parameters():
        stored[name] = (p.data + 0.1 * torch.randn(p.shape)).to(torch.float16 if p.dim() > 1 else torch.bfloat16)
        p.data = stored[name].float()
    ids = torch.randint(3, 40, (B, S))
    with torch.no_grad():
        y = m(input_ids=ids).last_hidden_state
    with open(f"{folder}/roberta/config.json") as f:
        config = json.load(f)
    one = torch.ones(B, S).int()
    write("roberta_half", config, stored, {"in.ids": ids.int(), "in.mask": one, "in.types": 0 * one, "out.states": y},
          torch_file=True)


TEXTS = [["a fine film", None], ["not a good film at all", None], ["a film", "bad, not good"]]


def heads():
    """Encoders with their heads, as Hugging Face's classes save them, and what they answer to texts."""
    from tokenizers import ByteLevelBPETokenizer
    from transformers import (BertForSequenceClassification, BertForTokenClassification, BertTokenizerFast,
                              RobertaForSequenceClassification, RobertaTokenizerFast)
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "a", "fine", "film", "not", "good", "bad", "at", "all", ",", "##s"]
    bpe = ByteLevelBPETokenizer()
    bpe.train_from_iterator([" ".join(t for t in pair if t) for pair in TEXTS] * 4, vocab_size=280, min_frequency=2,
                            special_tokens=["<s>", "<pad>", "</s>", "<unk>", "<mask>"], show_progress=False)
    cases = (("bert_sequence", "bert", BertForSequenceClassification, ["bad", "mixed", "good"]),
             ("bert_score", "bert", BertForSequenceClassification, ["LABEL_0"]),
             ("bert_tokens", "bert", BertForTokenClassification, ["O", "B-X", "I-X"]),
             ("roberta_sequence", "roberta", RobertaForSequenceClassification, ["LABEL_0", "LABEL_1"]))
    for name, arch, model, labels in cases:
        to = f"{folder}/{name}"
        os.makedirs(to, exist_ok=True)
        if arch == "bert":
            with open(to + "/vocab.txt", "w") as f:
                f.write("".join(w + "\n" for w in words))
            tok, size = BertTokenizerFast(vocab=to + "/vocab.txt", do_lower_case=False), len(words)
            with open(to + "/tokenizer_config.json", "w") as f:
                json.dump({"do_lower_case": False, "model_max_length": 16}, f)
        else:
            bpe.save(to + "/tokenizer.json")
            tok, size = RobertaTokenizerFast(tokenizer_file=to + "/tokenizer.json"), bpe.get_vocab_size()
        pad, eps = PAD[arch], EPS[arch]
        c = (BertConfig if arch == "bert" else RobertaConfig)(
            vocab_size=size, hidden_size=H, num_hidden_layers=LAYERS, num_attention_heads=HEADS,
            intermediate_size=INNER, max_position_embeddings=20, type_vocab_size=2 if arch == "bert" else 1,
            pad_token_id=pad, layer_norm_eps=eps, initializer_range=0.5, attn_implementation="eager",
            id2label=dict(enumerate(labels)), label2id={w: i for i, w in enumerate(labels)})
        m = model(c).eval()
        for p in m.parameters():
            p.data.add_(0.1 * torch.randn(p.shape))
        texts = [t for t in TEXTS if not (t[1] and "Token" in model.__name__)]
        answers = []
        for text, pair in texts:
            x = tok(text, pair, return_tensors="pt") if pair else tok(text, return_tensors="pt")
            with torch.no_grad():
                answers.append(m(**x).logits[0].flatten().tolist())
        with open(to + "/texts.json", "w") as f:
            json.dump({"texts": texts, "logits": answers}, f)
        d = c.to_dict()
        keep = ("vocab_size", "hidden_size", "num_hidden_layers", "num_attention_heads", "intermediate_size",
                "max_position_embeddings", "type_vocab_size", "pad_token_id", "layer_norm_eps", "hidden_act",
                "model_type", "id2label", "label2id")
        config = {k: d[k] for k in keep} | {"architectures": [model.__name__]}
        if name == "roberta_sequence":
            config["finetuning_task"] = "sst2"
        with open(to + "/config.json", "w") as f:
            json.dump(config, f, indent=1, sort_keys=True)
        save_file({k: v.contiguous() for k, v in m.state_dict().items()}, to + "/model.safetensors")


encoders()
muxed("index", "roberta", "index", "classify", torch_file=True)
muxed("index_tokens", "roberta", "index", "tag", variant="random_ortho")
muxed("index_old", "roberta", "index", "classify", old=True)
muxed("mlp", "roberta", "mlp", "classify")
muxed("mlp_tokens", "roberta", "mlp", "tag", torch_file=True)
muxed("index_pos", "bert", "index_pos", "classify", family="muxplm", torch_file=True)
muxed("index_pos_tokens", "bert", "index_pos", "tag", family="muxplm", depth=2)
muxed("index_muxplm", "bert", "index", "classify", family="muxplm")
half()
heads()
