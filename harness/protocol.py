"""The protocol of a measurement as a record with its id, and what is remembered of the dense model under it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable

from harness.records import Measurement
from harness.resources import cache_folder
from harness.targets import Target
from harness.text import Windows


def measurement(
    target: Target, calibration: Windows, evaluation: Windows, statistics: str, dtype: str, rounds: int, device: str
) -> Measurement:
    """The protocol; its id is a hash of everything that decides a number, but the target's weights."""
    facts = {
        "seqlen": int(evaluation.ids.shape[1]),
        "windows": int(evaluation.ids.shape[0]),
        "dtype": dtype,
        "statistics": statistics,
        "tokenizer_sha256": target.tokenizer_sha256,
        "evaluation_sha256": evaluation.sha256,
        "calibration_samples": int(calibration.ids.shape[0]),
        "calibration_sha256": calibration.sha256,
    }
    if rounds != 1:
        facts["rounds"] = rounds
    if device != "cpu":
        facts["device"] = device
    digest = hashlib.sha256(json.dumps(facts, sort_keys=True).encode()).hexdigest()
    return Measurement(
        target=target.name,
        weights_sha256=target.weights_sha256,
        evaluation=evaluation.source,
        calibration=calibration.source,
        id=f"ppl{facts['seqlen']}x{facts['windows']}-{digest[:12]}",
        not_pruned=target.not_pruned,
        layers=tuple(layer.name for layer in target.layers),
        **facts,  # type: ignore[arg-type]
    )


def remembered(facts: tuple[object, ...], measure: Callable[[], list[float]]) -> list[float]:
    """The dense model's window losses: of the cache, or measured and put there; `facts` are all that they depend on."""
    path = cache_folder() / "dense" / f"{hashlib.sha256(repr(facts).encode()).hexdigest()[:24]}.json"
    if path.is_file():
        return [float(loss) for loss in json.loads(path.read_text())]
    losses = measure()
    part = path.with_suffix(f".{os.getpid()}")
    try:
        path.parent.mkdir(exist_ok=True)
        part.write_text(json.dumps(losses))
        part.replace(path)
    except OSError:  # no room to remember it: it is measured again next time
        part.unlink(missing_ok=True)
    return losses
