"""Letters that turn the text around, hide in it, or look like others."""


def prune(task):
    raise ValueError("status \u202eKO\u202c \u2066\u2069 \u200b\ufeff \u0420erplexity 1.0 \U000e0041 \u0301" + "\u0300" * 500)
