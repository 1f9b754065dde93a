"""A program that a test starts and waits for."""

from abc import ABC, abstractmethod
from typing import Self


class Started(ABC):
    """Use as a context manager: it answers once that is entered, and has ended when it is left,
    also if it never answered."""

    def __enter__(self) -> Self:
        self.start()
        try:
            self.wait_until_ready()
        except BaseException:
            self.end()
            raise
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    @abstractmethod
    def start(self) -> None:
        """Start it and wait for nothing."""

    @abstractmethod
    def wait_until_ready(self) -> None:
        """Return once it answers. Raises AssertionError if it does not."""

    @abstractmethod
    def end(self) -> None:
        """End it."""
