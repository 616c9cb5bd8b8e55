"""What was seen of a fault: each word that was said meanwhile, and what became of it.

So of each publication of a backend, too.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

PUBLISHED, DUPLICATE = "published", "duplicate"
"""What a 200 says of a publication; any other answer is known by its code."""
NO_ANSWER = "no answer"
UNCERTAIN = ("unconfirmed", NO_ANSWER)
"""The answers after which it may have been published."""


@dataclass
class Word:
    """What a talker said, and what became of it."""

    id: str
    said_at: float
    here_at: float | None = None
    """When it reached a client of the same pod."""
    there_at: float | None = None
    """When it reached a client of the other pod."""
    unavailable_at: float | None = None
    """When its sender was told that it may not have, by an error or by a nack."""
    asks: bool = False
    """Whether its sender wants a receipt."""
    receipts: list[str] = field(default_factory=list)
    """`ack` or `nack`, once."""
    is_published: bool = False
    """Whether Redis was seen to publish it."""

    @property
    def has_false_ack(self) -> bool:
        """Whether its sender was told that Redis has it, and neither Redis nor anybody got it."""
        return "ack" in self.receipts and not self.is_published and self.there_at is None


@dataclass
class Publication:
    """What a backend published, and what became of it."""

    id: str
    answers: list[str] = field(default_factory=list)
    """Of each of its tries; the last one is a 200."""
    arrivals: list[list[int]] = field(default_factory=list)
    """For each pod how often it came to each member of the room there."""
    published: int = 0
    """How often Redis was seen to publish it."""

    @property
    def uncertain(self) -> int:
        """How many of the tries may have published it, or not."""
        return sum(map(self.answers.count, UNCERTAIN))

    @property
    def times(self) -> int:
        """How often it came to who got it most often."""
        return max(times for members in self.arrivals for times in members)


@dataclass
class Outcome:
    """What was seen of a fault; times in seconds."""

    back: float
    """From the moment at which Redis could be reached to the first words across, both ways."""
    words: list[list[Word]]
    """What each pod's talker said from just before the strike to the recovery, in order."""
    publications: list[Publication]
    """What a backend published in the same time."""
    outages: list[list[float]] = field(default_factory=list)
    """What each pod's clients were told of the length of outages."""
    real_outages: list[float] = field(default_factory=list)
    """From the strike to the end that each pod's clients were told last; of a single one first."""
    late: list[int] = field(default_factory=list)
    """How many of each pod's canaries were late: each such is an outage, too."""
    gaps: list[Counter[str | None]] = field(default_factory=list)
    """How often each pod's clients were told of a gap, by room."""
    dropped: Counter[str] = field(default_factory=Counter)
    """What the pods counted as not published, by reason."""
    log_lines: int = 0
    seconds: float = 0.0
    more_memory: int = 0

    @property
    def said(self) -> int:
        """How many words were said."""
        return sum(map(len, self.words))

    @property
    def crossed(self) -> int:
        """How many of these reached the other pod."""
        return sum(word.there_at is not None for words in self.words for word in words)

    @property
    def unavailable(self) -> int:
        """Of how many the sender was told."""
        return sum(word.unavailable_at is not None for words in self.words for word in words)

    def receipts(self, kind: str) -> int:
        """How many were told, of a kind."""
        return sum(word.receipts.count(kind) for words in self.words for word in words)

    @property
    def false_acks(self) -> int:
        """How many of them were wrong."""
        return sum(word.has_false_ack for words in self.words for word in words)

    @property
    def missed(self) -> list[int]:
        """How many of each pod's words the other missed, and their sender does not know of."""
        return [
            sum(word.there_at is None and word.unavailable_at is None for word in words)
            for words in self.words
        ]

    def answers(self, *kinds: str) -> int:
        """How many tries of the backend were answered so."""
        return sum(p.answers.count(kind) for p in self.publications for kind in kinds)

    @property
    def tried_again(self) -> int:
        """How many tries were not the first of their publication."""
        return sum(len(publication.answers) - 1 for publication in self.publications)

    @property
    def doubles(self) -> int:
        """How many publications Redis published more than once."""
        return sum(publication.published > 1 for publication in self.publications)

    def publications_missed(self, pod: int) -> int:
        """How many of the publications some member on a pod did not get."""
        return sum(0 in publication.arrivals[pod] for publication in self.publications)

    @property
    def told_after(self) -> float:
        """How long it took at most until a sender was told."""
        return max(
            (
                w.unavailable_at - w.said_at
                for words in self.words
                for w in words
                if w.unavailable_at
            ),
            default=0.0,
        )

    @property
    def same_pod(self) -> float:
        """How long words needed at most to a client of the same pod."""
        return max(w.here_at - w.said_at for words in self.words for w in words if w.here_at)
