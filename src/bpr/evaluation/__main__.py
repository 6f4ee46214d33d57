"""``python -m bpr.evaluation RESULTS ANNOTATIONS [--against COARSE]``: print the report of a results file."""

import json
import sys
from collections.abc import Sequence
from pathlib import Path

from bpr.cli.command import add_overwrite, exit_code, parser, printable
from bpr.evaluation.official_cityscapes import format_official, official_scores
from bpr.evaluation.scores import evaluate
from bpr.evaluation.table import format_table
from bpr.formats.files import write_text
from bpr.formats.predictions import files_of
from bpr.formats.protection import Inputs


def main(arguments: Sequence[str] | None = None) -> int:
    """Evaluate as the command line says; 0, or 2 if a file cannot be used."""
    options = parser("bpr.evaluation", "AP, Boundary AP and boundary F of instance masks.")
    options.add_argument("--against", type=Path, metavar="COARSE", help="the results file RESULTS was made from")
    options.add_argument("--json", type=Path, metavar="FILE", help="also write all figures (in [0, 1]) to FILE")
    options.add_argument("--official", action="store_true", help="also run Cityscapes' own script (two folders)")
    add_overwrite(options)
    chosen = options.parse_args(arguments)

    def work() -> None:
        if chosen.json is not None:
            coarse = [] if chosen.against is None else files_of(chosen.against)
            inputs = Inputs.of([*files_of(chosen.results), chosen.annotations, *coarse])
            inputs.check_file(chosen.json, chosen.overwrite, "--json")
        evaluation = evaluate(chosen.results, chosen.annotations, chosen.against, chosen.dilation_ratio)
        if chosen.json is not None:
            write_text(chosen.json, json.dumps(evaluation.as_dict(), indent=2, allow_nan=False) + "\n")
        print(printable(format_table(evaluation)))
        if chosen.official:
            against = None if chosen.against is None else official_scores(chosen.against, chosen.annotations)
            print(format_official(official_scores(chosen.results, chosen.annotations), against))

    return exit_code(work)


if __name__ == "__main__":
    sys.exit(main())
