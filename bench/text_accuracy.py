"""Accuracy of text models on test texts: 1-bit files of every size and their yardsticks, in one resumable table.

    python bench/text_accuracy.py runs/text --data DIR --sets clinc150 hwu64 --kb 64 --seeds 3
    python bench/text_accuracy.py runs/text --data DIR --yardsticks --plot accuracy.svg

DIR holds a folder with train, val and test for each set. What is in OUT/results.json is not computed again. A 1-bit row is the
integer graph of the exported file, and its bytes are the whole file's. `untaught`: the same student without the teacher.
"""

import argparse
import json
import tempfile
from collections import defaultdict
from pathlib import Path

import numpy as np

from bnn.intervals import mean_interval
from export.console import note, table
from export.format import read, write_atomically
from textbnn.augment import words_of
from textbnn.data import Dataset, load, unlabelled
from textbnn.evaluate import auroc, evaluate
from textbnn.teacher import TeacherConfig, TextTeacher, load_body, load_teacher
from textbnn.train import MODEL, configure, labels_of, prepare, train

KEEP = 95


def measured(out: Path, name: str, compute) -> dict:
    """The row of that name from OUT/results.json, computed and added where it is not there yet."""
    path = out / "results.json"
    rows = json.loads(path.read_text()) if path.exists() else {}
    if name not in rows:
        note(f"{name} ...")
        rows[name] = compute()
        rows = (json.loads(path.read_text()) if path.exists() else {}) | {name: rows[name]}
        write_atomically(path, json.dumps(rows, indent=1).encode())
        note(f"{name}: {rows[name]}")
    return rows[name]


def student(data: Dataset, run: Path, kb: int, seed: int, teacher: str, further: list[str], overrides: list[str]) -> dict:
    """One training, and its file on the test texts."""
    result = train(data, run, configure(kb, "ngram", [f"seed={seed}", *overrides]), teacher=teacher, unlabelled=further)
    found = evaluate(read(run / MODEL), *data.in_scope("test"), data.out_of_scope("test"))
    return {"bytes": result.file_bytes, "val": round(result.validation.accuracy, 2), **found.as_dict()}


def scored(scores: np.ndarray, data: Dataset, strangers: np.ndarray, val: np.ndarray, size: int) -> dict:
    """The same figures for probabilities or logits (text, label): scope is the lead of the best label in scope over others."""
    targets = data.in_scope("test")[1]
    row = {"bytes": size, "accuracy": round(100 * float((scores[:, : len(data.labels)].argmax(1) == targets).mean()), 2)}
    if len(strangers):
        inside, outside, chosen = (lead(part, len(data.labels)) for part in (scores, strangers, val))
        least = np.quantile(chosen, 1 - KEEP / 100)
        row |= {"oos_auroc": round(auroc(inside, outside), 2), "oos_recall": round(100 * float((outside < least).mean()), 2)}
    return row


def lead(scores: np.ndarray, labels: int) -> np.ndarray:
    """By how much the best label in scope leads all others (text,)."""
    best = scores[:, :labels].argmax(1)
    rest = scores.copy()
    rest[np.arange(len(rest)), best] = -np.inf
    return scores[np.arange(len(rest)), best] - rest.max(1)


def texts_of(data: Dataset) -> tuple[list[str], np.ndarray]:
    """Training texts and targets, those out of scope with a target of their own."""
    texts, targets = data.in_scope("train")
    strangers = data.out_of_scope("train")
    return texts + strangers, np.concatenate([targets, np.full(len(strangers), len(data.labels))])


def three(data: Dataset) -> list[list[str]]:
    """Test texts in scope and out of scope, and validation texts in scope."""
    return [data.in_scope("test")[0], data.out_of_scope("test"), data.in_scope("val")[0]]


