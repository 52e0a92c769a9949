"""A decoder that transformers does not know, with what no architecture of it has, for the tests of what is found."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import torch
from torch import nn
from transformers import AutoConfig, AutoModelForCausalLM, PreTrainedConfig, PreTrainedModel


class TinyConfig(PreTrainedConfig):
    """`kind` says what is special."""

    model_type = "tiny-decoder"

    def __init__(self, kind: str = "plain", **kwargs: Any) -> None:
        self.kind = kind
        super().__init__(**kwargs)


class Block(nn.Module):
    def __init__(self, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.first = nn.Linear(8, 8)
        self.second = nn.Linear(8, 8, bias=False)
        if kind == "matrix":
            self.mystery = nn.Parameter(torch.randn(8, 8))
        if kind == "stack":
            self.mystery = nn.Parameter(torch.randn(2, 8, 8))
        if kind == "twice":
            self.second.weight = self.first.weight
        if kind == "listed":
            self.router = nn.Linear(8, 6)
            self.experts = nn.ModuleList(nn.Linear(8, 8, bias=False) for _ in range(6))
            self.unused = nn.Linear(8, 8)

    def forward(self, hidden: torch.Tensor) -> torch.Tensor:
        hidden = hidden + self.second(torch.tanh(self.first(hidden)))
        if self.kind == "matrix":
            hidden = hidden @ self.mystery
        if self.kind == "stack":
            hidden = hidden + self.mystery.sum(dim=(0, 1))
        if self.kind == "listed":
            chosen = self.router(hidden).softmax(dim=-1).topk(1, dim=-1).indices[..., 0]
            for index in chosen.unique().tolist():
                sent = chosen == index
                hidden[sent] = hidden[sent] + self.experts[index](hidden[sent])
        return hidden


class TinyForCausalLM(PreTrainedModel):
    config_class = TinyConfig

    def __init__(self, config: TinyConfig) -> None:
        super().__init__(config)
        self.embed = nn.Embedding(96, 8)
        self.layers = nn.ModuleList(Block(config.kind) for _ in range(2))
        if config.kind == "between":
            self.layers[1].first.weight = self.layers[0].first.weight  # type: ignore[union-attr]
        self.head = nn.Linear(8, 96, bias=False)
        self.post_init()  # type: ignore[no-untyped-call]

    def forward(self, input_ids: torch.Tensor, **_: Any) -> Any:
        hidden = self.embed(input_ids)
        for layer in self.layers:
            hidden = layer(hidden)
        return SimpleNamespace(logits=self.head(hidden))


AutoConfig.register("tiny-decoder", TinyConfig)
AutoModelForCausalLM.register(TinyConfig, TinyForCausalLM)
