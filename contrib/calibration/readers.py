"""Texts out of packages: what each kind of file says, without its markup."""

import html
import io
import json
import re
import tarfile
import zipfile

import passages


class Archive:
    """The files of a package: (path, text) of those whose path matches, by path."""

    def __init__(self, files):
        self.files = files

    def read(self, pattern):
        for path in sorted(self.files):
            if re.search(pattern, path):
                try:
                    text = self.files[path]().decode("utf-8")
                except UnicodeDecodeError:
                    continue
                yield path, text.replace("\r\n", "\n")


def archive(path):
    """A package of npm, PyPI or Debian."""
    if path.suffix == ".whl":
        wheel = zipfile.ZipFile(path)
        return Archive({name: lambda name=name: wheel.read(name) for name in wheel.namelist()})
    if path.suffix == ".deb":
        return tar(io.BytesIO(member(path.read_bytes(), "data.tar")))
    return tar(path.open("rb"))


def member(data, name):
    """The member of an ar archive whose name begins so."""
    at = 8
    while data[:8] == b"!<arch>\n" and at + 60 <= len(data):
        size = int(data[at + 48:at + 58])
        if data[at:at + 16].decode("ascii").startswith(name):
            return data[at + 60:at + 60 + size]
        at += 60 + size + size % 2
    raise SystemExit(f"a Debian package: no member {name} found")


def tar(file):
    """All text files of a tar archive, read once: a compressed one cannot be read in another order."""
    files = {}
    with tarfile.open(fileobj=file) as opened:
        for entry in opened:
            if entry.isfile() and not re.search(r"\.(png|jpg|gif|svg|mo|gz|ogg|ttf|a|so|dll|node|pdf)$", entry.name):
                data = opened.extractfile(entry).read()
                files[entry.name] = lambda data=data: data
    return Archive(files)


def plain(package, pattern):
    return [(path, text) for path, text in package.read(pattern)]


def markdown(package, pattern):
    return [(path, re.sub(r"\A---\n.*?\n---\n", "", text, flags=re.S)) for path, text in package.read(pattern)]


def mathematics(package, pattern):
    """What documentation has formulas in: roles become dollars, and directives displayed equations."""
    documents = []
    for path, text in package.read(pattern):
        text = re.sub(r":math:`([^`]+)`", r"$\1$", text)
        text = re.sub(r"^( *)\.\. math:: *(\S.*)$", r"\1\\[ \2 \\]", text, flags=re.M)
        text = re.sub(r"^( *)\.\. math:: *\n\n?((?:\1 +.*\n)+)", r"\1\\[\n\2\1\\]\n", text, flags=re.M)
        text = re.sub(r"^ *(\.\. (auto\w+|module|currentmodule|index)::.*|:(members|show-inheritance|noindex).*)\n", "", text,
                      flags=re.M)
        for number, part in enumerate(passages.split(re.sub(r"\n{3,}", "\n\n", text), 1800)):
            if len(re.findall(r"\$[^$\n]+\$", part)) + 2 * part.count("\\[") >= 4:
                documents.append((f"{path} {number}", part))
    return documents


def untagged(text):
    """A line of text of marked-up text."""
    return re.sub(r"\s+", " ", html.unescape(re.sub(r"<[^>]*>", "", text))).strip()


def mallard(package, language):
    """Pages of Gnome's help."""
    pages = []
    for path, text in package.read(rf"/help/{re.escape(language)}/gnome-help/[^/]*\.page$"):
        text = re.sub(r"<info>.*?</info>|<!--.*?-->|<\?.*?\?>", "", text, flags=re.S)
        blocks = []
        for tag, body in re.findall(r"<(title|p|screen|code)(?:\s[^>]*)?>(.*?)</\1>", text, flags=re.S):
            line = untagged(body)
            if line:
                blocks.append(f"# {line}" if tag == "title" and not blocks else f"## {line}" if tag == "title" else line)
        if len(blocks) > 3:
            pages.append((path.rsplit("/", 1)[1], "\n\n".join(blocks)))
    return pages


