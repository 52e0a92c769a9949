"""Export: run a pruner, write the pruned model as a Hugging Face folder, reload it, and measure it again."""

from __future__ import annotations

import shutil
import tempfile
from dataclasses import dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError

from harness import metrics
from harness.bench import Bench
from harness.conversion import open_target
from harness.errors import ScorerFault, StorageFault, UsageError
from harness.model_card import Export, model_card
from harness.model_folder import write_model
from harness.records import Pruner, Score, Sparsity
from harness.stages.pruned_weights import PrunedWeights
from harness.stages.score import window_losses


@dataclass(frozen=True)
class Exported:
    """How an export ended. `dtype` is what the folder loads in; None where the pruner failed and there is none."""

    score: Score
    dtype: str | None


def check_folder(into: Path) -> None:
    """See that a model can be put there, before the work.

    Raises:
        UsageError: there is something already, or no folder to put it in.
    """
    if into.is_symlink() or (into.exists() and not into.is_dir()) or (into.is_dir() and any(into.iterdir())):
        raise UsageError(f"--into {into}: there is something already; give a folder that is new or empty")
    if not into.absolute().parent.is_dir():
        raise UsageError(f"--into {into}: there is no folder {into.parent}; make it first")


def export(bench: Bench, pruner: Pruner, sparsity: Sparsity, into: Path) -> Exported:
    """Prune in the sandbox, check, score, and write the model to `into`; nothing is written of a pruner that failed.

    The folder is written beside its place, reloaded as any target is, its zeros counted and its perplexity measured
    again; only when both are what they were does it get its name.

    Raises:
        UsageError: as `check_folder`.
        StorageFault: it cannot be written.
        ScorerFault: what was reloaded is not what was measured.
        Fault: as `Bench.score`.
    """
    check_folder(into)
    dtypes: list[str] = []
    score = bench.score(pruner, sparsity, lambda score, weights: dtypes.append(_write(bench, score, weights, into)))
    return Exported(score, dtypes[0] if dtypes else None)


def _write(bench: Bench, score: Score, weights: PrunedWeights, into: Path) -> str:
    into = into.absolute()
    try:
        scratch = Path(tempfile.mkdtemp(dir=into.parent, prefix=f".{into.name}-"))
        try:
            dtype = write_model(bench.target, weights.parameters, scratch)
            card = model_card(Export(score, bench.measurement, dtype))
            (scratch / "README.md").write_text(card, encoding="utf-8")
            scratch.chmod(0o755)
            for file in scratch.iterdir():
                file.chmod(0o644)  # whoever may read the folder may prune it again
            check_reloaded(bench, score, scratch)
            scratch.rename(into)  # an empty folder of that name gives way
        finally:
            shutil.rmtree(scratch, ignore_errors=True)
    except (OSError, SafetensorError) as error:
        raise StorageFault(f"cannot write {into}: {error}; make room, or give --into another place") from error
    return dtype


def check_reloaded(bench: Bench, score: Score, folder: Path) -> None:
    """See that a folder, opened as any target is, has the zeros and the very losses that were measured.

    Raises:
        ScorerFault: it has not.
    """
    reloaded = open_target(str(folder))
    total = sum(layer.size for layer in reloaded.layers)
    kept = sum(int(torch.count_nonzero(reloaded.checkpoint.weight(layer))) for layer in reloaded.layers)
    if score.achieved_sparsity != (total - kept) / total:
        raise ScorerFault(
            f"the written model has a sparsity of {(total - kept) / total:.6f} where {score.achieved_sparsity:.6f} was"
            " measured; nothing was kept"
        )
    losses = window_losses(reloaded.checkpoint, bench.evaluation.ids, None, "measuring the written model again")
    if tuple(losses) != score.window_losses:
        raise ScorerFault(
            f"the written model has perplexity {metrics.perplexity(losses):.9g} where {score.perplexity:.9g} was"
            " measured; nothing was kept"
        )
