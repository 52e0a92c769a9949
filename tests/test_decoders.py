"""Any decoder: layers, statistics, pruning and scores of sixteen architectures, against transformers' own models."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from torch import nn
from torch.nn.functional import cross_entropy, silu
from transformers import AutoModelForCausalLM, PreTrainedConfig
from transformers.pytorch_utils import Conv1D

from harness import conversion, pruners
from harness.errors import InputFault
from harness.pipeline import open_bench
from harness.records import Sparsity
from harness.targets import Target, quantity
from harness.testing.trusted_sandbox import TrustedSandbox
from sandbox import streaming, worker
from sandbox.checkpoint import Checkpoint
from sandbox.layout import LayerSpec, Layout, OutputFile
from sandbox.streaming import StreamedModel, UnsupportedModel
from sandbox.structure import layer_specs, not_pruned
from sandbox.task import PrunableLayer, PruningTask
from sandbox.task import Sparsity as TaskSparsity

from .conftest import SAVED, VOCABULARY, open_trusted
from .tiny_decoder import TinyConfig, TinyForCausalLM

IDS = torch.randint(0, VOCABULARY, (5, 16), generator=torch.Generator().manual_seed(1))
CLOSE: dict[str, Any] = {"rtol": 1e-4, "atol": 1e-5}
SMALL: dict[str, Any] = {"vocab_size": VOCABULARY, "num_hidden_layers": 2, "num_attention_heads": 2}
SMALL |= {"pad_token_id": 0, "bos_token_id": 0, "eos_token_id": 0}
SIZES = SMALL | {"hidden_size": 12, "intermediate_size": 22, "num_key_value_heads": 1, "max_position_embeddings": 32}
EXPERTS = 5
ATTENTION = "self_attn.q_proj self_attn.k_proj self_attn.v_proj self_attn.o_proj"
GATED = f"{ATTENTION} mlp.gate_proj mlp.up_proj mlp.down_proj"
MOE = " ".join(
    [ATTENTION, *(f"mlp.experts.{name}.{e}" for e in range(EXPERTS) for name in ("gate_up_proj", "down_proj"))]
)


@dataclass(frozen=True)
class Architecture:
    """A tiny config, where its blocks are, and the layers of its blocks in forward order (the last for the others)."""

    config: Callable[[], PreTrainedConfig]
    blocks: str
    layers: tuple[str, ...]
    routers: int = 0

    def names(self) -> list[str]:
        """Of both blocks' layers."""
        lines = (self.layers[0], self.layers[-1])
        return [f"{self.blocks}.{block}.{name}" for block, line in enumerate(lines) for name in line.split()]


