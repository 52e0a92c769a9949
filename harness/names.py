"""Names that become folders, names that were nearly right, and those of optional parts."""

import difflib
import hashlib
import re


def slug(text: str) -> str:
    """`text` as a folder name: lower case, ASCII letters, digits, dots and hyphens, at most 60 characters.

    A text without a letter or digit of ASCII becomes `x-` and eight digits of its SHA-256.
    """
    words = re.findall(r"[a-z0-9]+(?:\.[a-z0-9]+)*", text.lower())
    return "-".join(words)[:60].strip("-.") or f"x-{hashlib.sha256(text.encode(errors='replace')).hexdigest()[:8]}"


def key(text: str) -> str:
    """What of a name counts when names are compared: its letters and digits, whatever their case."""
    return re.sub(r"[\W_]+", "", text).casefold()


def suggestion(text: str, names: list[str]) -> str:
    """` Did you mean …?` with up to three of `names` that are near `text`, or nothing."""
    keys = {key(name): name for name in names}
    wanted = key(text)
    near = difflib.get_close_matches(wanted, keys, n=3, cutoff=0.6)
    near += [k for k in keys if len(wanted) > 1 and wanted in k and k not in near]
    return f" Did you mean {' or '.join(repr(keys[k]) for k in near[:3])}?" if near else ""


def install(extra: str) -> str:
    """How to install an optional part; `harness[...]` would be a package of others on PyPI."""
    return f"pip install '.[{extra}]' in the harness's checkout"
