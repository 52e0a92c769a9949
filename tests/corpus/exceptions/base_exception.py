"""Raises an exception that `except Exception` does not catch while it is imported, with escapes in its text."""


class B(BaseException):
    pass


raise B("\x1b[31m" * 1000)