ARCHITECTURES = {
    "llama": Architecture(
        lambda: transformers.LlamaConfig(**SIZES, tie_word_embeddings=True), "model.layers", (GATED,)
    ),
    "mistral": Architecture(lambda: transformers.MistralConfig(**SIZES, sliding_window=5), "model.layers", (GATED,)),
    "qwen2": Architecture(
        lambda: transformers.Qwen2Config(**SIZES, tie_word_embeddings=True), "model.layers", (GATED,)
    ),
    "qwen3": Architecture(lambda: transformers.Qwen3Config(**SIZES, head_dim=10), "model.layers", (GATED,)),
    "gemma2": Architecture(
        lambda: transformers.Gemma2Config(**SIZES, head_dim=10, sliding_window=4), "model.layers", (GATED,)
    ),
    "gemma3": Architecture(
        lambda: transformers.Gemma3TextConfig(
            **SIZES, head_dim=10, sliding_window=4, layer_types=["full_attention", "sliding_attention"]
        ),
        "model.layers",
        (GATED,),
    ),
    "phi3": Architecture(
        lambda: transformers.Phi3Config(**SIZES),
        "model.layers",
        ("self_attn.qkv_proj self_attn.o_proj mlp.gate_up_proj mlp.down_proj",),
    ),
    "opt": Architecture(
        lambda: transformers.OPTConfig(
            **SMALL, hidden_size=12, ffn_dim=22, word_embed_proj_dim=8, max_position_embeddings=32
        ),
        "model.decoder.layers",
        ("self_attn.q_proj self_attn.k_proj self_attn.v_proj self_attn.out_proj fc1 fc2",),
    ),
    "gpt2": Architecture(
        lambda: transformers.GPT2Config(
            vocab_size=VOCABULARY,
            n_embd=12,
            n_inner=22,
            n_layer=2,
            n_head=2,
            n_positions=32,
            bos_token_id=0,
            eos_token_id=0,
        ),
        "transformer.h",
        ("attn.c_attn attn.c_proj mlp.c_fc mlp.c_proj",),
    ),
    "gpt_neox": Architecture(
        lambda: transformers.GPTNeoXConfig(**SMALL, hidden_size=12, intermediate_size=22, max_position_embeddings=32),
        "gpt_neox.layers",
        ("attention.query_key_value attention.dense mlp.dense_h_to_4h mlp.dense_4h_to_h",),
    ),
    "falcon": Architecture(
        lambda: transformers.FalconConfig(**SMALL, hidden_size=12, ffn_hidden_size=22),
        "transformer.h",
        ("self_attention.query_key_value self_attention.dense mlp.dense_h_to_4h mlp.dense_4h_to_h",),
    ),
    "bloom": Architecture(
        lambda: transformers.BloomConfig(
            vocab_size=VOCABULARY, hidden_size=12, n_layer=2, n_head=2, bos_token_id=0, eos_token_id=0
        ),
        "transformer.h",
        ("self_attention.query_key_value self_attention.dense mlp.dense_h_to_4h mlp.dense_4h_to_h",),
    ),
    "stablelm": Architecture(lambda: transformers.StableLmConfig(**SIZES), "model.layers", (GATED,)),
    "olmo2": Architecture(lambda: transformers.Olmo2Config(**SIZES), "model.layers", (GATED,)),
    "mixtral": Architecture(
        lambda: transformers.MixtralConfig(**SIZES, num_local_experts=EXPERTS), "model.layers", (MOE,), routers=2
    ),
    "qwen3_moe": Architecture(  # k_proj has as many outputs as there are experts
        lambda: transformers.Qwen3MoeConfig(
            **SIZES | {"num_attention_heads": 4, "head_dim": 6},
            num_experts=EXPERTS + 1,
            num_experts_per_tok=2,
            moe_intermediate_size=10,
            decoder_sparse_step=2,
        ),
        "model.layers",
        (GATED, f"{MOE} mlp.experts.gate_up_proj.{EXPERTS} mlp.experts.down_proj.{EXPERTS}"),
        routers=1,
    ),
}


@dataclass(frozen=True)
class Decoder:
    """A saved model as the harness opens it, and as transformers does."""

    architecture: Architecture
    folder: Path
    target: Target

    def plain(self) -> Any:
        """A new copy; its experts run as one batched product, which is not how the harness runs them."""
        how = {"experts_implementation": "batched_mm"} if self.architecture.routers else {}
        return AutoModelForCausalLM.from_pretrained(self.folder, dtype=torch.float32, **how).eval()


@pytest.fixture(scope="module", params=ARCHITECTURES)
def decoder(request: pytest.FixtureRequest, save_model: SAVED) -> Decoder:
    return opened(request.param, save_model)


def opened(name: str, save_model: SAVED) -> Decoder:
    architecture = ARCHITECTURES[name]
    folder = save_model(architecture.config())
    return Decoder(architecture, folder, conversion.local(name, folder))


@pytest.fixture
def make_task(tmp_path: Path) -> Callable[..., PruningTask]:
    def make(checkpoint: Checkpoint) -> PruningTask:
        layers = layer_specs(checkpoint)
        path = tmp_path / "out"
        path.write_bytes(bytes(Layout(layers).total_bytes))
        output = OutputFile(str(path), Layout(layers))
        return PruningTask(checkpoint, layers, output, IDS, TaskSparsity(0.5, None, None), "sequential", 0)

    return make


def streamed_logits(checkpoint: Checkpoint, weights: Callable[[int], dict[str, torch.Tensor]] | None) -> torch.Tensor:
    model = StreamedModel(checkpoint)
    with torch.no_grad():
        hidden = model.embed(IDS)
        for block in range(model.blocks):
            hidden = model.run_block(block, hidden, weights and weights(block))
        return torch.cat([model.logits(row, states) for row, states in zip(IDS.split(1), hidden.split(1), strict=True)])


