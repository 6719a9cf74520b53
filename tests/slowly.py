"""Readers of model text once more, slow and obvious: no pattern, one character or one rule at a time."""

import unicodedata
from decimal import Decimal
from itertools import takewhile

# A word and the digits 0 to 9 of each script; emoji and marks that combine have no digits of their own.
WORDS = {
    "Latin": ("plain", "0123456789"),
    "Cyrillic": ("ответ", "0123456789"),
    "Greek": ("λόγος", "0123456789"),
    "Arabic": ("الجواب", "٠١٢٣٤٥٦٧٨٩"),
    "Persian": ("پاسخ", "۰۱۲۳۴۵۶۷۸۹"),
    "Devanagari": ("उत्तर", "०१२३४५६७८९"),
    "Chinese": ("结果", "0123456789"),
    "Japanese": ("答え", "０１２３４５６７８９"),
    "Korean": ("정답", "0123456789"),
    "Thai": ("คำตอบ", "๐๑๒๓๔๕๖๗๘๙"),
    "emoji": ("👩\u200d🔬🇫🇷", "0123456789"),
    "combining": ("e\u0301o\u0308", "0123456789"),
}
SPACELESS = ("Chinese", "Japanese", "Thai")
MARKS_OF = {"Arabic": "٫٬", "Persian": "٫٬", "Japanese": "．，"}  # decimal point and thousands comma


def in_script(spelled, script):
    """A number's ASCII spelling in the digits and marks of a script."""
    point, comma = MARKS_OF.get(script, ".,")
    table = dict(enumerate(WORDS[script][1])) | {".": point, ",": comma}
    return "".join(table[int(c)] if c.isdigit() else table.get(c, c) for c in spelled)


def common(text):
    """A text as `_scorers.common` gives it, a character at a time."""
    wide = (c for c in text)
    return unicodedata.normalize(
        "NFC",
        "".join(
            unicodedata.normalize("NFKC", c) if unicodedata.east_asian_width(c) in "FH" and c != "\u20a9" else c
            for c in wide
        ),
    )


def in_ascii(text):
    """Digits and signs of numbers as on an English keyboard, a character at a time."""
    found = ""
    for c in text:
        if c.isdecimal():
            found += str(unicodedata.decimal(c))
        elif c in "٫٬":
            found += {"٫": ".", "٬": ","}[c]
        elif unicodedata.category(c) == "Pd" or c in "−⁻₋":
            found += "-" if c not in "〜゠" and c in "‐‑‒–—―−﹣－⁻₋-" else c
        else:
            found += unicodedata.normalize("NFKC", c) if 0xFF01 <= ord(c) <= 0xFF5E else c
    return found


def numbers(run):
    """The numbers in digits with commas and points between them, by the rule of `lenient_answer`; None without a rule.

    A run begins and ends with a digit, and has no two marks side by side.
    """
    parts = run.replace(",", ".").split(".")
    commas, points = run.count(","), run.count(".")
    last = max(run.rfind(","), run.rfind("."))

    def grouped(pieces, indian):
        """Whether pieces are groups of thousands."""
        between = pieces[1:-1]
        return (
            1 <= len(pieces[0]) <= 3
            and pieces[0][0] != "0"
            and len(pieces[-1]) == 3
            and (all(len(p) == 3 for p in between) or (indian and all(len(p) == 2 for p in between)))
        )

    if commas and points:
        whole, fraction = run[:last], run[last + 1 :]
        group = "," if run[last] == "." else "."
        if run[last] not in whole and grouped(whole.split(group), indian=group == ","):
            return [Decimal(whole.replace(group, "") + "." + fraction)]
        return None
    if commas and grouped(parts, indian=True):
        return [Decimal("".join(parts))]
    if points > 1:
        return [Decimal("".join(parts))] if grouped(parts, indian=False) else None
    if commas == 1 or not commas:
        return [Decimal(".".join(parts))]
    return [Decimal(part) for part in parts] if all(len(part) == 1 for part in parts) else None


