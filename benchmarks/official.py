"""The code of the papers, run as it is from checkouts that the user gives; nothing of it is in this repository.

    git clone https://github.com/locuslab/wanda          # magnitude, wanda, sparsegpt, and eval_ppl_wikitext
    git clone https://github.com/IST-DASLab/sparsegpt    # sparsegpt_original: its class, driven by its llama_sequential

That code was written for transformers 4.28 and a GPU. What is put under it, at run time only:

- `Layer`, a module around each decoder block: today's blocks want rotary embeddings, which the old code does not pass
  on, and give a tensor where it takes the first element of a tuple.
- `get_loaders` is replaced by one that gives the tokens of the comparison.
- `torch.Tensor.cuda`, `torch.cuda.synchronize` and `torch.cuda.empty_cache` do nothing: there is no GPU.
- `model.hf_device_map = {}` and `model.seqlen`: what its loaders would have set.
- `args` of `llama.py`, which the script fills from its command line, and `datasets`, which is imported and not used.

Run as a program it prunes and scores once: `python -m benchmarks.official wanda --wanda PATH --calibration ...`.
"""

from __future__ import annotations

import argparse
import contextlib
import importlib
import importlib.util
import sys
import time
from argparse import Namespace
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch
from torch import nn
from transformers import AutoModelForCausalLM

METHODS = ("magnitude", "wanda", "sparsegpt", "sparsegpt_original")
CPU = torch.device("cpu")


class Layer(nn.Module):
    """A decoder block as the old code expects one: it takes any keywords, and gives a tuple.

    Attributes:
        block: the model's own.
        keywords: what the model itself passes to its blocks, the same for all windows of one length.
    """

    def __init__(self, block: nn.Module, keywords: dict[str, Any]) -> None:
        super().__init__()
        self.block = block
        self.keywords = keywords

    def forward(self, hidden: torch.Tensor, **_ignored: Any) -> tuple[torch.Tensor]:
        """[1, seqlen, hidden_size] to the same, in a tuple."""
        output = self.block(hidden, **self.keywords)
        return (output[0] if isinstance(output, tuple) else output,)


class _Stop(Exception):
    pass


def load(folder: str, dtype: str, seqlen: int) -> Any:
    """A model of a folder in memory, with what the old loaders set."""
    model: Any = AutoModelForCausalLM.from_pretrained(folder, dtype=getattr(torch, dtype), local_files_only=True).eval()
    model.seqlen = seqlen
    model.hf_device_map = {}
    for parameter in model.parameters():  # safetensors maps the file: have it read now, and not while it is timed
        parameter.data.sum()
    return model


def prune_official(method: str, model: Any, calibration: torch.Tensor, sparsity: float, paths: dict[str, str]) -> None:
    """Prune a model in place.

    Args:
        method: one of `METHODS`.
        model: as `load` gives it, of the Llama architecture.
        calibration: token ids, [n, seqlen].
        sparsity: fraction of zeros.
        paths: `wanda` and `sparsegpt`, the folders of the checkouts; only that of the method is needed.

    Raises:
        SystemExit: the checkout is missing or is another one.
    """
    batches = [(window[None], None) for window in calibration]
    with no_gpu(), wrapped(model, calibration[:1]):
        if method == "sparsegpt_original":
            code = imported("llama", paths.get("sparsegpt"))
            settings = {"nsamples": len(batches), "sparsity": sparsity, "percdamp": 0.01, "blocksize": 128, "wbits": 16}
            whole = {"prunen": 0, "prunem": 0, "minlayer": -1, "maxlayer": 1000, "prune_only": "", "invert": False}
            vars(code)["args"] = Namespace(**settings, **whole, true_sequential=False)
            code.llama_sequential(model, batches, CPU)
        else:
            code = imported("lib.prune", paths.get("wanda"))
            vars(code)["get_loaders"] = lambda *_, **__: (batches, None)
            options = Namespace(sparsity_ratio=sparsity, nsamples=len(batches), seed=0, use_variant=False)
            getattr(code, f"prune_{method}")(options, model, None, CPU)


def evaluate_official(model: Any, evaluation: torch.Tensor, paths: dict[str, str]) -> float:
    """Perplexity by Wanda's `eval_ppl_wikitext`, of token ids [n, seqlen]."""
    with no_gpu(), torch.no_grad():
        code = imported("lib.eval", paths.get("wanda"))
        stream = Namespace(input_ids=evaluation.reshape(1, -1))
        return float(code.eval_ppl_wikitext(model, stream, 1, CPU))