def plain_weight(model: nn.Module, layer: LayerSpec) -> torch.Tensor:
    """A layer's weights in transformers' model, [out, in], as memory of the model's."""
    if ".experts." in layer.name:
        parameter, _, expert = layer.name.rpartition(".")
        return model.get_parameter(parameter).data[int(expert)]
    module = model.get_submodule(layer.name)
    weight = module.get_parameter("weight").data
    return weight.t() if isinstance(module, Conv1D) else weight


def test_logits_are_the_models_own_dense_and_pruned(
    decoder: Decoder, make_task: Callable[..., PruningTask], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streaming, "BATCH_TOKENS", 32)  # so that the last batch is smaller than the others
    plain, checkpoint = decoder.plain(), decoder.target.checkpoint
    with torch.no_grad():
        torch.testing.assert_close(streamed_logits(checkpoint, None), plain(input_ids=IDS).logits, **CLOSE)
        task = make_task(checkpoint)
        for layer in task.layers():
            mask = torch.rand(layer.weight.shape, generator=task.generator) < 0.5
            weight = plain_weight(plain, layer._spec)
            assert torch.equal(layer.weight, weight)
            weight *= mask
            layer.keep(mask)
        task.finish()
        pruned = streamed_logits(checkpoint, lambda block: dict(task._weights.parameters(block)))
        torch.testing.assert_close(pruned, plain(input_ids=IDS).logits, **CLOSE)


def test_layers_are_all_linear_ones_and_all_experts_in_forward_order(decoder: Decoder) -> None:
    assert [layer.name for layer in decoder.target.layers] == decoder.architecture.names()
    blocks = decoder.plain().get_submodule(decoder.architecture.blocks)
    linear = [module for module in blocks.modules() if isinstance(module, nn.Linear | Conv1D)]
    stacks = [parameter for parameter in blocks.parameters() if parameter.dim() == 3]
    assert len(decoder.target.layers) == len(linear) + sum(len(stack) for stack in stacks)
    assert sum(layer.size for layer in decoder.target.layers) == sum(
        parameter.numel() for parameter in [*(module.weight for module in linear), *stacks]
    )
    assert {layer.transposed for layer in decoder.target.layers} == {
        decoder.architecture.blocks == "transformer.h" and isinstance(linear[0], Conv1D)
    }


def test_what_is_not_pruned_is_listed(decoder: Decoder) -> None:
    model = decoder.plain()
    parts = not_pruned(decoder.target.checkpoint, decoder.target.layers)
    total = sum(parameter.numel() for parameter in model.parameters())
    kept = sum(part.parameters for part in parts)
    assert kept == total - sum(layer.size for layer in decoder.target.layers)
    names = [part.name for part in parts]
    embeddings = [name for name, module in model.named_modules() if isinstance(module, nn.Embedding)]
    assert set(embeddings) <= set(names)
    tied = model.get_input_embeddings().weight is model.get_output_embeddings().weight
    assert ("lm_head" in names) != tied
    assert ("model.layers.*.mlp.gate" in names) == (decoder.architecture.routers > 0)
    assert decoder.target.not_pruned.startswith(f"{quantity(kept)} of {quantity(total)} parameters: ")


def reference_inputs(model: Any, layers: list[LayerSpec]) -> dict[str, torch.Tensor]:
    """What enters each layer, [n_tokens, in], by hooks; of an expert, from what the router of the model says."""
    inputs: dict[str, torch.Tensor] = {}

    def note(name: str) -> Callable[[nn.Module, tuple[torch.Tensor, ...]], None]:
        def hook(_: nn.Module, args: tuple[torch.Tensor, ...]) -> None:
            inputs[name] = args[0].detach().reshape(-1, args[0].shape[-1]).clone()

        return hook

    def note_experts(name: str) -> Callable[[Any, tuple[torch.Tensor, ...]], None]:
        def hook(module: Any, args: tuple[torch.Tensor, ...]) -> None:
            hidden, chosen = args[0], args[1]
            for expert in range(len(module.gate_up_proj)):
                sent = hidden[(chosen == expert).any(dim=-1)].detach()
                inputs[f"{name}.gate_up_proj.{expert}"] = sent
                gate, up = (sent @ module.gate_up_proj[expert].detach().T).chunk(2, dim=-1)
                inputs[f"{name}.down_proj.{expert}"] = silu(gate) * up

        return hook

    for name, module in model.named_modules():
        if isinstance(module, nn.Linear | Conv1D):
            module.register_forward_pre_hook(note(name))
        if name.endswith(".experts"):
            module.register_forward_pre_hook(note_experts(name))
    with torch.no_grad():
        model(input_ids=IDS)
    return inputs


