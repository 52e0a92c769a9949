"""Escapes that colour, clear, rename and answer for a terminal, in a message."""


def prune(task):
    raise ValueError("\x1b[2J\x1b[31mOK\x1b[0m\x1b]0;owned\x07\x1b]52;c;cm0gLXJm\x07\x9b6n\x08\x08\x08\r[PASSED]")
