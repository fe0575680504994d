"""Passages: documents cut into pieces, kinds taken in turn, and what is left out."""

import hashlib
import itertools
import re

# Words in a row that two texts do not share by chance.
WORDS = 13


def text_of(path):
    text = path.read_text(encoding="utf-8")
    if path.suffix == ".jsonl":
        text = text.replace("\\n", " ").replace('\\"', " ")
    return text


def write(path, text):
    """Writes a file that has its name only once it is whole."""
    partial = path.with_name(f".{path.name}.part")
    partial.write_bytes(text.encode())
    partial.replace(path)


def runs(text):
    """All runs of thirteen words, in lower case and without punctuation."""
    words = [word for word in re.split(r"[\W_]+", text.lower()) if word]
    return {" ".join(words[at:at + WORDS]) for at in range(len(words) - WORDS + 1)}


def cut(documents, length):
    """Passages of about so many bytes, (name, text): one of every document, then another one of each, and so on. The documents
    come in an order that has nothing to do with their names, and each begins anywhere, since heads of files are much alike."""
    pieces = []
    for digest, name, text in sorted((hashlib.sha256(name.encode()).digest(), name, text) for name, text in documents):
        texts = list(split(text, length))
        first = int.from_bytes(digest[:4], "big") % max(len(texts), 1)
        pieces.append((name, texts[first:] + texts[:first]))
    for row in itertools.zip_longest(*(texts for _, texts in pieces)):
        for (name, _), text in zip(pieces, row):
            if text is not None:
                yield name, text


def split(text, length):
    """Pieces of a text of about `length` bytes, cut between paragraphs, or lines where one is long."""
    parts = []
    for paragraph in re.split(r"\n{2,}", text.strip("\n")):
        size = len(paragraph.encode())
        parts += [(paragraph, "\n\n")] if size <= length // 2 else [(line, "\n") for line in paragraph.split("\n")]
    piece, size = "", 0
    for part, end in parts:
        while len(part.encode()) > length:  # a paragraph in one long line
            at = max(part.rfind(" ", 0, length // 2), part.rfind("。", 0, length // 2) + 1)
            at = at if at > length // 8 else length // 2
            piece, part = piece + part[:at] + " ", part[at:].lstrip()
            yield piece.strip("\n")
            piece, size = "", 0
        piece += part + end
        size += len((part + end).encode())
        if size >= length * 0.85:
            yield piece.strip("\n")
            piece, size = "", 0
    if size >= length * 0.5:
        yield piece.strip("\n")


def turns(groups):
    """One passage of each group in turn; a group that has no more is passed over."""
    groups = [iter(group) for group in groups]
    while groups:
        for group in list(groups):
            passage = next(group, None)
            if passage is None:
                groups.remove(group)
            else:
                yield passage


class Known:
    """What a new passage may not repeat."""

    def __init__(self, excluded):
        self.excluded = set().union(*map(runs, excluded)) if excluded else set()
        self.taken = set()

    def refuses(self, text):
        """Why a passage cannot be taken: it has a run of words of an excluded text, or many of one that was taken. Otherwise
        None, and the passage is taken."""
        new = runs(text)
        if not new.isdisjoint(self.excluded):
            return "excluded"
        if len(new & self.taken) * 5 > len(new):
            return "repeated"
        self.taken |= new
        return None
