"""The only loop over batches that scores; and the command that answers new pairs with a run's final ensemble.

python -m utils.score --run NAME --task QC|QI [--input F] [--output F] [--weights none|int8|nf4] [--ranks N]
"""

import argparse
import json
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import nn

from utils import blend, launch, models, paths, ranks, settings, translate, weights
from utils.data import DataError
from utils.encoders import EncoderClassifier
from utils.files import write_json, write_text
from utils.forward import embed, logits
from utils.packing import Rows, batches, count_tokens
from utils.progress import Progress, Style
from utils.ranks import Places
from utils.recipe import load
from utils.schema import LANGUAGES, TARGET_KEY, TASKS
from utils.text import normalise_query, tidy
from utils.tokens import POSITIONS, Encoded, encode


def predict(
    model: nn.Module, rows: Encoded, tokens: int, pad_id: int, title: str, style: Style, share: bool = False
) -> NDArray[np.float64]:
    """Probability of "relevant" for each row, in the rows' order; with `share` each process scores a part, and all know all.

    Rows go through in packs of at most `tokens` tokens (`packing.batches`); when the accelerator's memory does not hold one, the rows
    that are left go on in packs of half as many, and that is said aloud.
    """
    found = np.full(len(rows.rows), np.nan)
    own = _own_part(rows) if share else np.arange(len(rows.rows))
    with torch.inference_mode(), Progress(title, len(own), "rows", style) as progress:
        queue, computed = _queue(rows, own, tokens), 0
        while queue:
            batch = queue.pop()
            try:
                answer = logits(model, rows, batch, pad_id, tokens)
            except torch.OutOfMemoryError:
                smaller = max(tokens // 2, int(rows.lengths.max()))
                if smaller == tokens:
                    raise
                tokens = smaller
                print(f"  {title}: out of memory, going on with packs of {tokens:,} tokens", flush=True)
                queue = _queue(rows, np.concatenate([batch, *queue]), tokens)
                continue
            found[batch] = torch.softmax(answer, -1)[:, 1].cpu().numpy()
            computed += count_tokens(rows, batch)
            progress.add(len(batch), f"{computed / progress.seconds:,.0f} tokens/s")
    if not share:
        return found
    mine = np.zeros(len(found))
    mine[own] = found[own]
    return ranks.add_up(torch.from_numpy(mine)).numpy()


def _own_part(rows: Encoded) -> Rows:
    """This process's part of the rows: in lexicographic order, so that rows that begin alike stay together, and of like size."""
    order = np.array(sorted(range(len(rows.rows)), key=rows.rows.__getitem__), dtype=np.int64)
    return np.array_split(order, ranks.world())[ranks.rank()]


def _queue(rows: Encoded, chosen: Rows, tokens: int) -> list[Rows]:
    """Batches to score, the first one last; of towers only distinct parts count, so many more rows fit."""
    towers = len(chosen) > 0 and len(rows.rows[0]) == 2
    return batches(rows, chosen, tokens * 64 if towers else tokens)[::-1]


def cosines(model: EncoderClassifier, table: pd.DataFrame, tokenizer: Any, tokens: int = 4096) -> NDArray[np.float64]:
    """Cosine of the target with the query and with its English, `[rows, 2]`.

    Both sides carry e5's prefix `query: `, as its model card advises for symmetric matching.
    """

    def vectors(texts: pd.Series) -> NDArray[np.float64]:
        told = tokenizer([f"query: {tidy(text)}" for text in texts], truncation=True, max_length=POSITIONS)["input_ids"]
        sequences = [tuple(ids) for ids in told]
        found, place = embed(model, sequences, tokenizer.pad_token_id, tokens)
        return found[[place[ids] for ids in sequences]].double().cpu().numpy()

    with torch.inference_mode():
        target = vectors(table["target"])
        return np.stack([(vectors(table[side]) * target).sum(1) for side in ("query", "query_en")], axis=1)


# -- the command --------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Pairs:
    """Lines that were asked, and the table made of them."""

    lines: list[dict[str, Any]]
    table: pd.DataFrame


def read_pairs(content: bytes, task: str, name: str) -> Pairs:
    """Parse JSON Lines of pairs; `language` (default en) and `id` are optional. Raises DataError with file and line."""
    lines, problems = [], []
    for number, line in enumerate(content.split(b"\n"), start=1):
        if not line.strip():
            continue
        try:
            row = json.loads(line)
        except ValueError as error:
            problems.append(f"{name}:{number}: not valid JSON ({error}); mend the line")
            continue
        missing = [key for key in ("origin_query", TARGET_KEY[task]) if not isinstance(row, dict) or key not in row]
        if missing:
            problems.append(
                f"{name}:{number}: key {', '.join(missing)} is missing; each line needs origin_query and {TARGET_KEY[task]}"
            )
        elif row.get("language", "en") not in LANGUAGES:
            problems.append(
                f"{name}:{number}: language {json.dumps(row['language'])} is unknown; use one of {' '.join(LANGUAGES)}"
            )
        else:
            lines.append(row)
    if problems:
        raise DataError("\n".join(problems[:20]))
    texts = [(row.get("language", "en"), row["origin_query"], row[TARGET_KEY[task]]) for row in lines]
    table = pd.DataFrame(texts, columns=["language", "origin_query", "target"]).astype(object)
    return Pairs(lines, table.assign(id=range(len(table)), query=[normalise_query(q) for q in table["origin_query"]]))


def answer(
    pairs: Pairs, run: paths.Run, task: str, style: Style = "none", quantisation: str = ""
) -> list[dict[str, Any]]:
    """The pairs with `probability` and `prediction`, by the run's final ensemble: translated, scored, blended, cut.

    `quantisation` holds the members' weights in fewer bits than they were trained in; several processes share the rows.
    """
    chosen, translation = blend.load_blend(run.ensemble_file, task)
    folder = settings.load(run).models
    english, _ = translate.translate(
        pairs.table, translate.open_backend(translation, folder), paths.TRANSLATIONS, bar=False
    )
    table = pairs.table.assign(query_en=english)
    members = {}
    for name in chosen.weights:
        place = run.final / task / name
        recipe = load(place / "recipe.json")
        recipe = recipe.with_(quantisation=quantisation or recipe.quantisation)
        base = weights.resolve(recipe.model, folder, offline=True)
        tokenizer = models.load_tokenizer(base)
        rows = encode(table, task, tokenizer, recipe, models.is_encoder(base))
        folds = []
        for fold in recipe.folds:
            network = models.load_scorer(recipe, base, place / f"fold{fold}")
            title, pad_id = f"{name} fold {fold}", tokenizer.pad_token_id
            with models.autocast(recipe):
                found = predict(network, rows, recipe.score_tokens, pad_id, title, style, share=ranks.world() > 1)
            folds.append(table[["id", "language"]].assign(probability=found, fold=fold))
        members[name] = blend.average_folds(folds)
    mixed = blend.mix(members, chosen.weights, chosen.calibration)
    decided = blend.decide(mixed, chosen.threshold, chosen.language_thresholds)
    answers = zip(pairs.lines, mixed["probability"], decided, strict=True)
    return [{**line, "probability": round(float(p), 6), "prediction": int(cut)} for line, p, cut in answers]


def answer_anywhere(content: bytes, name: str, run: paths.Run, task: str, quantisation: str, places: Places) -> str:
    """The answered lines, by this process or by several that share the rows. Raises DataError for lines that are no pairs."""
    pairs = read_pairs(content, task, name)
    if not pairs.lines:
        return ""
    if places.single:
        return write_lines(answer(pairs, run, task, quantisation=quantisation))
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        (place / "pairs.jsonl").write_bytes(content)
        told = {"kind": "score", "run": run.name, "task": task, "quantisation": quantisation}
        write_json(place / "job.json", told)
        launch.run(place / "job.json", places, "none")
        return (place / "answers.jsonl").read_text("utf-8")


def work_on(job: Path) -> None:
    """A job of `answer_anywhere`, in each of its processes; the first one writes the answers."""
    told = json.loads(job.read_text("utf-8"))
    pairs = read_pairs((job.parent / "pairs.jsonl").read_bytes(), told["task"], "pairs.jsonl")
    found = answer(pairs, paths.Run(told["run"]), told["task"], quantisation=told["quantisation"])
    if ranks.first():
        write_text(job.parent / "answers.jsonl", write_lines(found))


def write_lines(answers: list[dict[str, Any]]) -> str:
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in answers)


