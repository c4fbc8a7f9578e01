# SPDX-License-Identifier: MIT
import pytest
from wer import wer, words


@pytest.mark.parametrize(
    "text, expected",
    [
        ("The quick, brown FOX.", ["the", "quick", "brown", "fox"]),
        ("nine o'clock – 9 o’clock", ["nine", "o'clock", "9", "o'clock"]),
        ("Straße_und", ["straße", "und"]),
        ("", []),
    ],
)
def test_words(text, expected):
    assert words(text) == expected


@pytest.mark.parametrize(
    "spoken, heard, expected",
    [
        ("a b c d", "a b c d", 0),
        ("a b c d", "A, b. C d!", 0),
        ("a b c d", "a x c d", 0.25),  # replaced
        ("a b c d", "a c d", 0.25),  # dropped
        ("a b c d", "a b b c d", 0.25),  # added
        ("a b c d", "", 1),
        ("a b", "c d e f", 2),
        ("", "", 0),
        ("", "a", 1),
        ("a b c d e", "b c d e a", 0.4),
    ],
)
def test_wer(spoken, heard, expected):
    assert wer(spoken, heard) == pytest.approx(expected)
