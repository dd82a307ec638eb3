"""Recipes: what to train, on what and how, as frozen dataclasses and as TOML; the only home of
defaults.

A recipe's value has an origin: ``typed`` by the user, from a ``recipe`` file, ``measured`` on this
machine, or a ``default``. A run folder keeps the fully resolved recipe, so that it can be run again
to the bit.
"""

from __future__ import annotations

from convscope.recipe.resolving import resolve as resolve
from convscope.recipe.rules import checked as checked
from convscope.recipe.sections import AUGMENT_BY_DATA as AUGMENT_BY_DATA
from convscope.recipe.sections import AUGMENT_BY_NAME as AUGMENT_BY_NAME
from convscope.recipe.sections import LR_BY_OPTIMIZER as LR_BY_OPTIMIZER
from convscope.recipe.sections import SECTIONS as SECTIONS
from convscope.recipe.sections import Augment as Augment
from convscope.recipe.sections import Claim as Claim
from convscope.recipe.sections import Data as Data
from convscope.recipe.sections import Model as Model
from convscope.recipe.sections import Recipe as Recipe
from convscope.recipe.sections import Train as Train
from convscope.recipe.sections import options as options
from convscope.recipe.sections import rank as rank
from convscope.recipe.toml import dumps as dumps
from convscope.recipe.toml import load as load
from convscope.recipe.toml import names as names
from convscope.recipe.toml import of_run as of_run
from convscope.recipe.toml import parse as parse
