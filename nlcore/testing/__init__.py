"""The conformance kit: checks that a loss keeps the contract, with a remedy for each fault."""

from nlcore.testing.kit import BoundCheck, algorithm_checks, check_algorithm
from nlcore.testing.plugins import Case, cases, check_plugin
from nlcore.testing.pytest_support import parametrize_with_checks
from nlcore.testing.report import Outcome, PluginReport, Report, Status

__all__ = [
    "BoundCheck",
    "Case",
    "Outcome",
    "PluginReport",
    "Report",
    "Status",
    "algorithm_checks",
    "cases",
    "check_algorithm",
    "check_plugin",
    "parametrize_with_checks",
]