def handbook(package, language):
    """Sections of the handbook."""
    sections = []
    for path, text in package.read(rf"/html/{re.escape(language)}/[^/]*\.html$"):
        text = re.sub(r'<ul class="docnav">.*?</ul>|<head>.*?</head>', "", text, flags=re.S)
        blocks = []
        for listing, heading, body in re.findall(
                r"<pre[^>]*>(.*?)</pre>|<(?:h\d|p) class=\"title\"[^>]*>(.*?)</(?:h\d|p)>|<div class=\"para\">(.*?)(?=<div|</div>)",
                text, flags=re.S):
            if listing:
                blocks.append(html.unescape(re.sub(r"<[^>]*>", "", listing)).strip("\n"))
            elif untagged(heading or body):
                blocks.append(untagged(heading or body))
        if sum(map(len, blocks)) > 600:
            sections.append((path.rsplit("/", 1)[1], "\n\n".join(blocks)))
    return sections


def cataclysm(package):
    """Stories, notes, reports and what people of a game tell."""
    documents = []
    for path, text in package.read(r"/cataclysm-dda/json/.*\.json$"):
        try:
            entries = json.loads(text)
        except json.JSONDecodeError:
            continue
        told = []
        for entry in entries if isinstance(entries, list) else [entries]:
            kind = entry.get("type") if isinstance(entry, dict) else None
            said = entry.get("text") if kind == "snippet" else entry.get("dynamic_line") if kind == "talk_topic" else None
            for line in said if isinstance(said, list) else [said]:
                line = line.get("text") if isinstance(line, dict) else line
                line = line.get("str") if isinstance(line, dict) else line
                line = re.sub(r"</?color[^>]*>", "", line) if isinstance(line, str) else ""
                if len(line) > 200 and "<" not in line:
                    told.append(re.sub(r"[ \t]+", " ", line).strip().replace("\n\n", "\n"))
        if told:
            documents.append((path, "\n\n".join(told)))
    return documents


def leaves(value, path=()):
    """(headings, text) of all texts of a country's profile."""
    if isinstance(value, dict):
        for key, inner in value.items():
            if key == "text" and isinstance(inner, str):
                yield path, re.sub(r"\s+", " ", inner).strip()
            else:
                yield from leaves(inner, (*path, key))


def factbook(package):
    """Countries: name, and the facts in their order."""
    countries = []
    for _, text in package.read(r"package/(?!world|meta)[a-z-]+/[a-z]{2}\.json$"):
        facts = list(leaves(json.loads(text)))
        names = [fact for path, fact in facts if path[-1:] == ("conventional short form",)]
        if names and names[0] not in ("none", ""):
            countries.append((names[0], facts))
    return countries


def prose_of_countries(countries):
    documents = []
    for name, facts in countries:
        told = [f"{path[1] if len(path) > 1 else path[-1]}: {fact}" for path, fact in facts if len(fact) > 140]
        documents.append((name, "\n\n".join([name, *told])))
    return documents


def tables_of_countries(countries):
    """Short facts as tables: one country in Markdown, and many countries with a few columns in CSV and JSON."""
    documents = []
    short = [(name, {path[1:]: fact for path, fact in facts if len(path) > 1 and len(fact) < 60}) for name, facts in countries]
    for name, facts in short[::3]:
        rows = [f"| {' / '.join(path)} | {fact.replace('|', '/')} |" for path, fact in facts.items()]
        for first in range(0, len(rows), 24):
            head = f"{name}\n\n| field | value |\n|---|---|\n"
            documents.append((f"{name} {first}", head + "\n".join(rows[first:first + 24])))
    columns = [[("Population",), ("Median age", "total"), ("Birth rate",), ("Death rate",)],
               [("Area", "total"), ("Coastline",), ("Internet country code",), ("Railways", "total")],
               [("GDP (purchasing power parity)",), ("Inflation rate (consumer prices)",), ("Exports",), ("Imports",)],
               [("Airports",), ("Internet users", "total"), ("Electricity - production",), ("Roadways", "total")]]
    for number, wanted in enumerate(columns):
        for first in range(0, len(short), 20):
            lines = ["country," + ",".join(" ".join(path).lower() for path in wanted)]
            objects = []
            for name, facts in short[first:first + 20]:
                found = [facts.get(path, "") for path in wanted]
                found = [re.sub(r" \([^)]*\).*", "", fact) for fact in found]
                lines.append(",".join(f'"{x}"' if "," in x else x for x in [name, *found]))
                objects.append({"country": name, **{path[0]: fact for path, fact in zip(wanted, found) if fact}})
            documents.append((f"csv {number} {first}", "\n".join(lines)))
            if number % 2:
                documents.append((f"json {number} {first}", json.dumps(objects, indent=2, ensure_ascii=False)))
    return documents


