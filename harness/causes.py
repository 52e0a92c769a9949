"""Why pruners fail: the closed lists of causes, and of the interface's rules, that an autopsy may name."""

from __future__ import annotations

from enum import StrEnum


class Cause(StrEnum):
    """What went wrong, in the words that tables use. `harness.autopsy` finds it; NOT_APPLICABLE is no failure."""

    # no program, or none that runs
    NO_CODE = "no code"
    CUT_OFF = "cut off"
    REFUSED = "refused"
    UNREADABLE = "unreadable file"
    SYNTAX = "syntax"
    MISSING_MODULE = "missing module"
    NO_PRUNE = "no usable prune"
    # names and calls
    INTERFACE = "not in the interface"
    MISSING_NAME = "missing attribute"
    UNDEFINED_NAME = "undefined name"
    WRONG_CALL = "wrong call"
    NONE_VALUE = "None in a calculation"
    WRONG_TYPE = "wrong type"
    # tensors
    SHAPE = "shape mismatch"
    OUT_OF_RANGE = "out of range"
    DTYPE_DEVICE = "dtype or device"
    TOO_LARGE = "too large for an operation"
    READ_ONLY = "read only"
    AUTOGRAD = "autograd"
    NUMERICAL = "numerical"
    OWN_ERROR = "raised by its own code"
    # what came out
    UNUSABLE_WEIGHTS = "unusable weights"
    NOTHING_PRUNED = "nothing pruned"
    TOO_FEW_ZEROS = "too few zeros"
    UNEVEN_BUDGET = "uneven budget"
    PATTERN = "pattern ignored"
    # the sandbox
    NETWORK = "network"
    FORBIDDEN = "forbidden"
    MISSING_FILE = "missing file"
    TIME = "time"
    MEMORY = "memory"
    OTHER_LIMIT = "other limit"
    KILLED = "killed"
    NO_RESULT = "no result"
    # the rest
    NOT_APPLICABLE = "not applicable"
    OTHER = "other"

    @property
    def meaning(self) -> str:
        """What is behind it, in a sentence."""
        return _MEANINGS[self]


class Rule(StrEnum):
    """A promise of the pruning interface that a failure broke."""

    PRUNE = "prune(task)"
    LIBRARIES = "libraries"
    NO_NETWORK = "no network"
    ALL_IT_SEES = "names of the interface"
    UNSTRUCTURED = "n and m may be None"
    BIAS = "bias may be None"
    WEIGHT = "weights by layer.weight"
    KEEP = "layer.keep(mask)"
    SHAPES = "shapes stay"
    FINITE = "finite weights"
    EXACT_ZEROS = "exact zeros"
    BY_LAYER = "sparsity by layer"
    UNIFORM = "UNIFORM = False"
    SUM = "sparsity over all layers"
    PATTERN = "n kept of m"
    STRUCTURE = "whole structures"

    @property
    def words(self) -> str:
        """What sandbox/interface.py says, word for word."""
        return _WORDS[self]


