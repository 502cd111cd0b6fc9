"""Texts that break what reads them: controls, marks, storms, halves of characters, what looks like a value, a path or a token."""

ODD = [
    "", " ", "null", "nan", "NaN", "None", "0", "1e999", "\u0000", "a\u0000b", "\u200b", "\ufeffmug", "\u202egum\u202c", "\u2067mug\u2069",
    "е" + "ngine", "ⅿug", "👩‍👩‍👧‍👦", "🇻🇳🇻", "1\ufe0f\u20e3", "\U000e0067\U000e007f", "\u2028\u2029\u0085", "\r", "\n", "\t\v\f", "\x1c",
    "\ufffe\uffff", "\ud83d", "\udc4d\ud83d", "ﷺ" * 300, "İıſẞ", "a" + "\u0301\u0316" * 400, "\u0e4d\u0e48\u0e32", "\u1100" * 99, "½²①",
    "\\" * 500 + '"', "a," * 200, ",,,", ", ,", "a,\u200b b", '"', "'", "</s><eos>", "x" * 5000, "\U0010ffff", "\ue000", "=1+1",
]  # fmt: skip
# Ten megabytes each: what takes a text's length squared takes hours of them.
HUGE = (
    "mug " * 2_500_000, "\\" * 5_000_000, "a" + "\u0301\u0316" * 2_500_000, "a,é" * 2_500_000, "</s>" * 2_500_000, "x" * 10_000_000,
)  # fmt: skip
STORED = [
    text for text in ODD if text.encode("utf-8", "replace").decode() == text
]  # without halves of characters, which no file stores
