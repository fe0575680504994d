#!/usr/bin/env python3
"""Tests of the scripts of calibration texts on documents and a server made up here: no packages are fetched.

    contrib/calibration/test.py            # these
    contrib/calibration/make.py OUT.txt    # fetches the packages; compares digests of all of them, and of the text
"""

import collections
import contextlib
import http.server
import io
import json
import pathlib
import re
import tarfile
import tempfile
import threading
import unittest

import make
import passages
import readers
import sample


def words(seed, count):
    numbers = readers.Numbers(seed)
    return " ".join(f"w{numbers.below(10**9)}" for _ in range(count))


def sources(documents=12):
    """Documents of every kind in groups, of words that no other has, and each with its kind's name in every paragraph."""
    return {kind: [[(f"{kind} {group} {number}", "\n\n".join(f"KIND {kind} {group} " + words(hash_of(kind, group, number, p), 40)
                                                           for p in range(18))) for number in range(documents)]
                   for group in range(2)]
            for kind in make.LENGTH}


def hash_of(*parts):
    return sum(ord(c) * 131**i for i, c in enumerate(" ".join(map(str, parts)))) % 2**64


class Text(unittest.TestCase):
    def test_every_cycle_has_all_kinds_in_their_shares(self):
        text, left_out = make.make(sources(), 4, [])
        self.assertEqual(left_out, [])
        found = re.findall(r"KIND (\S+)", text)
        runs = [kind for at, kind in enumerate(found) if at == 0 or found[at - 1] != kind]
        self.assertEqual(runs, make.CYCLE * 4)
        self.assertEqual(set(make.CYCLE), set(make.LENGTH))

    def test_no_two_passages_of_a_kind_are_neighbours(self):
        for here, following in zip(make.CYCLE, make.CYCLE[1:] + make.CYCLE[:1]):
            self.assertNotEqual(here, following)

    def test_fewer_cycles_are_the_beginning_of_more(self):
        few, _ = make.make(sources(), 2, [])
        many, _ = make.make(sources(), 4, [])
        self.assertTrue(many.startswith(few.rstrip("\n")))

    def test_groups_of_a_kind_take_turns(self):
        text, _ = make.make(sources(), 4, [])
        found = re.findall(r"KIND (\S+ \d)", text)
        passages_ = [group for at, group in enumerate(found) if at == 0 or found[at - 1] != group]
        counts = collections.Counter(group for group in passages_ if group.startswith("languages"))
        self.assertEqual(counts, {"languages 0": 4, "languages 1": 4})

    def test_what_is_measured_on_is_left_out(self):
        plain, _ = make.make(sources(), 4, [])
        passage = plain[len(plain) // 2:].split()[20:20 + passages.WORDS]
        # Whatever the case and punctuation.
        other = "Before. " + " -- ".join(passage).upper() + "! After."
        text, left_out = make.make(sources(), 4, [other])
        self.assertEqual(len(left_out), 1)
        self.assertNotIn(" ".join(passage), text)
        self.assertTrue(passages.runs(other).isdisjoint(passages.runs(text)))
        # Twelve words are not enough.
        text, left_out = make.make(sources(), 4, [" ".join(passage[1:])])
        self.assertEqual((text, left_out), (plain, []))

    def test_repetitions_are_left_out(self):
        documents = sources()
        first = documents["essays"][0]
        documents["essays"][0] = [(f"{name} again", first[0][1]) for name, _ in first] + first
        text, _ = make.make(documents, 4, [])
        self.assertEqual(len(re.findall(r"KIND essays", text)), len(set(re.findall(r"KIND essays.*", text))))

    def test_too_little_is_an_error(self):
        documents = sources()
        documents["sums"] = [[]]
        with self.assertRaisesRegex(SystemExit, "kind sums"):
            make.make(documents, 1, [])


class Passages(unittest.TestCase):
    def test_pieces_are_of_about_the_length(self):
        for text in ["\n\n".join(words(n, 40) for n in range(30)), words(1, 3000), "\n".join(words(n, 9) for n in range(200)),
                     "長い文章。" * 2000]:
            pieces = list(passages.split(text, 1500))
            self.assertGreater(len(pieces), 4)
            for piece in pieces:
                self.assertLessEqual(len(piece.encode()), 3000)
            joined = re.sub(r"\s+", "", "".join(pieces))
            self.assertTrue(re.sub(r"\s+", "", text).startswith(joined))


class Readers(unittest.TestCase):
    def test_member_of_a_debian_package(self):
        inner = io.BytesIO()
        with tarfile.open(fileobj=inner, mode="w:xz") as out:
            entry = tarfile.TarInfo("./usr/share/help/de/gnome-help/a.page")
            page = ("<page><info><title>x</title></info><title>Kopf</title><p>Der <em>Satz</em> &amp; mehr.</p>"
                    "<p>Noch\n  einer.</p><p>Dritter.</p></page>").encode()
            entry.size = len(page)
            out.addfile(entry, io.BytesIO(page))
        data = b"!<arch>\n"
        for name, body in [("debian-binary", b"2.0\n"), ("control.tar.xz", b"odd"), ("data.tar.xz", inner.getvalue())]:
            data += f"{name:<16}{0:<12}{0:<6}{0:<6}{'100644':<8}{len(body):<10}`\n".encode() + body + b"\n" * (len(body) % 2)
        with tempfile.TemporaryDirectory() as folder:
            path = pathlib.Path(folder, "a.deb")
            path.write_bytes(data)
            pages = readers.mallard(readers.archive(path), "de")
        self.assertEqual(pages, [("a.page", "# Kopf\n\nDer Satz & mehr.\n\nNoch einer.\n\nDritter.")])

    def test_dialogues(self):
        package = readers.Archive({"c/data/english/x.yml": lambda: (
            b"categories:\n- a\nconversations:\n- - 'Hello?'\n  - Hi\n    there\n- - Code\n  - |\n    x:\n\n      y\n- - Hello?\n  - Hi\n"
            b"    there\n")})
        self.assertEqual([turns for _, turns in readers.dialogues(package, "english")],
                         [["Hello?", "Hi there"], ["Code", "x:\n\n  y"]])

    def test_every_template_has_every_turn(self):
        turns = ["Why?", 'Because "it" is.', "And?", "That is all."]
        for template in readers.TEMPLATES:
            text = template(turns)
            at = [text.index(turn.replace('"', '\\"') if text.startswith("{") else turn) for turn in turns]
            self.assertEqual(at, sorted(at))

    def test_sums_are_right(self):
        text = "\n\n".join(text for _, text in readers.sums())
        products = re.findall(r"Compute \$(\d+) \\cdot (\d+)\$.*?= (\d+)\. \\\]", text, flags=re.S)
        self.assertGreater(len(products), 20)
        for a, b, c in products:
            self.assertEqual(int(a) * int(b), int(c))
        roots = re.findall(r"product is \$(-?\d+)\$: these are \$(-?\d+)\$ and \$(-?\d+)\$", text)
        self.assertGreater(len(roots), 20)
        for product, p, q in roots:
            self.assertEqual(int(p) * int(q), int(product))

    def test_notices_of_licences_are_left_out_of_code(self):
        body = "int main(void)\n{\n    return 0;\n}\n" * 20
        package = readers.Archive({"a.c": lambda: ("/* Copyright A. The MIT License. */\n\n" + body).encode(),
                                   "b.c": lambda: ("/* What it does. */\n" + body).encode(),
                                   "c.c": lambda: ("// Copyright B\n// (see LICENSE)\n\n// What it does.\n" + body).encode(),
                                   "d.c": lambda: ("#!/bin/sh\n# Copyright C\n\n#include <a.h>\n" + body).encode()})
        self.assertEqual([text for _, text in readers.code(package, r"\.c$")],
                         [body, "/* What it does. */\n" + body, "// What it does.\n" + body, "#!/bin/sh\n#include <a.h>\n" + body])


class StandIn(http.server.BaseHTTPRequestHandler):
    """Answers as a llama-server whose tokens are words, and whose model writes `own` until it ends after 300 tokens."""

    asked = []

    def do_POST(self):
        request = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.asked.append((self.path, request))
        answer = {
            "/tokenize": lambda: {"tokens": [int(word) for word in request["content"].split()]},
            "/detokenize": lambda: {"content": " ".join("\ufffd" if t == 0 else str(t) for t in request["tokens"])},
            "/completion": lambda: {"content": " own" * min(300, request["n_predict"]),
                                    "tokens_predicted": min(300, request["n_predict"])},
        }[self.path]()
        data = json.dumps(answer).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_):
        pass


