"""How many requests are made at a time, and how much they may cost together."""

from __future__ import annotations

import math
import threading


class Gate:
    """Lets so many through at a time: half as many after each `narrow`, and one more after as many good passes.

    Additive increase, multiplicative decrease: Chiu and Jain 1989, "Analysis of the Increase and Decrease Algorithms
    for Congestion Avoidance in Computer Networks".
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self._width = float(most)
        self._inside = 0
        self._changed = threading.Condition()

    @property
    def width(self) -> int:
        """How many may be inside now."""
        return max(1, int(self._width))

    def narrow(self) -> None:
        """Halve the width, at least one stays."""
        with self._changed:
            self._width = max(1.0, self._width / 2)

    def __enter__(self) -> None:
        with self._changed:
            self._changed.wait_for(lambda: self._inside < self.width)
            self._inside += 1

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        with self._changed:
            self._inside -= 1
            if kind is None:
                self._width = min(float(self._most), self._width + 1 / self._width)
            self._changed.notify_all()


class Budget:
    """US dollars that were spent, and the most that may be."""

    def __init__(self, most: float | None, spent: float) -> None:
        self._most = most
        self._spent = spent
        self._reserved = 0.0
        self._lock = threading.Lock()

    @property
    def limited(self) -> bool:
        """Whether there is a limit."""
        return self._most is not None

    @property
    def spent(self) -> float:
        """By now."""
        return self._spent

    def left(self) -> bool:
        """Whether another request may be made."""
        return self._most is None or self._spent + self._reserved < self._most

    def rest(self) -> float:
        """US dollars that are neither spent nor reserved; infinite where there is no limit."""
        return math.inf if self._most is None else max(0.0, self._most - self._spent - self._reserved)

    def reserve(self, dollars: float) -> None:
        """Count what will be spent, or with a minus what now will not, or is."""
        with self._lock:
            self._reserved += dollars

    def add(self, dollars: float | None) -> None:
        """Count what an answer cost; None where that is not known."""
        with self._lock:
            self._spent += dollars or 0.0
