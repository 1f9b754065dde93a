"""What a benchmark asks: prompts made from a seed, without a tokenizer to download.

Prompts are made of common words and differ from their first word on, so that no
server can answer from a cached prefix. How many tokens they are, the server counts.
"""

import hashlib
import random

import msgspec

# Common words that most vocabularies hold as one token each.
_TEXT = (
    "the of and to in is that for it as was with be by on not he his but at are this have from or"
    " had an they which one you were all her she there would their we him been has when who will no"
    " more if out so up said what its about than into them can only other time new some could these"
    " two may first then do any like my now over such our man me even most made after also did many"
    " off before must well back through years much where your way down should because long each"
    " just state those people too mr how little good world make very year still see own work men"
    " day get here old between both life being under three never know same last another while us"
    " might great go come since against right came take used himself few house american use place"
    " during high without again home around small however found part school thought went say"
)
_WORDS = tuple(_TEXT.split())


class Workload(msgspec.Struct, frozen=True, kw_only=True):
    """The requests of one benchmark: how long they are, and what they are made from."""

    prompt_words: int = 128
    output_tokens: int = 64
    seed: int = 1

    def prompt(self, level: int, index: int) -> str:
        """The prompt of one request; the same for the same seed on every machine."""
        # A string seeds by its digest, which is stable between versions of Python.
        name = f"{self.seed}/{level}/{index}/{self.prompt_words}"
        source = random.Random(name)  # noqa: S311 - test text, not a secret
        words = source.choices(_WORDS, k=self.prompt_words)
        return f"{source.getrandbits(32):08x} " + " ".join(words)

    def options(self) -> dict[str, int | float | bool]:
        """The options of every request: as long as asked for, whatever the model wants."""
        return {
            "num_predict": self.output_tokens,
            "ignore_eos": True,
            "temperature": 0.0,
            "seed": self.seed,
        }

    def digest(self) -> str:
        """Names the workload: two results with the same digest were asked the same."""
        return hashlib.sha256(msgspec.json.encode(self, order="deterministic")).hexdigest()[:16]