def main() -> int:
    parser = argparse.ArgumentParser(
        prog="python -m utils.score", description="Answer pairs with a run's final ensemble."
    )
    parser.add_argument("--run", required=True)
    parser.add_argument("--task", required=True, choices=TASKS)
    parser.add_argument(
        "--input",
        type=Path,
        help="JSON Lines of origin_query and category_path or item_title (default: standard input)",
    )
    parser.add_argument("--output", type=Path, help="where the answers go (default: standard output)")
    parser.add_argument(
        "--weights",
        choices=("none", "int8", "nf4"),
        default="",
        help="hold the weights in fewer bits (default: as trained)",
    )
    parser.add_argument("--ranks", type=int, default=0, metavar="N", help="processes (default: one a GPU)")
    asked = parser.parse_args()
    run = paths.Run(asked.run)
    if not run.ensemble_file.exists():
        parser.error(f"run {asked.run!r} has no ensemble; run ./run_all.sh --run {asked.run} first")
    if asked.task not in json.loads(run.ensemble_file.read_text("utf-8")):
        parser.error(f"run {asked.run!r} has no ensemble for {asked.task}; its data held no file of that task")
    if asked.input and not asked.input.exists():
        parser.error(f"{asked.input}: no such file")
    content = asked.input.read_bytes() if asked.input else sys.stdin.buffer.read()
    places, start = Places(ranks=asked.ranks), time.monotonic()
    name = asked.input.name if asked.input else "stdin"
    try:
        text = answer_anywhere(content, name, run, asked.task, asked.weights, places)
    except DataError as error:
        print(error, file=sys.stderr)
        return 2
    count, seconds = text.count("\n"), time.monotonic() - start
    print(f"{count:,} rows in {seconds:.1f} s, {count / seconds:,.1f}/s, models loaded and all", file=sys.stderr)
    if asked.output:
        write_text(asked.output, text)
    else:
        sys.stdout.write(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
