"""What an exception's words give away: messages of Python, numpy and torch, and the cause that each stands for.

The words may be invented, as everything that a pruner says: they inform a report and decide nothing.
"""

from __future__ import annotations

import re
from functools import lru_cache

from harness.causes import Cause

_OWN = r"^TypeError: (?:\w+\.)*\w+\(\) (?:missing|takes|got an unexpected|got multiple)"
_INVALID_CALL = r"invalid combination of arguments|missing \d+ required positional|got an unexpected keyword argument"

_SYMPTOMS: tuple[tuple[Cause, str], ...] = (
    (Cause.MEMORY, r"^(?:OutOfMemoryError|MemoryError)\b|out of memory|can't allocate memory"),
    (
        Cause.NETWORK,
        r"^(?:gaierror|URLError|HTTPError|Connection\w*Error|NewConnectionError|MaxRetryError|LocalEntryNotFoundError"
        r"|OfflineModeIsEnabled)\b|Name or service not known|Temporary failure in name resolution"
        r"|Network is unreachable|couldn't connect to 'https?:",
    ),
    (Cause.MISSING_FILE, r"^FileNotFoundError\b|No such file or directory"),
    (Cause.FORBIDDEN, r"^PermissionError\b|Operation not permitted|Permission denied|Read-only file system"),
    (Cause.UNDEFINED_NAME, r"^(?:NameError|UnboundLocalError)\b"),
    (
        Cause.READ_ONLY,
        r"^FrozenInstanceError\b|has no setter|has no deleter|can't set attribute|is read-only"
        r"|refers? to a single memory location",
    ),
    (Cause.WRONG_CALL, _OWN),
    (
        Cause.INTERFACE,
        r"\b(?:PruningTask|PrunableLayer)\b"
        r"|^AttributeError: 'Sparsity' object has no|^TypeError: .*(?:'Sparsity'|\bnot Sparsity\b)",
    ),
    (Cause.WRONG_CALL, _INVALID_CALL),
    (Cause.NONE_VALUE, r"\bNoneType\b"),
    (Cause.MISSING_NAME, r"^AttributeError\b|^ImportError: cannot import name"),
    (
        Cause.AUTOGRAD,
        r"requires? grad\b|require gradients?\b|inference tensor|backward through the graph|modified by an inplace"
        r"|have been used in the graph|only for scalar outputs|deepcopy protocol",
    ),
    (
        Cause.DTYPE_DEVICE,
        r"expected scalar type|same dtype|same device|not implemented for '|result type \w+ can't be cast"
        r"|infer output dtype|must be either (?:float|a floating)|device type|bool tensor|integer and Boolean"
        r"|boolean (?:mask|tensor)|used as indices must be|^NotImplementedError: Could not run|tensor layout"
        r"|unsupported ScalarType|np\.ndarray of type|self\.dtype|Expected dtype|Cannot cast ufunc"
        r"|not supported for the input types|Boolean alpha|layout tensor"
        r"|Tensor on device|a floating point or complex tensor|expected BoolTensor|\w+ did not match \w+$",
    ),
    (
        Cause.SHAPE,
        r"size of tensor|shapes cannot be multiplied|is invalid for input of size|expanded size|Sizes of tensors"
        r"|to be equal size|size mismatch|inconsistent tensor size|shape of the mask|shape mismatch|broadcast"
        r"|cannot reshape|not aligned|mismatch in its core dimension|values to unpack|Boolean value of Tensor"
        r"|truth value of an array|cannot be converted to Scalar|one element tensors|length-1 arrays"
        r"|0-dimensional arrays|\b[123]-?D\b|<= 2 dimensions|must be square|square matri|at least \d dimensions"
        r"|size and stride|inhomogeneous shape|same number of dimensions|Expected index \[|don't match in permute"
        r"|dimension specified as|same shape|Expected size for|sequence of length|elements of source|repeat dims"
        r"|maximum size for tensor|Padding length",
    ),
    (Cause.TOO_LARGE, r"input tensor is too large|number of categories cannot exceed"),
    (
        Cause.NUMERICAL,
        r"^(?:ZeroDivisionError|FloatingPointError|OverflowError|_?LinAlgError)\b|positive-definite|singular"
        r"|failed to converge|non-finite|not finite|ZeroDivision|division by zero|contains either"
        r"|cannot convert float|math (?:domain|range) error|expected a (?:positive|nonnegative|finite) input"
        r"|sum of probabilities|probabilities (?:contain|do not|are)",
    ),
    (
        Cause.OUT_OF_RANGE,
        r"^(?:IndexError|KeyError|StopIteration)\b|out of range|out of bounds|in the range|negative dimension"
        r"|must be non-negative|cannot sample|exceeds dimension size|larger (?:sample )?than population"
        r"|Expected reduction dim|empty sequence|argument is empty|zero-size array"
        r"|p_in >= 0|satisfy the constraint|to be greater than 0",
    ),
    (Cause.WRONG_CALL, r"^TypeError: .*\bargument '\w+'(?: \(position \d+\))? must be"),
    (Cause.WRONG_TYPE, r"^TypeError\b"),
)
_COMPILED = tuple((cause, re.compile(pattern, re.IGNORECASE)) for cause, pattern in _SYMPTOMS)
_CHARACTERS = 600
"""Of a message; what an exception is about stands at its begin."""


@lru_cache(maxsize=1 << 12)
def cause_of(type_name: str, message: str) -> Cause:
    """The cause that an exception's type and message stand for; OTHER where none is evident."""
    words = f"{type_name}: {message}"[:_CHARACTERS]
    return next((cause for cause, pattern in _COMPILED if pattern.search(words)), Cause.OTHER)
