"""An exception whose text is a string that lies about its length and its parts."""


class Text(str):
    def __getitem__(self, _):
        return "y" * (1 << 28)

    def __len__(self):
        return 3

    def __format__(self, _):
        return "z" * (1 << 28)


class Odd(Exception):
    def __str__(self):
        return Text("x" * (1 << 20))


def prune(task):
    raise Odd