def code(package, pattern):
    """Source files, without the notice of the licence at their heads."""
    documents = []
    for path, text in package.read(pattern):
        if re.search("licen[sc]e|copyright", text[:600], re.I):
            text = re.sub(r"\A(#!.*\n)?\s*(/\*[\s\S]*?\*/|<!--[\s\S]*?-->|((//|#(?!include|import|if|define|pragma)).*\n)+)\s*", r"\1",
                          text)
        if len(text) > 400:
            documents.append((path, text.expandtabs(4)))
    return documents


def dialogues(package, language):
    """Turns of conversations. The files are YAML of one shape: a list of lists of strings."""
    found, seen = [], set()
    for path, text in package.read(rf"/data/{language}/.*\.yml$"):
        turns, block, here = [], False, []
        for line in text.split("\n") + ["- - "]:
            start = re.match(r"(- -|  -) ?(.*)$", line)
            if start:
                if start[1] == "- -":
                    if len(turns) > 1 and tuple(turns) not in seen:
                        seen.add(tuple(turns))
                        here.append([turn.strip() for turn in turns])
                    turns = []
                said = start[2].strip()
                block = said in ("|", "|-", ">")
                turns.append("" if block else said.strip("'\""))
            elif turns and line.startswith("    "):
                turns[-1] += ("\n" if block else " ") + (line[4:] if block else line.strip().strip("'\""))
            elif turns and block and not line.strip():
                turns[-1] += "\n"
        found += [(f"{path} {number}", chat) for number, chat in enumerate(here)]
    return found


def instructions(pages):
    """Questions and their answers, of pages whose titles say what one does."""
    found = []
    for name, text in pages:
        title, *blocks = text.split("\n\n")
        title = title.removeprefix("# ").rstrip(".?")
        steps = [f"{number}. {block}" for number, block in enumerate((b for b in blocks if not b.startswith("##")), 1)]
        asked = f"{title}?" if title.split()[0] in ("Why", "What", "How", "Can") else f"How do I do this: {title[:1].lower()}{title[1:]}?"
        found.append((name, [asked, "\n".join(steps)[:1400].rsplit("\n", 1)[0]]))
    return found


def chats(conversations):
    """Conversations as models see them: in the messages of the usual templates, by turns; a few short ones together."""
    groups, size = [], 0
    for name, turns in conversations:
        turns = [turn for turn in turns if turn]
        if len(turns) < 2:
            continue
        if not groups or size > 300 or groups[-1][0].split(" ")[0] != name.split(" ")[0]:
            groups.append((name, []))
            size = 0
        groups[-1][1].extend(turns[:2] if len(turns) % 2 else turns)
        size += sum(map(len, turns))
    return [(name, TEMPLATES[number % len(TEMPLATES)](turns)) for number, (name, turns) in enumerate(groups)]


SYSTEM = ["You are a helpful assistant.", "You are a careful assistant who answers briefly.",
          "Answer in the language of the question.", "You are an expert. If you are not sure, say so."]


def template(form, first="", last=""):
    def render(turns):
        roles = ["user", "assistant"] * len(turns)
        system = SYSTEM[len(turns[0]) % len(SYSTEM)]
        return first.format(system=system) + "".join(form[role].format(text=turn) for role, turn in zip(roles, turns)) + last
    return render


def messages(turns):
    return json.dumps({"messages": [{"role": role, "content": turn} for role, turn in zip(["user", "assistant"] * len(turns), turns)]},
                      ensure_ascii=False, indent=1)


TEMPLATES = [
    template({role: "<|im_start|>" + role + "\n{text}<|im_end|>\n" for role in ("user", "assistant")},
             "<|im_start|>system\n{system}<|im_end|>\n"),
    template({role: "<|start_header_id|>" + role + "<|end_header_id|>\n\n{text}<|eot_id|>" for role in ("user", "assistant")},
             "<|start_header_id|>system<|end_header_id|>\n\n{system}<|eot_id|>", "\n"),
    template({"user": "[INST] {text} [/INST]", "assistant": " {text}</s>"}, "", "\n"),
    template({"user": "<start_of_turn>user\n{text}<end_of_turn>\n", "assistant": "<start_of_turn>model\n{text}<end_of_turn>\n"}),
    template({"user": "### Instruction:\n{text}\n\n", "assistant": "### Response:\n{text}\n\n"}, "{system}\n\n"),
    template({"user": "User: {text}\n", "assistant": "Assistant: {text}\n"}),
    messages,
]


