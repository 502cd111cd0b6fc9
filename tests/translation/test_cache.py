"""Each distinct query once, through a cache that survives interruptions; what is not accepted goes to the second backend."""

from pathlib import Path

import pandas as pd
import pytest

from utils.core.errors import DataError
from utils.translation import backends, cache
from utils.translation.backends import Backend

TABLE = pd.DataFrame(
    {"language": ["es", "es", "en", "ja", "es", "ja"], "query": ["rojo", "rojo", "red", "赤", "verde", ""]},
    index=[9, 8, 7, 6, 5, 4],
)


class Recorder:
    """A backend that records the texts it translates, and can break off after some of them."""

    def __init__(self, break_after: int = 99) -> None:
        self.texts: list[str] = []
        self.break_after = break_after

    def __call__(self, texts: list[str], languages: list[str]) -> list[str]:
        if len(self.texts) >= self.break_after:
            raise KeyboardInterrupt
        self.texts += texts
        return [f"{language}:{text}" for text, language in zip(texts, languages, strict=True)]


def test_each_distinct_query_is_translated_once_and_english_is_copied(tmp_path: Path) -> None:
    recorder = Recorder()
    english, counts = cache.translate(TABLE, Backend("test", "1", recorder), tmp_path / "cache.sqlite", bar=False)
    assert (
        english.tolist() == ["es:rojo", "es:rojo", "red", "ja:赤", "es:verde", ""]
        and english.index.tolist() == TABLE.index.tolist()
    )
    assert sorted(recorder.texts) == ["rojo", "verde", "赤"]
    assert counts == {
        "distinct": 5,
        "copied": 2,
        "cache_hits": 0,
        "translated": 3,
        "empty_translations": 0,
        "runaway": 0,
    }


