"""Bad entries and images: each stops a run, or leaves its masks as they came, with the reason kept."""

from collections.abc import Callable, Mapping, Set
from dataclasses import dataclass
from functools import partial
from typing import TypeVar

from bpr.formats.errors import FormatError, Reason
from bpr.structures import OnError, Rle, Size

Result = TypeVar("Result")

_REMEDY = "; or give on_error=keep, which leaves the masks of bad entries and images as they are"


@dataclass(slots=True)
class Fault:
    """A bad entry or image.

    Attributes:
        reason: The kind of problem, for people; one of `bpr.formats.errors.Reason`.
        place: File, and the entry in it.
        problem: What is wrong, and the remedy.
        masks: Number of masks that stay as they came for it.
        position: Index of the entry among those that were read (0-based); None for an image, and for what could not
            become an entry.
    """

    reason: str
    place: str
    problem: str
    masks: int = 1
    position: int | None = None


class Faults:
    """Decides what becomes of a bad entry or image, and collects those that are left as they came, in ``found``.

    Args:
        on_error: ``keep`` collects; ``stop`` raises, and names ``keep`` as a remedy; None, for commands that have no
            such setting, raises the error as it is.
    """

    def __init__(self, on_error: OnError | None = None) -> None:
        self.on_error, self.found = on_error, list[Fault]()
        self._positions = set[int]()

    @property
    def keeps(self) -> bool:
        """Whether bad entries and images are left as they came."""
        return self.on_error is OnError.keep

    @property
    def positions(self) -> Set[int]:
        """Positions of the bad entries found so far."""
        return self._positions

    def attempt(
        self, work: Callable[[], Result], reason: Reason, position: int | None = None, masks: int = 1
    ) -> Result | None:
        """Do ``work`` on one entry or image: its result, or None where it is bad and left as it came.

        An entry that was found bad before is not counted again.

        Args:
            work: Raises `FormatError` if the entry or image cannot be used.
            reason: The kind of problem, unless the error says it.
            position: As of `Fault`.
            masks: As of `Fault`.

        Raises:
            FormatError: That of ``work``, unless bad entries are kept.
        """
        try:
            return work()
        except FormatError as error:
            if self.on_error is None:
                raise
            problem = error.problem or str(error)
            if not self.keeps:
                raise FormatError(error.place, None, problem + _REMEDY, error.reason) from error
            if position is None or position not in self._positions:
                self.found.append(Fault(error.reason or reason, error.place, problem, masks, position))
            if position is not None:
                self._positions.add(position)
            return None

    def each(self, works: Mapping[int, Callable[[], Result]], reason: Reason) -> dict[int, Result]:
        """`attempt` each of several works: the results of those that are not bad, under the same numbers."""
        results = {number: self.attempt(work, reason) for number, work in works.items()}
        return {number: result for number, result in results.items() if result is not None}

    def drawn(
        self, find: Callable[[], str], size_of: Callable[[str], Size], draws: Mapping[int, Callable[[Size], Rle]]
    ) -> tuple[str, dict[int, Rle]]:
        """The name of an image, and the masks that are drawn in it, under the same numbers; none if the image is bad.

        Args:
            find: Gives the name of the image; not called if nothing is to be drawn.
            size_of: Gives the (h, w) of an image of this name.
            draws: Each gives a mask in an image of a size (h, w).
        """

        def locate() -> tuple[str, Size]:
            image = find()
            return image, size_of(image)

        located = self.attempt(locate, Reason.image, masks=len(draws)) if draws else None
        if located is None:
            return "", {}
        image, size = located
        return image, self.each({number: partial(draw, size) for number, draw in draws.items()}, Reason.mask)