def tf_idf(data: Dataset) -> dict:
    """Word 1-2-grams and character 2-4-grams, TF-IDF, logistic regression; `bytes` are those of its float32 weights."""
    from sklearn.feature_extraction.text import TfidfVectorizer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union

    clean = [[" ".join(words_of(text)) for text in part] for part in (texts_of(data)[0], *three(data))]
    words = TfidfVectorizer(ngram_range=(1, 2), sublinear_tf=True, token_pattern=r"\S+")
    letters = TfidfVectorizer(ngram_range=(2, 4), analyzer="char_wb", sublinear_tf=True, min_df=2)
    model = make_pipeline(make_union(words, letters), LogisticRegression(C=20, max_iter=200))
    model.fit(clean[0], texts_of(data)[1])
    inside, outside, val = (model.decision_function(part) if part else np.zeros((0, 1)) for part in clean[1:])
    return scored(inside, data, outside, val, 4 * model[-1].coef_.size)


def fast_text(data: Dataset, kb: int) -> dict:
    """fastText (Joulin et al., 2016), words, pairs and character 3-4-grams, quantized and cut until its file has `kb` KB."""
    import fasttext

    with tempfile.TemporaryDirectory() as folder:
        lines, file = str(Path(folder, "train.txt")), Path(folder, "model.ftz")
        rows = zip(*texts_of(data), strict=True)
        Path(lines).write_text("".join(f"__label__{target} {' '.join(words_of(text))}\n" for text, target in rows))
        kept, size = 50 * kb, kb * 1024 + 1
        while size > kb * 1024:
            model = fasttext.train_supervised(
                lines, lr=0.5, epoch=40, dim=16, wordNgrams=2, minn=3, maxn=4, bucket=50_000, thread=1, verbose=0
            )
            model.quantize(lines, qnorm=True, cutoff=kept, retrain=True, epoch=20, thread=1, verbose=0)
            model.save_model(str(file))
            kept, size = kept * 9 // 10, file.stat().st_size

    def logits(texts: list[str]) -> np.ndarray:
        out = np.zeros((len(texts), len(model.labels)))
        for row, text in zip(out, texts, strict=True):
            names, chances = model.predict(" ".join(words_of(text)), k=-1)
            row[[int(name.removeprefix("__label__")) for name in names]] = chances
        return np.log(out + 1e-9)

    inside, outside, val = map(logits, three(data))
    return scored(inside, data, outside, val, size)