def measure(
    method: str, folder: str, calibration: str, evaluation: str, sparsity: float, dtype: str, paths: dict[str, str]
) -> dict[str, Any]:
    """Load, prune and score once; seconds of each, and the perplexity. Token files are int [n, seqlen]."""
    calibrated, evaluated = (torch.from_numpy(np.load(file).astype(np.int64)) for file in (calibration, evaluation))
    started = time.monotonic()
    model = load(folder, dtype, calibrated.shape[1])
    loaded = time.monotonic()
    with contextlib.redirect_stdout(None):
        prune_official(method, model, calibrated, sparsity, paths)
        pruned = time.monotonic()
        model.seqlen = evaluated.shape[1]
        perplexity = evaluate_official(model, evaluated, paths)
    return {
        "perplexity": perplexity,
        "load_seconds": loaded - started,
        "prune_seconds": pruned - loaded,
        "score_seconds": time.monotonic() - pruned,
    }


def imported(module: str, folder: str | None) -> ModuleType:
    """A module of a checkout.

    Raises:
        SystemExit: the folder was not given, or has no such module.
    """
    option = "--sparsegpt" if module == "llama" else "--wanda"
    if folder is None or not Path(folder, *module.split(".")).with_suffix(".py").is_file():
        sys.exit(f"{option} {folder or ''}: give the folder of a checkout that has {module.replace('.', '/')}.py")
    if folder not in sys.path:
        sys.path.insert(0, folder)
    if "datasets" not in sys.modules and importlib.util.find_spec("datasets") is None:
        sys.modules["datasets"] = ModuleType("datasets")
        vars(sys.modules["datasets"])["load_dataset"] = None
    return importlib.import_module(module)


@contextmanager
def wrapped(model: Any, window: torch.Tensor) -> Iterator[None]:
    """While active, the blocks are in `Layer`s with the keywords that the model passes for a window [1, seqlen]."""
    blocks = model.model.layers
    caught: dict[str, Any] = {}

    def catch(_block: nn.Module, _args: tuple[Any, ...], keywords: dict[str, Any]) -> None:
        caught.update(keywords, use_cache=False, past_key_values=None)
        raise _Stop

    hook = blocks[0].register_forward_pre_hook(catch, with_kwargs=True)
    with contextlib.suppress(_Stop), torch.no_grad():
        model(window, use_cache=False)
    hook.remove()
    for index, block in enumerate(blocks):
        blocks[index] = Layer(block, caught)
    try:
        yield
    finally:
        for index, layer in enumerate(blocks):
            blocks[index] = layer.block


@contextmanager
def no_gpu() -> Iterator[None]:
    """While active, what the old code asks of a GPU does nothing."""
    tensor: Any = torch.Tensor
    cuda: Any = torch.cuda
    before = tensor.cuda, cuda.synchronize, cuda.empty_cache
    tensor.cuda = lambda self, *_, **__: self
    cuda.synchronize = cuda.empty_cache = lambda *_, **__: None
    try:
        yield
    finally:
        tensor.cuda, cuda.synchronize, cuda.empty_cache = before


def add_paths(parser: argparse.ArgumentParser) -> None:
    """`--wanda` and `--sparsegpt`."""
    parser.add_argument("--wanda", metavar="FOLDER", help="checkout of locuslab/wanda")
    parser.add_argument("--sparsegpt", metavar="FOLDER", help="checkout of IST-DASLab/sparsegpt")


def given_paths(options: argparse.Namespace) -> dict[str, str]:
    """The checkouts that were given, as absolute paths."""
    given = {"wanda": options.wanda, "sparsegpt": options.sparsegpt}
    return {name: str(Path(path).resolve()) for name, path in given.items() if path}


def main(arguments: Sequence[str] | None = None) -> None:
    """Prune and score once, and print what was measured."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("method", choices=METHODS)
    add_paths(parser)
    parser.add_argument("--model", required=True, metavar="FOLDER", help="Hugging Face folder, Llama architecture")
    parser.add_argument("--calibration", required=True, metavar="FILE.npy", help="token ids, int [n, seqlen]")
    parser.add_argument("--evaluation", required=True, metavar="FILE.npy", help="token ids, int [n, seqlen]")
    parser.add_argument("--sparsity", type=float, default=0.5)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], default="float32")
    options = parser.parse_args(arguments)
    files = options.calibration, options.evaluation
    found = measure(options.method, options.model, *files, options.sparsity, options.dtype, given_paths(options))
    print(", ".join(f"{name.replace('_', ' ')} {value:.3f}" for name, value in found.items()))


if __name__ == "__main__":
    main()
