#!/usr/bin/env python3
"""Writes word-information.txt: how much an English stem tells, in hundredths, from how often it is used.

    pip install wordninja==2.0.0 snowballstemmer
    python3 make-word-information.py

wordninja ships 126 000 words and names of the English Wikipedia by how often they occur. A word's frequency is taken as one
over its place (Zipf), the words of one stem are added up, and the 40 000 commonest stems are kept: 0 is a stem as common as
the fiftieth word, 100 one as rare as the last that is kept.
"""

import collections
import gzip
import importlib.util
import math
import pathlib

import snowballstemmer

STEMS = 40_000
COMMONEST = 50

found = importlib.util.find_spec("wordninja").origin
words = gzip.open(pathlib.Path(found).parent / "wordninja" / "wordninja_words.txt.gz", "rt", encoding="utf-8")
frequencies = collections.Counter()
stemmer = snowballstemmer.stemmer("english")
for place, word in enumerate(words.read().split(), start=1):
    if word.isascii() and word.isalpha():
        frequencies[stemmer.stemWord(word)] += 1 / place
kept = dict(frequencies.most_common(STEMS))
low = -math.log(COMMONEST)
high = math.log(min(kept.values()))


def information(frequency: float) -> int:
    return round(100 * min(1.0, max(0.0, (low - math.log(frequency)) / (low - high))))


lines = [f"{stem} {information(kept[stem])}\n" for stem in sorted(kept)]
pathlib.Path(__file__).with_name("word-information.txt").write_text("".join(lines), encoding="ascii")
