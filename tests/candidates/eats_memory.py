# expect: OUT_OF_MEMORY
# expect-bubblewrap: RESOURCE_LIMIT
# Takes memory and touches it, until there is none.
def prune(task):
    held = []
    while True:
        held.append(bytearray(b"x") * (32 << 20))
