"""How good masks are: AP, Boundary AP and boundary F, before and after refinement."""

from bpr.evaluation.scores import Evaluation, evaluate
from bpr.evaluation.table import format_table

__all__ = ["Evaluation", "evaluate", "format_table"]