@contextlib.contextmanager
def stand_in():
    StandIn.asked = []
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), StandIn)
    threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True).start()
    try:
        yield sample.Server(f"http://127.0.0.1:{server.server_port}/")
    finally:
        server.shutdown()
        server.server_close()


class Sampled(unittest.TestCase):
    # Half of them no characters by themselves.
    TEXT = " ".join(str(n if n % 2 else 0) for n in range(2 * sample.WINDOW))

    def make(self, windows, seed=1):
        with stand_in() as server, contextlib.redirect_stderr(io.StringIO()):
            return sample.make(server, self.TEXT, windows, seed)

    def test_windows_of_the_text_and_of_the_model_take_turns(self):
        text = self.make(4)
        kinds = ["own" if word == "own" else "text" for word in text.split()]
        runs = [kind for at, kind in enumerate(kinds) if at == 0 or kinds[at - 1] != kind]
        # The model ended once in each of its windows, where another word of the text begins.
        self.assertEqual(runs, ["text", "own"] * 4)
        self.assertEqual(len(kinds), 4 * sample.WINDOW)
        self.assertEqual(kinds.count("own"), 2 * (sample.WINDOW - 2))
        self.assertEqual(text.split()[:4], ["\ufffd", "1", "\ufffd", "3"])
        self.assertEqual(text, self.make(4))
        self.assertNotEqual(text, self.make(4, seed=2))

    def test_the_model_is_sampled_as_it_is(self):
        self.make(2)
        asked = [request for path, request in StandIn.asked if path == "/completion"]
        self.assertEqual([request["n_predict"] for request in asked], [sample.WINDOW - 1, sample.WINDOW - 302])
        for request in asked:
            self.assertEqual((request["temperature"], request["top_k"], request["top_p"], request["min_p"]), (1.0, 0, 1.0, 0.0))
            self.assertNotIn("\ufffd", request["prompt"])

    def test_what_is_missing_is_told(self):
        with self.assertRaisesRegex(SystemExit, "at least 1536 tokens for 6 windows, found 1024"):
            self.make(6)
        with stand_in() as server:
            pass
        with self.assertRaisesRegex(SystemExit, "/tokenize: expected the answer of a llama-server"):
            server.tokens("1")


if __name__ == "__main__":
    unittest.main()
