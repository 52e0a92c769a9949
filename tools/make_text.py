"""Make the bundled calibration and evaluation text from real Wikipedia articles.

Usage: python tools/make_text.py WHEEL

WHEEL is a gensim 4.4.0 wheel, whose test data holds a shortened dump of the English Wikipedia.
The markup is parsed with mwparserfromhell (needed by this tool only). The output is deterministic:
the same wheel always gives the same bytes. One line is one paragraph, an empty line ends an article.
"""

import argparse
import bz2
import calendar
import hashlib
import html
import re
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import mwparserfromhell

OUT = Path(__file__).resolve().parent.parent / "harness" / "bundled" / "text"
MEMBER = re.compile(r"enwiki-latest-pages-articles1\.xml.*-shortened\.bz2$")
XML = "{http://www.mediawiki.org/xml/export-0.10/}"
EVALUATION_BYTES = 250_000
SHORTEST_ARTICLE = 1_500
SHORTEST_PARAGRAPH = 80

# Something with no plain-text form stood here: the bracket or the sentence around it has to go.
GAP = "\x00"
# The line is a list entry or an indented line, not prose.
NOT_PROSE = "\x01"
HEADING = "\x02"
GAP_TAGS = {"math", "code", "source", "chem", "syntaxhighlight", "pre", "tt", "poem"}
EMPTY_TAGS = {
    "ref",
    "references",
    "table",
    "gallery",
    "hr",
    "imagemap",
    "timeline",
    "div",
    "center",
    "ol",
    "ul",
}
LAST_SECTIONS = {
    "see also", "references", "external links", "notes", "further reading", "bibliography", "footnotes",
    "notes and references", "sources", "filmography", "works", "works cited", "citations", "selected works",
    "publications", "references and notes", "notes and citations", "literature", "discography",
}  # fmt: skip
# Templates which leave no hole in the sentence when they go.
SILENT = re.compile(
    r"^(cite|vcite|citation|harv|sfn|rp$|efn|refn|dead link|clarify|page needed|when$|who$|which|according|"
    r"main$|see also|further|about$|redirect|other uses|use (dmy|mdy)|pp-|good article|featured|anchor|"
    r"flagicon|wayback|dubious|verify|failed|by whom|update|better source|original research|full|"
    r"not in citation|self-published|vague|weasel|pov|commons|wiki|portal|clear|toc|infobox|multiple image|"
    r"webarchive|subscription|registration|increase|decrease|nb$|ref$|coord|inline|unreliable|specify|"
    r"reference|elucidate|dn$|sic$|quote box|double image|wide image|hatnote|distinguish|refimprove|expand)"
)
FIRST_ARGUMENT = {
    "nowrap",
    "nobr",
    "small",
    "smaller",
    "vanchor",
    "sc",
    "nihongo",
    "em",
    "nts",
    "visible anchor",
}
EN_DASH = "\u2013"
FIXED = {
    "'s": "'s", "'": "'", "nbsp": " ", "spaces": " ", "space": " ", "ndash": EN_DASH, EN_DASH: EN_DASH,
    "spaced ndash": f" {EN_DASH} ", "spnd": f" {EN_DASH} ", "dash": f" {EN_DASH} ", "snd": f" {EN_DASH} ",
    "mdash": "\u2014", "em dash": "\u2014", "·": " ·", "!": "",
}  # fmt: skip
UNITS = {
    "mi": "miles", "sqmi": "square miles", "ft": "feet", "in": "inches", "lb": "pounds", "acre": "acres",
    "km2": "square kilometres", "km": "kilometres", "m": "metres", "cm": "centimetres", "kg": "kilograms",
    "yd": "yards", "nmi": "nautical miles", "C": "°C", "F": "°F", "ha": "hectares", "mph": "miles per hour",
    "g": "grams", "mm": "millimetres", "oz": "ounces", "L": "litres", "t": "tonnes", "st": "short tons",
}  # fmt: skip
# Letters a reader of English meets in prose; any other script or phonetic sign is treated as a gap.
ODD = re.compile(r"[^\x00-\x02\x20-\x7e\n°·½¼¾£€À-ž\u2013\u2014…]")
PLAIN = str.maketrans(
    {"\u00a0": " ", "\u2009": " ", "\u202f": " ", "\u200b": "", "\u00ad": "", "\t": " ", "\u2018": "'",
     "\u2019": "'", "\u201c": '"', "\u201d": '"', "\u2212": "-", "\u2011": "-", "\u2010": "-"}
)  # fmt: skip
# A full stop that ends a sentence, not one behind an abbreviation or an initial.
SENTENCE_END = re.compile(
    r"(?<!\b[A-Z]\.)(?<!\bc\.)(?<!\bca\.)(?<!\bMr\.)(?<!\bMrs\.)(?<!\bDr\.)(?<!\bSt\.)(?<!\bvs\.)(?<!\bNo\.)"
    r"(?<!\be\.g\.)(?<!\bi\.e\.)(?<!\bfl\.)(?<!\bet al\.)(?<!\bGen\.)(?<!\bProf\.)"
    r"(?<=[.!?:\"')])(?<!\w\))(?<!\w[\"'])"
    r" +(?=[\"'(\x00A-Z0-9])"
)


