"""The slow source of truth: which words stand in which files of the standard library, in SQLite.

`related` answers "which words are at home where this word is dense?". It joins and groups the words
of the twenty files in which the given word is densest: milliseconds of honest work on every call,
with every index that helps.
"""

import collections
import json
import re
import sqlite3
import sysconfig
from pathlib import Path

_WORD = re.compile(r"[A-Za-z_]\w{2,}")

_SCHEMA = """
CREATE TABLE file (id INTEGER PRIMARY KEY, path TEXT, words INTEGER);
CREATE TABLE word (id INTEGER PRIMARY KEY, text TEXT UNIQUE, total INTEGER, files INTEGER);
CREATE TABLE posting (word INTEGER, file INTEGER, n INTEGER, PRIMARY KEY (word, file)) WITHOUT ROWID;
"""

_RELATED = """
WITH densest AS (
    SELECT posting.file FROM word JOIN posting ON posting.word = word.id JOIN file ON file.id = posting.file
    WHERE word.text = ?1 ORDER BY posting.n * 1.0 / file.words DESC LIMIT 20)
SELECT word.text FROM densest JOIN posting ON posting.file = densest.file JOIN word ON word.id = posting.word
WHERE word.files > 2 AND word.text <> ?1
GROUP BY word.id ORDER BY sum(posting.n) * 1.0 / word.total DESC, word.text LIMIT 10
"""


def source_files():
    """Every .py file of this Python's standard library."""
    library = Path(sysconfig.get_path("stdlib"))
    foreign = {"site-packages", "dist-packages"}
    return sorted(path for path in library.rglob("*.py") if not foreign & set(path.parts))


class WordIndex:
    """The index, in a database file of its own."""

    def __init__(self, path):
        self._db = sqlite3.connect(path)
        self._db.executescript(_SCHEMA)
        self.bytes = self.postings = 0
        self.words = []

    def fill(self, files, progress):
        """Reads `files` and indexes their words; `self.words` is then all of them, the commonest first."""
        ids, totals, spread, postings = {}, collections.Counter(), collections.Counter(), []
        for number, path in enumerate(files):
            data = path.read_bytes()
            self.bytes += len(data)
            counts = collections.Counter(_WORD.findall(data.decode(errors="replace")))
            totals.update(counts)
            spread.update(counts.keys())
            self._db.execute("INSERT INTO file VALUES (?, ?, ?)", (number, str(path), counts.total()))
            postings += [(ids.setdefault(word, len(ids)), number, n) for word, n in counts.items()]
            progress(number + 1)
        rows = ((number, word, totals[word], spread[word]) for word, number in ids.items())
        self._db.executemany("INSERT INTO word VALUES (?, ?, ?, ?)", rows)
        self._db.executemany("INSERT INTO posting VALUES (?, ?, ?)", sorted(postings))
        self._db.execute("CREATE INDEX posting_by_file ON posting (file, word, n)")
        self._db.execute("ANALYZE")
        self._db.commit()
        self.postings = len(postings)
        self.words = [word for word, _ in totals.most_common()]

    def related(self, word):
        """The ten words most at home where `word` is dense, as JSON bytes."""
        return json.dumps([text for (text,) in self._db.execute(_RELATED, (word,))]).encode()

    def close(self):
        """Closes the database."""
        self._db.close()
