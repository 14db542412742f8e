#!/usr/bin/env python3
"""Golden scores for tests/unit/metrics_spec.lua, made by scikit-learn, SciPy and seqeval (PyPI).

  python3 make_metrics.py OUT      OUT: this folder; writes metrics.json

Classification and regression: random answers of several kinds, ties, labels that never occur, constant answers.
Entities: random tags of BIO, IOB1 and IOBES, well-formed and malformed, scored by seqeval's default (conlleval's rule).
"""
import json, random, sys
from scipy import stats
from sklearn import metrics
from seqeval.metrics import accuracy_score, classification_report, f1_score, precision_score, recall_score
from seqeval.metrics.sequence_labeling import get_entities

random.seed(2022)


def classify(n, k, right, used=None):
    gold = [random.randrange(used or k) for _ in range(n)]
    got = [g if random.random() < right else random.randrange(k) for g in gold]
    labels = list(range(k))
    p, r, f, s = metrics.precision_recall_fscore_support(gold, got, labels=labels, zero_division=0)
    out = {"gold": gold, "got": got, "classes": k, "accuracy": metrics.accuracy_score(gold, got),
           "macro_f1": metrics.f1_score(gold, got, average="macro", zero_division=0),
           "matthews": metrics.matthews_corrcoef(gold, got),
           "confusion": metrics.confusion_matrix(gold, got, labels=labels).tolist(),
           "per_class": [[a, b, c, int(d)] for a, b, c, d in zip(p, r, f, s)]}
    if k == 2:
        out["f1"] = metrics.f1_score(gold, got, pos_label=1, zero_division=0)
    return out


def regress(n, noise, step):
    gold = [round(random.uniform(0, 5) / step) * step for _ in range(n)]
    got = [round((g + random.gauss(0, noise)) / step) * step for g in gold]
    return {"gold": gold, "got": got, "pearson": stats.pearsonr(gold, got)[0],
            "spearman": stats.spearmanr(gold, got)[0], "mse": metrics.mean_squared_error(gold, got)}


kinds = ["PER", "LOC", "ORG", "B-CELL"]


def formed(n, scheme):
    tags = []
    while len(tags) < n:
        if random.random() < 0.5:
            tags.append("O")
            continue
        kind, size = random.choice(kinds), random.choice([1, 1, 2, 3])
        if scheme == "BIO":
            tags += ["B-" + kind] + ["I-" + kind] * (size - 1)
        elif scheme == "IOBES":
            tags += ["S-" + kind] if size == 1 else ["B-" + kind] + ["I-" + kind] * (size - 2) + ["E-" + kind]
        else:
            touching = tags and tags[-1] != "O" and tags[-1][2:] == kind
            tags += [("B-" if touching else "I-") + kind] + ["I-" + kind] * (size - 1)
    return tags[:n]


def malformed(n, letters):
    return [random.choice(["O", "O", *[c + "-" + random.choice(kinds[:2]) for c in letters]]) for _ in range(n)]


def entities(name, sentences, make, other):
    gold = [make(random.randint(1, 14)) for _ in range(sentences)]
    got = []
    for g in gold:
        noise = other(len(g))
        at = random.randint(0, len(g))
        got.append(g[:at] + noise[at:] if random.random() < 0.6 else list(g))
    report = classification_report(gold, got, output_dict=True, zero_division=0)
    types = {k: [v["precision"], v["recall"], v["f1-score"], int(v["support"])] for k, v in report.items()
             if " avg" not in k}
    return {"name": name, "gold": [" ".join(g) for g in gold], "got": [" ".join(g) for g in got], "types": types,
            "overall": [precision_score(gold, got, zero_division=0), recall_score(gold, got, zero_division=0),
                        f1_score(gold, got, zero_division=0), sum(v[3] for v in types.values())],
            "accuracy": accuracy_score(gold, got),
            "spans": [[[k, a + 1, b + 1] for k, a, b in get_entities(g)] for g in got]}


out = {
    "classify": [classify(200, 2, 0.8), classify(150, 3, 0.4), classify(60, 5, 0.5, 3), classify(30, 2, 0.0, 1),
                 classify(100, 9, 0.9)],
    "regress": [regress(120, 0.7, 0.2), regress(80, 3.0, 1.0), regress(150, 0.3, 1e-6)],
    "entities": [entities("BIO", 40, lambda n: formed(n, "BIO"), lambda n: formed(n, "BIO")),
                 entities("IOB1", 40, lambda n: formed(n, "IOB1"), lambda n: formed(n, "IOB1")),
                 entities("IOBES", 40, lambda n: formed(n, "IOBES"), lambda n: formed(n, "IOBES")),
                 entities("malformed BIO", 60, lambda n: malformed(n, "BI"), lambda n: malformed(n, "BI")),
                 entities("malformed IOBES", 60, lambda n: malformed(n, "BIES"), lambda n: malformed(n, "BIES")),
                 entities("nothing there", 3, lambda n: ["O"] * n, lambda n: malformed(n, "BI"))],
}
json.dump(out, open(f"{sys.argv[1]}/metrics.json", "w"), separators=(",", ":"))