@dataclass(frozen=True)
class Article:
    """One cleaned article and where it came from."""

    title: str
    revision: str
    timestamp: str
    text: str


def convert_text(words: list[str]) -> str:
    """The first measurement of a conversion, its unit spelt out."""
    for count, word in enumerate(words):
        if re.search(r"[A-Za-z]", word) and word not in {"to", "and", "by", "x", "or"}:
            return f"{' '.join(words[:count]).replace(' - ', EN_DASH)} {UNITS.get(word, word)}"
    return GAP


def date_text(words: list[str], lower: bool) -> str:
    """The words of an "as of" template: a year, perhaps with a month."""
    month = calendar.month_name[int(words[1])] + " " if len(words) > 1 and words[1].isdigit() else ""
    return ("as of " if lower else "As of ") + month + words[0]


def template_text(node: Any) -> str:
    """The plain text of a template, or a gap where it has none."""
    name = str(node.name).strip().replace("_", " ").lower()
    words = [render(p.value).strip() for p in node.params if not p.showkey]
    text = "" if SILENT.match(name) else GAP
    if name in FIXED:
        text = FIXED[name]
    elif name in {"convert", "cvt"}:
        text = convert_text(words)
    elif name in {"c.", "circa"}:
        text = "c. " + "".join(words[:1])
    elif words and name == "as of":
        text = date_text(words, lower=any(str(p.name).strip() == "lc" for p in node.params))
    elif words and name in FIRST_ARGUMENT:
        text = words[0]
    elif words and name in {"lang", "transl"}:
        text = words[-1]
    elif words and name in {"quote", "cquote", "blockquote"}:
        text = "\n" + words[0] + "\n"
    return text


def render(code: Any) -> str:
    """Plain text of parsed wiki markup, with the marks defined above where there is none."""
    parts: list[str] = []
    for node in code.nodes:
        kind = type(node).__name__
        if kind == "Text":
            parts.append(str(node))
        elif kind == "HTMLEntity":
            parts.append(html.unescape(str(node)))
        elif kind == "Wikilink":
            title = str(node.title).strip()
            if not re.match(r"(?i):?(file|image|category|media|[a-z]{2,3}):\S", title):
                parts.append(render(node.text) if node.text is not None else title.lstrip(":"))
        elif kind == "ExternalLink":
            parts.append(render(node.title) if node.title is not None else GAP)
        elif kind == "Heading":
            parts.append(f"\n{HEADING}{render(node.title).strip()}\n")
        elif kind == "Template":
            parts.append(template_text(node))
        elif kind == "Tag":
            parts.append(tag_text(node))
    return "".join(parts)


def tag_text(node: Any) -> str:
    """Plain text of one HTML or wiki tag."""
    tag = str(node.tag).lower()
    if tag in EMPTY_TAGS:
        return ""
    if tag in {"li", "dd", "dt"}:
        return NOT_PROSE
    if tag in GAP_TAGS:
        return GAP
    if tag == "br":
        return " "
    inner = render(node.contents) if node.contents is not None else ""
    if tag == "sup" and inner not in {"th", "st", "nd", "rd"}:
        return GAP
    return f"\n{inner}\n" if tag == "blockquote" else inner


def paragraph(line: str) -> str:
    """A clean paragraph, or nothing where too little prose is left."""
    if NOT_PROSE in line or line.lstrip().startswith(("|", "{", "}", "!", "*", "#", ":", ";")):
        return ""
    line = ODD.sub(GAP, line)
    previous = ""
    while previous != line:
        previous = line
        line = re.sub(rf" *\([^()]*{GAP}[^()]*\)", "", line)
        line = re.sub(r" *\((?:[\s,;:]|or|and|also|from)*\)", "", line)
    kept = [s for s in SENTENCE_END.split(line) if not re.search(rf"[{GAP}{{}}<>|=\[\]]|https?:|''|\"\"|,\.", s)]
    while kept and kept[-1].endswith(":"):
        kept.pop()
    line = re.sub(r"\(\s*[;,]\s*", "(", re.sub(r" {2,}", " ", " ".join(kept)))
    line = re.sub(r" +([,.;:!?)])", r"\1", line).replace(",,", ",").replace("( ", "(").strip()
    prose = re.match(r"[\"'(A-Z0-9]", line) and re.search(r"[.!?][\"')]?$", line)
    return line if prose and len(line) >= SHORTEST_PARAGRAPH and line.count("(") == line.count(")") else ""


