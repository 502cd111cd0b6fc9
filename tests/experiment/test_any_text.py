"""Whatever a text holds and however long it is: every row is translated, tokenised, answered and read beside the others of its query."""

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from odd import HUGE, STORED

from utils.core.recipe import Recipe
from utils.core.schema import TASKS
from utils.data.clean import clean_table
from utils.data.text import normalise_query
from utils.ensemble.consistency import make_consistent
from utils.ensemble.second_stage import measure, relate
from utils.experiment import baselines
from utils.models import build
from utils.training import tokens
from utils.translation import backends
from utils.translation.quality import is_runaway


def rows_of(texts: list[str]) -> pd.DataFrame:
    """Clean rows in which each text is once the query, and its own English, and once the target."""
    both, plain = {"id": range(2 * len(texts)), "language": "es", "task": "QI"}, ["mug"] * len(texts)
    clean, _ = clean_table(pd.DataFrame(both | {"origin_query": texts + plain, "target": plain + texts}), train=False)
    return clean.assign(query_en=clean["query"])


@pytest.fixture(scope="module")
def odd() -> pd.DataFrame:
    return rows_of(STORED)


@pytest.fixture(scope="module")
def huge() -> pd.DataFrame:
    return rows_of(list(HUGE))


@pytest.mark.parametrize("text", [*STORED, *(text[:100_000] for text in HUGE)], ids=range(len(STORED) + len(HUGE)))
def test_the_word_list_copies_what_it_does_not_know(text: str) -> None:
    query = normalise_query(text)
    (english,) = backends.open_backend("glossary").translate([query], ["es"])
    assert english == query or "coffee maker" in english  # `mug`, as the word list has it
    assert is_runaway(query, english) == (len(english) > 40 + 3 * len(query))


@pytest.mark.parametrize("kind", ["tfidf", "overlap", "wordpairs"])
@pytest.mark.parametrize("name", ["odd", "huge"])
def test_every_baseline_answers_each_row_by_its_texts_alone(
    kind: str, name: str, request: pytest.FixtureRequest
) -> None:
    table = request.getfixturevalue(name)
    train = pd.concat([table, table]).assign(label=np.arange(2 * len(table)) % 3 % 2, query_group=range(2 * len(table)))
    recipe = Recipe(kind, "baseline", kind=kind, seed=1)
    fitted = baselines.fit(recipe, train)
    probability = baselines.predict(recipe, fitted, table)
    assert probability.shape == (len(table),) and ((probability > 0) & (probability < 1)).all()
    alone = np.concatenate([baselines.predict(recipe, fitted, table.iloc[[row]]) for row in range(len(table))])
    np.testing.assert_allclose(alone, probability, rtol=1e-12)


@pytest.mark.parametrize("task", TASKS)
@pytest.mark.parametrize("weights", ["e5", "gemma"])
def test_every_row_becomes_tokens_of_its_texts(
    weights: str, task: str, odd: pd.DataFrame, request: pytest.FixtureRequest
) -> None:
    base = request.getfixturevalue(weights)
    tokenizer = build.load_tokenizer(base)
    recipe = Recipe("a", "any", "any", max_length=64)
    encoded = tokens.encode(odd, task, tokenizer, recipe, build.is_encoder(base))
    assert len(encoded.rows) == len(odd) and encoded.lengths.max() <= 64 and encoded.lengths.min() > 4


@pytest.mark.parametrize("weights", ["e5", "gemma"])
def test_a_row_of_any_length_is_within_its_room(weights: str, request: pytest.FixtureRequest) -> None:
    base = request.getfixturevalue(weights)
    table = rows_of([text[:100_000] for text in HUGE])
    recipe = Recipe("a", "any", "any", max_length=64)
    encoded = tokens.encode(table, "QI", build.load_tokenizer(base), recipe, build.is_encoder(base))
    assert len(encoded.rows) == len(table) and encoded.lengths.max() <= 64


def test_a_path_of_five_thousand_levels_keeps_its_last_ones(e5: Path) -> None:
    levels = [f"level {number}" for number in range(5000)]
    table = pd.DataFrame({"query": ["mug"], "query_en": "mug", "target": ",".join(levels)})
    tokenizer = build.load_tokenizer(e5)
    (row,) = tokens.encode(table, "QC", tokenizer, Recipe("a", "any", "any", max_length=64), True).rows
    assert 50 < len(row[0]) <= 64 and tokenizer.decode(row[0]).endswith(f"{','.join(levels[-8:])}</s>")


def test_rows_of_huge_queries_are_read_beside_each_other(huge: pd.DataFrame) -> None:
    """Targets of millions of commas, and 20,000 paths below one."""
    many = pd.DataFrame({"id": range(100, 20_100), "query": "mug", "query_en": "mug"})
    many = many.assign(target=["a", *(f"a,{number}" for number in range(19_999))])
    rows = pd.concat([huge, many], ignore_index=True)
    relations, values = relate(rows["id"], rows), np.random.default_rng(1).normal(size=len(rows))
    assert np.isfinite(measure(values, relations)).all()
    assert (relations.parent[-19_999:] == len(huge)).all()
    consistent = make_consistent(values, relations.parent)
    assert consistent[-19_999:].max() <= consistent[len(huge)] + 1e-9
