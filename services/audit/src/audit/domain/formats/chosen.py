"""The formats by name."""

from collections.abc import Callable, Mapping

from audit.domain.formats import csv_lines, jsonl, ocsf
from audit.domain.formats.records import Record
from shared.contracts.audit_export import ExportFormat

LINES: Mapping[ExportFormat, Callable[[Record], bytes]] = {
    ExportFormat.JSONL: jsonl.entry_line,
    ExportFormat.OCSF: ocsf.entry_line,
    ExportFormat.CSV: csv_lines.entry_line,
}
"""What writes the line of an entry."""