def article_text(markup: str) -> str:
    """The prose of an article: its paragraphs before the closing sections, one a line."""
    markup = re.sub(r"__[A-Z]+__", "", markup)
    lines: list[str] = []
    for raw in render(mwparserfromhell.parse(markup)).translate(PLAIN).split("\n"):
        if raw.startswith(HEADING):
            if raw[1:].strip().lower() in LAST_SECTIONS:
                break
        elif text := paragraph(raw.strip()):
            lines.append(text)
    return "\n".join(lines) + "\n"


def articles(wheel: Path) -> Iterator[Article]:
    """The usable articles of the dump in the wheel, in its order."""
    with zipfile.ZipFile(wheel) as archive:
        [member] = [name for name in archive.namelist() if MEMBER.search(name)]
        root = ElementTree.fromstring(bz2.decompress(archive.read(member)))
    for page in root.iter(f"{XML}page"):
        title = page.findtext(f"{XML}title", "")
        redirect = page.find(f"{XML}redirect") is not None
        if redirect or page.findtext(f"{XML}ns") != "0" or title.startswith("List of"):
            continue
        revision = f"{XML}revision/{XML}"
        body = article_text(page.findtext(f"{revision}text", ""))
        if "(disambiguation)" not in title and len(body) >= SHORTEST_ARTICLE:
            yield Article(title, page.findtext(f"{revision}id", ""), page.findtext(f"{revision}timestamp", ""), body)


def attribution(parts: dict[str, list[Article]]) -> str:
    """The attribution page which the licence asks for."""
    newest = max(article.timestamp for part in parts.values() for article in part)[:10]
    text = f"""# Attribution

`calibration.txt` and `evaluation.txt` are adapted from articles of the English Wikipedia
(<https://en.wikipedia.org/>), written by its contributors, as they stood in a dump whose newest article
here is of {newest}. The dump is the test data file
`enwiki-latest-pages-articles1.xml-p000000010p000030302-shortened.bz2` of gensim 4.4.0.

Licence: Creative Commons Attribution-ShareAlike 3.0 Unported (CC BY-SA 3.0,
<https://creativecommons.org/licenses/by-sa/3.0/>). The two text files are offered under the same licence.
The authors of an article are listed in its page history; the revision used is at
`https://en.wikipedia.org/w/index.php?oldid=REVISION`.

Changes made: markup, templates, tables, references, headings, lists, captions, formulas and closing sections
were removed; brackets and sentences which depended on one of them, or on letters outside Latin script,
were left out; measurements keep only their first unit; quotation marks, dashes and spaces were made uniform.
Redirects, lists, disambiguation pages and stubs were skipped. No article is in both files.
The files are made by `tools/make_text.py`.
"""
    for name, part in parts.items():
        size = sum(len(article.text.encode()) + 1 for article in part)
        text += f"\n## {name}\n\n{len(part)} articles, {size:,} bytes.\n\n| Article | Revision |\n| --- | --- |\n"
        text += "".join(f"| {article.title} | {article.revision} |\n" for article in part)
    return text


def main() -> None:
    """Write both text files and their attribution."""
    parser = argparse.ArgumentParser(description="Make the bundled text from a gensim wheel.")
    parser.add_argument("wheel", type=Path)
    found = list(articles(parser.parse_args().wheel))
    # A hash of the title picks the evaluation articles: fixed, and blind to what is in them.
    order = sorted(found, key=lambda article: hashlib.sha256(article.title.encode()).digest())
    held_out: set[str] = set()
    size = 0
    for article in order:
        if size >= EVALUATION_BYTES:
            break
        held_out.add(article.title)
        size += len(article.text.encode()) + 1
    parts = {
        "calibration.txt": [a for a in found if a.title not in held_out],
        # Shortest first, so that a short look at the file already meets several subjects.
        "evaluation.txt": sorted((a for a in found if a.title in held_out), key=lambda a: len(a.text)),
    }
    OUT.mkdir(parents=True, exist_ok=True)
    for name, part in parts.items():
        data = "\n".join(article.text for article in part).encode()
        (OUT / name).write_bytes(data)
        print(f"{name}: {len(part)} articles, {len(data):,} bytes")
    (OUT / "ATTRIBUTION.md").write_bytes(attribution(parts).encode())


if __name__ == "__main__":
    main()