def answer_line(text):
    """What follows the last `Answer:` at the start of a line; see `_scorers.answer_line`."""
    text, found, begin = common(text), None, 0
    for line in text.split("\n"):
        rest, end = line, begin + len(line)
        while rest.startswith((" ", "\t", ">", "#")) or rest[:2] in ("- ", "* ", "+ ", "-\t", "*\t", "+\t"):
            rest = rest[2:] if rest[0] in "-*+" else rest[1:]
        bold = "".join(takewhile(lambda c: c in "*_", rest))
        rest = rest[len(bold) :]
        if rest[:6].lower() == "answer":
            rest = rest[6:].lstrip(" \t")
            closed = rest.removeprefix(bold).lstrip(" \t") if rest.startswith(bold) else ""
            if closed.startswith(":"):
                found = closed[1:], text[end + 1 :], ""
            elif rest.startswith(":" + bold):
                found = rest[1 + len(bold) :], text[end + 1 :], ""
            elif rest.startswith(":"):
                found = rest[1:], text[end + 1 :], bold
        begin = end + 1
    if found is None:
        return None
    line, below, bold = found
    if bold:
        line = line.rstrip().removesuffix(bold)
    return (line if line.strip() else below).strip()


def cut(text, stops):
    """The text before the first place where a stop string begins, and whether there is one."""
    for place in range(len(text)):
        if any(stop and text.startswith(stop, place) for stop in stops):
            return text[:place], True
    return text, False


def places(text, part):
    """Where a part begins in a text, overlapping ones too."""
    return [i for i in range(len(text)) if text.startswith(part, i)]


def is_word(character):
    r"""Whether `\w` is such a character: a mark that combines is none."""
    return character.isalnum() or character == "_"


def words(text):
    r"""The matches of `\w+`."""
    return "".join(c if is_word(c) else " " for c in text).split(" ")


def without_headers(text):
    """Without the headers of channels; see `reasoning.HEADER`."""
    kept, at = "", 0
    while at < len(text):
        size = _header(text, at)
        kept, at = (kept, at + size) if size else (kept + text[at], at + 1)
    return kept


def _header(text, at):
    """The length of the header that begins there, 0 for none."""
    for whole in ("<|end|>", "<|eom|>"):
        if text.startswith(whole, at):
            return len(whole)
    for begins, ends in (("<|start|>", ""), ("<|channel|>", "<|message|>"), ("to=", "<|message|>")):
        name = "".join(takewhile(is_word, text[at + len(begins) :]))
        follows = text.startswith(ends, at + len(begins) + len(name))
        bounded = begins != "to=" or at == 0 or not is_word(text[at - 1])
        if text.startswith(begins, at) and name and follows and bounded:
            return len(begins) + len(name) + len(ends)
    return 0


def fences(text):
    """Where the marks of code fences begin and end; see `humaneval.FENCE`."""
    found, begin = [], 0
    for line in text.split("\n"):
        at = 0
        while at < len(line):
            run = len("".join(takewhile(lambda c: c == line[at], line[at:]))) if line[at] in "`~" else 0  # noqa: B023
            if run >= 3:
                before, after = line[:at], line[at + run :].strip(" \t").lower()
                if not before.strip(" \t"):
                    found.append((begin, begin + at + run))
                elif after in ("", "python", "py", "3", "python3", "py3"):
                    found.append((begin + at, begin + at + run))
            at += run or 1
        begin += len(line) + 1
    return found


def statements(text):
    """What is before the first line at the margin, and from each such line to the next; see `humaneval._statements`."""
    found, decorator = [""], False
    for line in text.split("\n"):
        inside = line[:1].isspace() or line[:1] in tuple(")]}#") or not line
        word = "".join(takewhile(is_word, line))
        if decorator or inside or word in ("else", "elif", "except", "finally"):
            found[-1] += line + "\n"
        else:
            found.append(line + "\n")
        decorator = line.startswith("@")
    found[-1] = found[-1][:-1]  # the end of the text is no end of a line
    return found if found[-1] or len(found) == 1 else found[:-1]