def test_statistics_are_those_of_plain_hooks(decoder: Decoder, make_task: Callable[..., PruningTask]) -> None:
    expected = reference_inputs(decoder.plain(), decoder.target.layers)
    for layer in make_task(decoder.target.checkpoint).layers():
        inputs = expected[layer.name]
        assert layer.inputs.shape == inputs.shape
        torch.testing.assert_close(layer.input_norm, inputs.norm(dim=0), **CLOSE)
        torch.testing.assert_close(layer.hessian, inputs.T @ inputs / IDS.numel(), **CLOSE)
        torch.testing.assert_close(layer.inputs.sum(dim=0), inputs.sum(dim=0), **CLOSE)


class InProcess(TrustedSandbox):
    """The worker's program in this process: a run costs no start of Python."""

    def exit_code(self, folder: Path, seconds: float) -> int:
        """As there."""
        return worker.run(Path(folder, "job/job.json"), Path(folder, "out"))


def least_zeros(layer: LayerSpec, pruner: str, sparsity: str) -> int:
    if sparsity == "2:4":
        whole, rest = divmod(layer.in_features, 4)
        return layer.out_features * (2 * whole + max(0, rest - 2))
    return layer.out_features * (layer.in_features // 2) if pruner == "wanda" else layer.size // 2


def test_reference_pruners_run_and_are_scored(decoder: Decoder, tokens: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("harness.pipeline.open_sandbox", lambda *_, **__: InProcess())
    bench = open_bench(str(decoder.folder), calibration=tokens, evaluation=tokens)
    bench = replace(bench, limits=replace(bench.limits, threads=1))
    layers = bench.target.layers
    for name in ("magnitude", "wanda", "sparsegpt"):
        for sparsity in ("0.5", "2:4"):
            score = bench.score(pruners.find(name), Sparsity.parse(sparsity))
            assert (score.status, score.error) == ("OK", None)
            assert score.perplexity is not None
            assert math.isfinite(score.perplexity)
            assert score.achieved_sparsity is not None
            zeros = round(score.achieved_sparsity * sum(layer.size for layer in layers))
            least = sum(least_zeros(layer, name, sparsity) for layer in layers)
            assert zeros == least if name != "sparsegpt" else zeros >= least


def test_experts_travel_to_a_worker_of_its_own(save_model: SAVED, tokens: str) -> None:
    folder = save_model(ARCHITECTURES["mixtral"].config())
    bench = open_trusted(str(folder), calibration=tokens, evaluation=tokens)
    score = bench.score(pruners.find("sparsegpt"), Sparsity.parse("2:4"))
    assert (score.status, score.weights_changed) == ("OK", True)
    assert len(bench.target.layers) == 2 * (4 + 2 * EXPERTS)


MIXTURES = ["mixtral", "qwen3_moe"]


@pytest.fixture(scope="module", params=MIXTURES)
def mixture(request: pytest.FixtureRequest, save_model: SAVED) -> Decoder:
    return opened(request.param, save_model)


def test_gradients_of_experts_are_those_of_the_model(mixture: Decoder, make_task: Callable[..., PruningTask]) -> None:
    plain = mixture.plain()
    gradients: dict[str, list[torch.Tensor]] = {}
    for sequence in IDS:
        plain.zero_grad()
        cross_entropy(plain(input_ids=sequence[None]).logits[0, :-1], sequence[1:]).backward()
        for name, parameter in plain.named_parameters():
            gradients.setdefault(name, []).append(
                torch.zeros_like(parameter) if parameter.grad is None else parameter.grad.clone()
            )
    for layer in make_task(mixture.target.checkpoint).layers():
        if layer._spec.expert is not None:
            parameter, _, expert = layer.name.rpartition(".")
            stack = torch.stack(gradients[parameter])[:, int(expert)]
            torch.testing.assert_close(layer.grad, stack.mean(dim=0), **CLOSE)
            torch.testing.assert_close(layer.fisher, (stack**2).mean(dim=0), rtol=1e-4, atol=1e-9)
            assert layer.bias is None


def experts_of(task: PruningTask) -> list[PrunableLayer]:
    return [layer for layer in task.layers() if layer._spec.expert is not None]


def test_experts_change_through_the_layer_the_model_and_what_was_taken_before(
    mixture: Decoder, make_task: Callable[..., PruningTask]
) -> None:
    task = make_task(mixture.target.checkpoint)
    assigned, in_place, early, view, by_model, later, through = experts_of(task)[:7]
    dense = {layer.name: layer.weight.clone() for layer in experts_of(task)}
    assigned.weight = dense[assigned.name] * 3
    in_place.weight[:, 0] = 0
    taken, transposed = early.weight, view.weight.data.T

    model: Any = task.model
    taken.mul_(2)
    transposed[0] = 0
    stack, _, expert = by_model.name.rpartition(".")
    model.get_parameter(stack).data[int(expert)].mul_(4)
    later.weight = dense[later.name] * 5
    through.weight.mul_(6)
    expected = {name: weight.clone() for name, weight in dense.items()}
    expected[assigned.name] *= 3
    expected[in_place.name][:, 0] = 0
    expected[early.name] *= 2
    expected[view.name][:, 0] = 0
    expected[by_model.name] *= 4
    expected[later.name] *= 5
    expected[through.name] *= 6
    with torch.no_grad():
        logits = task.model(input_ids=IDS).logits
    plain = mixture.plain()
    for layer in experts_of(task):
        assert torch.equal(layer.weight, expected[layer.name])
        plain_weight(plain, layer._spec).copy_(expected[layer.name])
    torch.testing.assert_close(logits, plain(input_ids=IDS).logits, **CLOSE)

    stack, _, expert = early.name.rpartition(".")
    model.get_parameter(stack).data[int(expert)].mul_(7)  # and what was taken before follows
    task._weights.write()
    assert torch.equal(taken, expected[early.name] * 7)
    taken.zero_()
    task.finish()
    for index, layer in enumerate(task._layers):
        if layer.name in expected:
            wanted = torch.zeros_like(taken) if layer is early else expected[layer.name]
            assert torch.equal(task._weights.written(index), wanted)


def test_an_expert_without_tokens_has_empty_statistics(
    save_model: SAVED, make_task: Callable[..., PruningTask]
) -> None:
    config = transformers.MixtralConfig(**SIZES | {"num_hidden_layers": 1}, num_local_experts=30, num_experts_per_tok=1)
    target = conversion.local("wide", save_model(config))
    idle = 0
    for layer in make_task(target.checkpoint).layers():
        features = layer.weight.shape[1]
        if len(layer.inputs) == 0:
            idle += 1
            assert torch.equal(layer.input_norm, torch.zeros(features))
            assert torch.equal(layer.hessian, torch.zeros(features, features))
    assert idle > 0


def test_experts_that_are_stored_transposed_and_run_at_once(
    save_model: SAVED, make_task: Callable[..., PruningTask]
) -> None:
    config = transformers.Llama4TextConfig(
        **SIZES, head_dim=6, intermediate_size_mlp=20, num_local_experts=3, attention_chunk_size=16
    )
    folder = save_model(config)
    plain = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32).eval()
    entered: dict[str, torch.Tensor] = {}
    for name, module in plain.named_modules():
        if name.endswith(".experts"):
            module.register_forward_pre_hook(lambda _, args, name=name: entered.update({name: args[0].detach()}))
    with torch.no_grad():
        plain(input_ids=IDS)
    task = make_task(conversion.local("llama4", folder).checkpoint)
    names = [layer.name for layer in experts_of(task)]
    assert len(names) == 2 * 2 * 3
    for layer in experts_of(task):
        owner, leaf, expert = layer.name.rsplit(".", 2)
        stored = plain.get_submodule(owner).get_parameter(leaf)[int(expert)].detach()
        assert torch.equal(layer.weight, stored.T)
        if leaf == "gate_up_proj":
            inputs = entered[owner].unflatten(0, (3, -1))[int(expert)]
            torch.testing.assert_close(layer.hessian, inputs.T @ inputs / IDS.numel(), **CLOSE)
    task.model.get_parameter(f"{owner}.{leaf}").data.mul_(2)
    assert torch.equal(layer.weight, stored.T * 2)


def test_one_expert_is_read_without_the_others(mixture: Decoder, monkeypatch: pytest.MonkeyPatch) -> None:
    checkpoint = mixture.target.checkpoint
    layer = mixture.target.layers[-1]
    whole = checkpoint.tensor(layer.parameter)
    monkeypatch.setattr(checkpoint, "tensor", None)
    assert layer.expert is not None
    assert torch.equal(checkpoint.weight(layer), whole[layer.expert])


def tiny(kind: str, folder: Path) -> Checkpoint:
    torch.manual_seed(0)
    conversion._save(TinyForCausalLM(TinyConfig(kind)), folder)
    return Checkpoint(folder)


@pytest.mark.parametrize(
    ("kind", "words"),
    [
        ("matrix", r"layers\.0\.mystery, of shape \[8, 8\], is in no linear layer"),
        ("stack", r"layers\.0\.mystery, of shape \[2, 8, 8\], is in no linear layer"),
        ("between", r"layers\.0\.first\.weight is shared with layers\.1\.first\.weight, outside of its block"),
    ],
)
def test_matrices_that_are_not_understood_are_refused_by_name(kind: str, words: str, tmp_path: Path) -> None:
    with pytest.raises(UnsupportedModel, match=words):
        layer_specs(tiny(kind, tmp_path))


def test_a_weight_that_two_layers_of_a_block_share_is_one_layer(
    tmp_path: Path, make_task: Callable[..., PruningTask]
) -> None:
    checkpoint = tiny("twice", tmp_path)
    task = make_task(checkpoint)
    layers = list(task.layers())
    assert [layer.name for layer in layers] == ["layers.0.first", "layers.1.first"]
    weight, bias = checkpoint.tensor("layers.0.first.weight"), checkpoint.tensor("layers.0.first.bias")
    first = checkpoint.tensor("embed.weight")[IDS].reshape(-1, 8)
    both = torch.cat([first, torch.tanh(first @ weight.T + bias)])
    torch.testing.assert_close(layers[0].inputs, both, **CLOSE)
    torch.testing.assert_close(layers[0].input_norm, both.norm(dim=0), **CLOSE)
    torch.testing.assert_close(layers[0].hessian, both.T @ both / IDS.numel(), **CLOSE)
    layers[0].weight = torch.zeros(8, 8)
    model: Any = task.model
    assert model.layers[0].second.weight.count_nonzero() == 0
    assert model.layers[0].second.weight is model.layers[0].first.weight
    assert layers[1].grad.shape == (8, 8)


def test_experts_that_are_a_list_of_linear_layers(tmp_path: Path) -> None:
    checkpoint = tiny("listed", tmp_path)
    layers = layer_specs(checkpoint)
    names = ["first", "second", *(f"experts.{expert}" for expert in range(6))]
    assert [layer.name for layer in layers if layer.block == 1] == [f"layers.1.{name}" for name in names]
    parts = {part.name: part.parameters for part in not_pruned(checkpoint, layers)}
    assert parts == {
        "embed": 96 * 8,
        "head": 96 * 8,
        "layers.*.router": 2 * 6 * 8,
        "layers.*.unused": 2 * 8 * 8,
        "biases": 2 * (8 + 6 + 8),
    }


@pytest.mark.parametrize(
    ("config", "words"),
    [
        (transformers.T5Config, "t5 is an encoder-decoder model"),
        (transformers.BartConfig, "bart is an encoder-decoder model"),
        (transformers.MambaConfig, r"mixer\.conv1d\.weight, of shape .* is in no linear layer"),
        (transformers.RwkvConfig, "does not run block by block"),
    ],
)
def test_what_is_no_decoder_of_linear_layers_is_one_line(
    config: Callable[..., PreTrainedConfig], words: str, llama: Path, tmp_path: Path
) -> None:
    config(vocab_size=VOCABULARY, hidden_size=16, d_model=16, num_hidden_layers=2).save_pretrained(tmp_path)
    (tmp_path / "model.safetensors").symlink_to(llama / "model.safetensors")
    with pytest.raises(InputFault, match=words) as caught:
        conversion.local("model", tmp_path)
    assert "\n" not in str(caught.value)


def test_a_model_without_blocks_is_refused() -> None:
    with pytest.raises(UnsupportedModel, match="no list of decoder blocks"):
        streaming.find_blocks(nn.Linear(2, 2))