_MEANINGS = {
    Cause.NO_CODE: "The answer is empty, or holds no Python code.",
    Cause.CUT_OFF: "The answer ended at its limit of tokens before its code was complete.",
    Cause.REFUSED: "The model declined to write the program, or its endpoint's content filter ended the answer.",
    Cause.UNREADABLE: "The answer or its code is too large, or no UTF-8.",
    Cause.SYNTAX: "The file is no Python.",
    Cause.MISSING_MODULE: "It imports a module that the sandbox does not have.",
    Cause.NO_PRUNE: "The file has no function prune that can be called with the task alone.",
    Cause.INTERFACE: "It uses the task, its sparsity or a layer in a way that the interface does not have.",
    Cause.MISSING_NAME: "It uses an attribute that a library or an object does not have.",
    Cause.UNDEFINED_NAME: "It uses a name that its own code never defines or imports, or not before that line.",
    Cause.WRONG_CALL: "A function is called with arguments that it does not take.",
    Cause.NONE_VALUE: "It calculates with a value that is None.",
    Cause.WRONG_TYPE: "An operation meets a value of a type that does not have it.",
    Cause.SHAPE: "Tensors, arrays or sequences do not fit in size, or there are several values where one is needed.",
    Cause.OUT_OF_RANGE: "An index, a key or an argument is outside of what there is, or there is nothing at all.",
    Cause.DTYPE_DEVICE: "A tensor's dtype, device or layout is not one that the operation takes.",
    Cause.TOO_LARGE: "A tensor has more elements than the operation takes.",
    Cause.READ_ONLY: "It changes something that cannot be changed, or not in place.",
    Cause.AUTOGRAD: "Autograd is asked for what it does not do: such as the gradient of what has none.",
    Cause.NUMERICAL: "A singular or not positive-definite matrix, a division by zero, or a number that is not finite.",
    Cause.OWN_ERROR: "A `raise` or an `assert` of its own code stopped it.",
    Cause.UNUSABLE_WEIGHTS: "What came out cannot be read as the model's weights.",
    Cause.NOTHING_PRUNED: "It ended well, and not one weight is exactly zero.",
    Cause.TOO_FEW_ZEROS: "Fewer weights, or whole structures, are exactly zero than were asked for.",
    Cause.UNEVEN_BUDGET: "Zeros are enough in all, but not in every layer, and the file does not say UNIFORM = False.",
    Cause.PATTERN: "Zeros are not where the n:m pattern, or the structure, asks for them.",
    Cause.NETWORK: "It asks for the network, which is not there.",
    Cause.FORBIDDEN: "The sandbox refused a file, a call or a device.",
    Cause.MISSING_FILE: "It opens a file that is not in the sandbox.",
    Cause.TIME: "It was not done at the deadline.",
    Cause.MEMORY: "It needed more memory than it may use.",
    Cause.OTHER_LIMIT: "It met another limit of the sandbox, such as processes, disk or processor time.",
    Cause.KILLED: "A signal ended it: a crash in a library, or one that it sent itself.",
    Cause.NO_RESULT: "It ended by itself before there was a result.",
    Cause.NOT_APPLICABLE: "The pruner says that it does not apply to this model or sparsity, which is no failure.",
    Cause.OTHER: "None of these is evident; the sentence repeats the error.",
}

_WORDS = {
    Rule.PRUNE: "A pruner is one Python file that defines def prune(task): ...",
    Rule.LIBRARIES: "may use torch, numpy and Python's standard library",
    Rule.NO_NETWORK: "with no network",
    Rule.ALL_IT_SEES: "The pruning interface, version 1: all that a pruner sees.",
    Rule.UNSTRUCTURED: "None when unstructured.",
    Rule.BIAS: "None where the layer has none.",
    Rule.WEIGHT: "Assign a new tensor of the same shape to change it.",
    Rule.KEEP: "Zero the weights where `mask` (bool, shaped as `weight`) is False.",
    Rule.SHAPES: "every shape is as it was",
    Rule.FINITE: "every weight is finite",
    Rule.EXACT_ZEROS: "zeros are counted exactly (1e-30 is not zero)",
    Rule.BY_LAYER: "a layer of shape [out, in] needs at least min(out * floor(in * ratio), in * floor(out * ratio)) of"
    " them",
    Rule.UNIFORM: "A file that spreads the budget unevenly over the layers says so with a module constant,"
    " `UNIFORM = False`",
    Rule.SUM: "the sum over all layers is checked instead",
    Rule.PATTERN: "with an n:m pattern, at most n weights of each m consecutive ones in a row may be non-zero",
    Rule.STRUCTURE: "with a structure, at least floor(count * ratio) of each layer's rows or columns, or of the"
    " attention heads where they enter a layer, must be zero as a whole",
}