def frozen(data: Dataset, name: str) -> dict:
    """Logistic regression on the mean token vectors of the encoder as it comes."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import normalize

    body = TextTeacher(*load_body(name), data.labels, TeacherConfig())
    train_texts, targets = texts_of(data)
    model = LogisticRegression(C=30, max_iter=300).fit(normalize(body.embeddings(train_texts)), targets)
    parts = [model.decision_function(normalize(body.embeddings(part))) if part else np.zeros((0, 1)) for part in three(data)]
    return scored(parts[0], data, parts[1], parts[2], 4 * sum(p.numel() for p in body.body.parameters()))


def fine_tuned(teacher: TextTeacher, data: Dataset) -> dict:
    """The teacher itself."""
    parts = [teacher.logits(part) if part else np.zeros((0, 1)) for part in three(data)]
    return scored(parts[0], data, parts[1], parts[2], 4 * sum(p.numel() for p in teacher.parameters()))


def summary(rows: dict[str, dict]) -> list[list[str]]:
    """Mean over seeds of each kind of row, with the 95 % interval of the mean, and what distillation adds."""
    groups: dict[str, list[dict]] = defaultdict(list)
    for name, row in rows.items():
        groups[name.rsplit("/seed", 1)[0]].append(row)
    out = []
    for name, group in sorted(groups.items()):
        figures = [name, str(len(group)), f"{np.mean([r['bytes'] for r in group]):,.0f}"]
        for key in ("accuracy", "oos_auroc", "oos_recall"):
            figures.append(mean_of([row[key] for row in group if key in row]))
        twins = [(r["accuracy"], rows[n.replace("/untaught", "")]["accuracy"]) for n, r in rows.items()
                 if n.startswith(f"{name}/seed") and "/untaught" in n and n.replace("/untaught", "") in rows]  # fmt: skip
        out.append([*figures, mean_of([taught - alone for alone, taught in twins])])
    return out


def mean_of(values: list[float]) -> str:
    if len(values) < 2:
        return f"{values[0]:.1f}" if values else ""
    mean, half = mean_interval(values)
    return f"{mean:.1f} ±{half:.1f}"


def plot(rows: dict[str, dict], path: Path) -> None:
    """Accuracy against kilobytes, one panel a set, yardsticks as they are."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    sets = sorted({name.split("/")[0] for name in rows})
    figure, axes = plt.subplots(1, len(sets), figsize=(4.2 * len(sets), 3.4), squeeze=False, layout="constrained")
    for axis, each in zip(axes[0], sets, strict=True):
        points: dict[str, list[tuple[float, float]]] = defaultdict(list)
        for name, row in rows.items():
            parts = name.split("/")
            if parts[0] == each:
                kind = "1-bit" + (", no teacher" if "untaught" in parts else "") if parts[1].endswith("KB") else parts[1]
                points[kind].append((row["bytes"] / 1024, row["accuracy"]))
        for kind, values in sorted(points.items()):
            sizes = sorted({round(kb) for kb, _ in values})
            means = [np.mean([a for kb, a in values if round(kb) == size]) for size in sizes]
            axis.plot(sizes, means, "o-" if len(sizes) > 1 else "o", label=kind)
        axis.set(xscale="log", title=each, xlabel="file, KB", ylabel="test accuracy, %")
        axis.grid(alpha=0.3)
        axis.legend(fontsize=7)
    figure.savefig(path)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--sets", nargs="+", default=["clinc150", "hwu64", "snips"])
    parser.add_argument("--kb", nargs="*", type=int, default=[64, 32, 16, 128])
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--teacher", default="minilm")
    parser.add_argument("--unlabelled", nargs="*", default=[], help="sets whose training texts the teachers of others answer")
    parser.add_argument("--untaught", action="store_true", help="also the students without a teacher")
    parser.add_argument("--yardsticks", action="store_true")
    parser.add_argument("--plot", type=Path)
    parser.add_argument("--set", nargs="*", default=[], dest="overrides", help="settings of every student: epochs=30")
    arguments = parser.parse_args()
    arguments.out.mkdir(parents=True, exist_ok=True)
    for each in arguments.sets:
        run_set(each, load(arguments.data / each), arguments)
    rows = json.loads((arguments.out / "results.json").read_text())
    print(table(["model", "seeds", "bytes", "accuracy", "OOS AUROC", "OOS recall", "teacher adds"], summary(rows)))
    if arguments.plot:
        plot(rows, arguments.plot)


def run_set(each: str, data: Dataset, arguments: argparse.Namespace) -> None:
    """All rows of one data set. Its teacher is fine-tuned once, in OUT/SET/teacher."""
    out, overrides = arguments.out, arguments.overrides
    home = out / each
    tutor = home / "teacher"
    further = unlabelled([arguments.data / name for name in arguments.unlabelled if name != each], data)
    if not (tutor / "model.safetensors").exists():
        prepare(data, home, configure(64, "ngram", overrides), arguments.teacher)
    for kb in arguments.kb:
        for seed in range(arguments.seeds):
            for kind in ("", "/untaught") if arguments.untaught else ("",):
                name = f"{each}/{kb} KB{kind}/seed {seed}"
                run = home / name.replace(" ", "").split("/", 1)[1].replace("/", "-")
                lessons = ("none", []) if kind else (str(tutor), further)
                measured(out, name, lambda a=(data, run, kb, seed, *lessons, overrides): student(*a))
    if arguments.yardsticks:
        measured(out, f"{each}/TF-IDF + LR", lambda: tf_idf(data))
        for kb in set(arguments.kb) - {16}:  # 16 floats a label leave it no room for features there
            measured(out, f"{each}/fastText/{kb} KB", lambda kb=kb: fast_text(data, kb))
        measured(out, f"{each}/frozen {arguments.teacher} + LR", lambda: frozen(data, arguments.teacher))
        measured(out, f"{each}/fine-tuned {arguments.teacher}", lambda: fine_tuned(load_teacher(tutor, labels_of(data)), data))


if __name__ == "__main__":
    main()