def test_a_second_run_translates_nothing_and_a_new_version_translates_again(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    cache.translate(TABLE, Backend("test", "1", Recorder()), path, bar=False)
    second, third = Recorder(), Recorder()
    assert cache.translate(TABLE, Backend("test", "1", second), path, bar=False)[1]["cache_hits"] == 3
    cache.translate(TABLE, Backend("test", "2", third), path, bar=False)
    assert second.texts == [] and len(third.texts) == 3


def test_an_interrupted_run_resumes_where_it_stopped(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    with pytest.raises(KeyboardInterrupt):
        cache.translate(TABLE, Backend("test", "1", Recorder(break_after=1), batch=1), path, bar=False)
    resumed = Recorder()
    english, counts = cache.translate(TABLE, Backend("test", "1", resumed, batch=1), path, bar=False)
    assert counts["cache_hits"] == 1 and len(resumed.texts) == 2
    whole, _ = cache.translate(TABLE, Backend("test", "1", Recorder()), tmp_path / "other.sqlite", bar=False)
    assert english.equals(whole)


def test_untranslated_queries_are_listed() -> None:
    rows = [
        ("es", "zapatos", "zapatos"),
        ("es", "zapato", "shoe"),
        ("ja", "靴", "靴"),
        ("es", "rtx 3060", "rtx 3060"),
        ("de", "x", ""),
    ]
    table = pd.DataFrame([*rows, ("en", "shoe", "shoe")], columns=["language", "query", "query_en"])
    assert cache.find_untranslated(table)["query"].tolist() == ["zapatos", "靴", "x"]


def test_queries_that_the_first_backend_leaves_unchanged_go_to_the_second(tmp_path: Path) -> None:
    path = tmp_path / "cache.sqlite"
    table = pd.DataFrame(
        {"language": ["es", "ja", "en", "es", "es"], "query": ["rojos", "赤い", "red", "verdes", "rojos"]}
    )
    first = Backend("first", "1", lambda texts, languages: ["green" if text == "verdes" else text for text in texts])
    second = Backend(
        "second", "1", lambda texts, languages: ["red ones" if text == "rojos" else text for text in texts]
    )
    english, _ = cache.translate(table, first, path, bar=False)
    retranslated, counts = cache.retranslate(table, english, second, path, bar=False)
    assert retranslated.tolist() == ["red ones", "赤い", "red", "green", "red ones"]
    assert counts == {"retried": 2, "retranslated": 1, "empty_translations": 0, "runaway": 0}
    nothing = {"retried": 0, "retranslated": 0, "empty_translations": 0, "runaway": 0}
    assert cache.retranslate(table, english, None, path)[1] == nothing


def fixed(name: str, answers: dict[str, str]) -> Backend:
    """A backend with these answers; it copies every other text."""
    return Backend(name, "1", lambda texts, languages: [answers.get(text, text) for text in texts])


LOOP = " ".join(["shoe"] * 20)
LONG = " ".join(f"word{number}" for number in range(60))


@pytest.mark.parametrize("answer", [LOOP, LONG], ids=["loop", "long"])
def test_a_runaway_goes_to_the_second_backend_and_is_else_left_as_the_query(tmp_path: Path, answer: str) -> None:
    path, table = (
        tmp_path / "cache.sqlite",
        pd.DataFrame({"language": ["es"] * 4, "query": ["zapato", "sol", "luna", "sol"]}),
    )
    first = fixed("first", {"zapato": answer, "sol": answer, "luna": "moon"})
    for second, english, numbers in (
        (None, ["zapato", "sol", "moon", "sol"], (2, 0, 0, 2)),
        (fixed("copy", {}), ["zapato", "sol", "moon", "sol"], (2, 2, 1, 1)),  # `sol` may be a code, and stay as it is
        (fixed("both", {"zapato": answer, "sol": answer}), ["zapato", "sol", "moon", "sol"], (4, 2, 0, 2)),
        (fixed("good", {"zapato": "shoe", "sol": "sun"}), ["shoe", "sun", "moon", "sun"], (2, 2, 2, 0)),
    ):
        for _ in range(2):  # the second time from the cache
            tables, counts = cache.translate_tables({("train", "QC"): table}, first, second, path, bar=False)
            assert tables["train", "QC"]["query_en"].tolist() == english
            names = ["runaway", "retried", "retranslated", "untranslated"]
            assert tuple(counts.loc["train_QC", names]) == numbers, second


def test_empty_answers_are_counted_each_time_and_the_query_stays(tmp_path: Path) -> None:
    first, second = fixed("first", {"rojo": "", "verde": ""}), fixed("second", {"rojo": "red", "verde": ""})
    for hits in (0, 3):
        tables, counts = cache.translate_tables(
            {("dev", "QC"): TABLE}, first, second, tmp_path / "cache.sqlite", bar=False
        )
        assert tables["dev", "QC"]["query_en"].tolist() == ["red", "red", "red", "赤", "verde", ""]
        row = counts.loc["dev_QC"]
        assert (row["empty_translations"], row["retried"], row["retranslated"], row["untranslated"]) == (3, 3, 1, 2)
        assert row["cache_hits"] == hits


def test_another_script_under_the_tag_of_english_is_translated(tmp_path: Path) -> None:
    queries = ["чехол для iphone", "red shoe", "ботинки", "赤い靴", "5 kω", "café"]
    table, asked = pd.DataFrame({"language": ["en"] * 6, "query": queries}), []

    def translate(texts: list[str], languages: list[str]) -> list[str]:
        asked.extend(zip(texts, languages, strict=True))
        return [f"english of {text.split()[-1]}" if "и" not in text else text for text in texts]

    backend = Backend("test", "1", translate)
    tables, counts = cache.translate_tables(
        {("test", "QC"): table}, backend, None, tmp_path / "cache.sqlite", bar=False
    )
    assert asked == [(queries[0], "ru"), (queries[2], "ru"), (queries[3], "ja")]
    english = tables["test", "QC"]["query_en"].tolist()
    assert english == ["english of iphone", "red shoe", "ботинки", "english of 赤い靴", "5 kω", "café"]
    row = counts.loc["test_QC"]
    assert (row["copied"], row["translated"], row["untranslated"]) == (3, 3, 1)
    assert cache.find_untranslated(tables["test", "QC"])["query"].tolist() == ["ботинки"]
    assert len(cache.distinct_foreign(tables["test", "QC"])) == 3
    assert cache.untranslated_shares(tables["test", "QC"]).empty  # English has no share


def test_a_backend_is_opened_only_where_it_is_needed(tmp_path: Path) -> None:
    path, opened = tmp_path / "cache.sqlite", []

    def open_as(name: str, answers: dict[str, str]) -> Backend:
        opened.append(name)
        return fixed(name, answers)

    def translate(table: pd.DataFrame, answers: dict[str, str]) -> list[str]:
        opened.clear()
        first, second = lambda: open_as("first", answers), lambda: open_as("second", {"verde": "green"})
        return cache.translate_rows(table, first, second, path, bar=False)[0].tolist()

    english = TABLE[TABLE["language"] == "en"]
    assert translate(english, {}) == ["red"] and opened == [] and not path.exists()
    assert translate(TABLE[:3], {"rojo": "red"}) == ["red", "red", "red"] and opened == ["first"]
    assert translate(TABLE[4:5], {}) == ["green"] and opened == ["first", "second"]
    assert translate(TABLE[:0], {}) == [] and opened == []


def test_what_would_end_a_translation_is_seen_before(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cache.sqlite"
    cache.check(["glossary", ""], path)
    (tmp_path / "glossary.csv").write_text("language,term\n")
    monkeypatch.setattr(backends, "SOURCES", tmp_path)
    cache.check(["none", "madlad400-3b-mt"], path)
    with pytest.raises(DataError, match=r"glossary\.csv:1: column english is missing"):
        cache.check(["none", "glossary"], path)
    with pytest.raises(DataError, match="is a folder"):
        cache.check(["none"], tmp_path)
