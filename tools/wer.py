#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Word error rate: how far a transcript is from what was spoken.

(substitutions + deletions + insertions) / words spoken, on words in lower case without punctuation.
"""

import re
import sys
import unicodedata


def words(text):
    """Lower case, apostrophes inside words kept, everything else that is no letter or digit taken as a blank."""
    text = unicodedata.normalize("NFKC", text).lower().replace("’", "'")
    return re.findall(r"[^\W_]+(?:'[^\W_]+)*", text)


def distance(a, b):
    """The least number of words to replace, drop or add that turns list a into list b."""
    row = list(range(len(b) + 1))
    for i, x in enumerate(a, 1):
        diagonal, row[0] = row[0], i
        for j, y in enumerate(b, 1):
            diagonal, row[j] = row[j], min(diagonal + (x != y), row[j] + 1, row[j - 1] + 1)
    return row[-1]


def wer(spoken, heard):
    """0.0 is perfect; above 1.0 when more was invented than said. Nothing spoken: 0 if nothing was heard, else 1."""
    spoken, heard = words(spoken), words(heard)
    if not spoken:
        return 1.0 if heard else 0.0
    return distance(spoken, heard) / len(spoken)


def main():
    if len(sys.argv) != 3:
        sys.exit("usage: wer.py SPOKEN.txt HEARD.txt")
    with open(sys.argv[1], encoding="utf-8") as spoken, open(sys.argv[2], encoding="utf-8") as heard:
        print(f"{100 * wer(spoken.read(), heard.read()):.1f}")


if __name__ == "__main__":
    main()
