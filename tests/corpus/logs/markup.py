"""A script, an image and a link, in the message and in the name of the exception."""

Script = type("<script>alert(1)</script>", (Exception,), {})


def prune(task):
    raise Script("</td></tr></table><script>alert(1)</script><img src=x onerror=alert(2)><a href='javascript:alert(3)'>OK</a>")
