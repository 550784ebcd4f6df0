"""What a trial may be: recipes, the search space that proposes them, and widths within a budget."""

from .proposal import SearchSpace, check_space
from .recipe import Recipe

__all__ = ["Recipe", "SearchSpace", "check_space"]