class Numbers:
    """The same pseudo-random numbers everywhere."""

    def __init__(self, seed):
        self.state = seed

    def below(self, bound):
        self.state = (self.state * 6364136223846793005 + 1442695040888963407) % 2**64
        return (self.state >> 33) % bound

    def between(self, low, high):
        return low + self.below(high - low + 1)


def sums():
    """Worked exercises in words and in LaTeX, made up here."""
    return [(f"sums {number}", "\n\n".join(exercise(Numbers(1000 * number + item)) for item in range(9)))
            for number in range(80)]


def exercise(n):
    a, b, c = n.between(2, 97), n.between(2, 89), n.between(2, 19)
    kind = n.below(8)
    if kind == 0:
        parts = [(a, b // 10 * 10), (a, b % 10)]
        steps = " + ".join(f"{x} \\cdot {y}" for x, y in parts)
        return f"Compute ${a} \\cdot {b}$.\n\\[ {a} \\cdot {b} = {steps} = {a * (b // 10 * 10)} + {a * (b % 10)} = {a * b}. \\]"
    if kind == 1:
        x = n.between(-12, 12)
        return (f"Solve ${c}x + {a} = {c * x + a}$ for $x$.\n\\begin{{align*}}\n{c}x + {a} &= {c * x + a} \\\\\n"
                f"{c}x &= {c * x} \\\\\nx &= {x}\n\\end{{align*}}")
    if kind == 2:
        p, q = n.between(-9, 9), n.between(-9, 9)
        return (f"Find the roots of $x^2 {-p - q:+d}x {p * q:+d}$. We look for two numbers whose sum is ${p + q}$ and whose product "
                f"is ${p * q}$: these are ${p}$ and ${q}$. Hence $x^2 {-p - q:+d}x {p * q:+d} = (x {-p:+d})(x {-q:+d})$.")
    if kind == 3:
        k = n.between(2, 6)
        return (f"Differentiate $f(x) = {c}x^{{{k}}} + {a}x - {b}$. By the power rule,\n\\[ f'(x) = {c * k}x^{{{k - 1}}} + {a}, "
                f"\\qquad f'(1) = {c * k + a}. \\]")
    if kind == 4:
        name = ["Amira", "Tom", "Keiko", "Lucía", "Piotr", "Nadia"][n.below(6)]
        thing = ["apples", "tickets", "pencils", "eggs", "bricks"][n.below(5)]
        total = a * c + b
        return (f"Problem: {name} has {a} boxes with {c} {thing} each and {b} more {thing} besides. How many {thing} are there "
                f"in all?\nSolution: The boxes hold {a} × {c} = {a * c} {thing}. Together with the other {b} there are "
                f"{a * c} + {b} = {total} {thing}.\nAnswer: {total}")
    if kind == 5:
        terms = n.between(5, 40)
        return (f"\\textbf{{Claim.}} $\\sum_{{i=1}}^{{{terms}}} ({c}i) = {c * terms * (terms + 1) // 2}$.\n\\textbf{{Proof.}} "
                f"$\\sum_{{i=1}}^{{n}} i = \\frac{{n(n+1)}}{{2}}$, so the sum is $\\frac{{{c} \\cdot {terms} \\cdot {terms + 1}}}{{2}} = "
                f"{c * terms * (terms + 1) // 2}$. \\qed")
    if kind == 6:
        high, low = max(a, b) * c, min(a, b) * c
        lines, x, y = [], high, low
        while y:
            lines.append(f"{x} = {x // y} \\cdot {y} + {x % y}")
            x, y = y, x % y
        return f"Euclid's algorithm for $\\gcd({high}, {low})$:\n" + "\n".join(f"\\[ {line} \\]" for line in lines) + f"\nThe gcd is ${x}$."
    m = [[n.between(-5, 9) for _ in range(2)] for _ in range(2)]
    d = m[0][0] * m[1][1] - m[0][1] * m[1][0]
    rows = r" \\ ".join(" & ".join(map(str, row)) for row in m)
    return (f"Let $A = \\begin{{pmatrix}} {rows} \\end{{pmatrix}}$. Then $\\det A = {m[0][0]} \\cdot {m[1][1]} - ({m[0][1]}) \\cdot "
            f"({m[1][0]}) = {d}$, so $A$ is {'singular' if d == 0 else 'invertible'} and $\\operatorname{{tr}} A = {m[0][0] + m[1][1]}$.")
