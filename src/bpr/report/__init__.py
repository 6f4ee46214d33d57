"""One HTML page that shows what a refinement did; needs no network, no script, and no other file."""

from bpr.report.page import report_path, write_report

__all__ = ["report_path", "write_report"]
