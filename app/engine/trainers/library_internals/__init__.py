"""Everything private of TRL, transformers, datasets and others that our code uses, and every function of theirs that it replaces.

These may change in any release. tests/test_library_internals.py compares each entry with the installed version, and
finds uses that are not listed. It runs without a model, so after an update of a library it is the first test to run.
"""

from app.engine.trainers.library_internals.entry import LibraryInternal
from app.engine.trainers.library_internals.generation import GENERATION
from app.engine.trainers.library_internals.models_and_data import MODELS_AND_DATA
from app.engine.trainers.library_internals.training import PREPARATION, TRAINING_LOOP

__all__ = ["LIBRARY_INTERNALS", "LibraryInternal"]

LIBRARY_INTERNALS = (*PREPARATION, *TRAINING_LOOP, *GENERATION, *MODELS_AND_DATA)
