"""What a trial may be: recipes, the search space that proposes them, and widths within a budget."""

from .checks import check_budgeted, check_space
from .proposal import SearchSpace
from .recipe import Recipe

__all__ = ["Recipe", "SearchSpace", "check_budgeted", "check_space"]
