"""Tasks, splits, columns and languages of the competition; no other module defines such strings."""

TASKS = ("QC", "QI")
SPLITS = ("train", "dev", "test")
TASK_NAMES = {"QC": "query-category", "QI": "query-item"}
AUXILIARY = {"QC": "QI", "QI": "QC"}
TARGET_KEY = {"QC": "category_path", "QI": "item_title"}
TARGET_MARKER = {"QC": "category", "QI": "title"}

# The order of every table and figure; Vietnamese is `vn` in the competition's files.
LANGUAGES = {
    "en": "English",
    "es": "Spanish",
    "fr": "French",
    "pt": "Portuguese",
    "ja": "Japanese",
    "ko": "Korean",
    "th": "Thai",
    "de": "German",
    "it": "Italian",
    "pl": "Polish",
    "ar": "Arabic",
    "vn": "Vietnamese",
    "id": "Indonesian",
}

UNSPACED = ("ja", "th")  # written without spaces between words

CLEAN_COLUMNS = ("id", "language", "origin_query", "query", "query_en", "target", "label")
FOLD_COLUMNS = ("id", "fold", "query_group", "category_group")
SCORE_COLUMNS = ("id", "language", "label", "probability", "fold")

PARAMETER_LIMIT = 15_000_000_000  # the competition's limit on parameters


def ordered(languages: set[str] | list[str]) -> list[str]:
    """Distinct language codes in the fixed order of `LANGUAGES`; unknown codes are left out."""
    return [code for code in LANGUAGES if code in set(languages)]
