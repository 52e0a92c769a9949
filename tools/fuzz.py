"""Coverage-guided fuzzing of one reader: `python tools/fuzz.py READER --seconds N`; needs atheris.

The promises are those of `tests/fuzz/readers.py`. An input that breaks one is written into `--findings`, to be made a
test; so is one that takes more than ten seconds. Only this module imports atheris.
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
from hashlib import sha256
from pathlib import Path

import atheris

ROOT = Path(__file__).resolve().parent.parent
_ANSWER_BYTES = 140_000
"""Just over what is read of an answer."""
_INSIDE = "HARNESS_FUZZ_INSIDE"


def main() -> int:
    """Fuzz in a child, which libFuzzer ends without a word to Python, and remove what that leaves behind."""
    with tempfile.TemporaryDirectory() as folder:
        environment = os.environ | {_INSIDE: "1", "TMPDIR": folder}
        return subprocess.run([sys.executable, __file__, *sys.argv[1:]], env=environment, check=False).returncode


def fuzz() -> None:
    """Run until the time is over or a promise is broken; the exit status says which."""
    sys.path.insert(0, str(ROOT))
    with atheris.instrument_imports(include=["harness", "markdown_it", "tomllib", "zipfile", "json", "textwrap"]):
        import markdown_it  # noqa: F401, PLC0415 - what is imported here is instrumented

        from tests.fuzz.readers import READERS  # noqa: PLC0415

    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("reader", choices=READERS)
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--runs", type=int, default=-1, help="inputs to try; as many as there is time for by default")
    parser.add_argument("--seed", type=int, default=0, help="0 takes another one each time")
    parser.add_argument("--corpus", type=Path, help="where to keep inputs that reach more of the code")
    parser.add_argument("--findings", type=Path, default=Path("fuzz-findings"))
    options = parser.parse_args()
    reader = READERS[options.reader]
    corpus = options.corpus or Path(tempfile.mkdtemp())
    corpus.mkdir(parents=True, exist_ok=True)
    options.findings.mkdir(parents=True, exist_ok=True)
    seeds = reader.seeds()
    for seed in seeds:
        (corpus / sha256(seed).hexdigest()).write_bytes(seed)
    flags = {
        "max_total_time": options.seconds,
        "runs": options.runs,
        "seed": options.seed,
        "max_len": _ANSWER_BYTES if options.reader == "answer" else 2 * max(map(len, seeds)),
        "timeout": 10,
        "artifact_prefix": f"{options.findings}/{options.reader}-",
        "print_final_stats": 1,
    }
    atheris.Setup([sys.argv[0], str(corpus), *(f"-{name}={value}" for name, value in flags.items())], reader.check)
    atheris.Fuzz()


if __name__ == "__main__":
    if _INSIDE in os.environ:
        fuzz()
    else:
        sys.exit(main())
