"""How likely the answer is written in a certain language, from 0 to 1; answers too short to tell are left out."""

from __future__ import annotations

from functools import lru_cache

from pydantic import field_validator

from app.engine.contracts import RewardDefinition
from app.engine.reward_runtime.reward import PerRowReward
from app.setup.knob import Knobs, knob

_LANGUAGES = (
    "ace af am an ar ary arz as az ba bcl be bg bn br bs ca crh cs cy da de dz el en eo es et eu ext fa fi fo fr fuv fy ga gcf gcr gd gl "
    "gom grc gu gug guw ha hbo he hi hr ht hu hy id ig is it ja jv ka kab kik kk km kn ko ku ky la lb lg lij ln lo lt ltg lv mg mk ml mn mr "
    "ms mt my ne nl nn no nso oc om or pa pcm pl ps pt qu ro ru rw sa sdh se si sk sl sn so sq sr st sv sw ta te tg th tk tl tr tt ug uk "
    "ur uz uzs vec vi vo wa wuu xh yo yue zh zu"
)  # as py3langid knows them
KNOWN_LANGUAGES = frozenset(_LANGUAGES.split())


class Params(Knobs):
    language: str = knob("en", "The language, by its letters: en, de, fr, es, zh and many more.")
    letters: int = knob(20, "Shorter answers are not judged.", low=1, high=10_000, unit="letters")

    @field_validator("language")
    @classmethod
    def check_language(cls, language: str) -> str:
        if language.lower() not in KNOWN_LANGUAGES:
            raise ValueError("it should be the letters of a language that can be told apart, such as en, de or zh")
        return language.lower()


def make(params: Params) -> PerRowReward:
    def score(completion: str) -> float | None:
        if len(completion.strip()) < params.letters:
            return None
        return language_detector().probability_of(params.language, completion)

    return PerRowReward(score)


class _LanguageDetector:
    """py3langid with normalised probabilities. Its model is a few megabytes and part of the package."""

    def __init__(self) -> None:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier

        self.identifier = LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)

    def probability_of(self, language: str, text: str) -> float:
        """Probability, 0 to 1, that the text is in this language."""
        # some languages have two entries, one for each script
        return float(sum(probability for name, probability in self.identifier.rank(text) if name == language))


@lru_cache(maxsize=1)
def language_detector() -> _LanguageDetector:
    """The detector, loaded once."""
    return _LanguageDetector()


REWARD = RewardDefinition(
    title="Written in a language",
    sentence=__doc__,
    params=Params,
    make=make,
)
