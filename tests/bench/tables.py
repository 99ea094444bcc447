"""Text in columns."""

from collections.abc import Iterable, Sequence


def table(head: Sequence[str], rows: Sequence[Sequence[str]], *, left: Sequence[int]) -> str:
    """Lines of columns, each as wide as its widest cell; those in `left` begin at their left."""
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head))]
    aligned = (
        "  ".join(
            cell.ljust(width) if column in left else cell.rjust(width)
            for column, (cell, width) in enumerate(zip(line, widths, strict=True))
        )
        for line in lines
    )
    return "\n".join(line.rstrip() for line in aligned)


def listed(values: Iterable[tuple[str, float | None]], form: str) -> str:
    """Names and their numbers."""
    return ", ".join(f"{name} {number(value, form)}" for name, value in values)


def compact(value: float | None) -> str:
    """A number with two decimals where it is small."""
    return number(value, ",.0f" if value is not None and value >= 100 else ".2f")


def number(value: float | None, form: str) -> str:
    """A number in this form, or a dash."""
    return "-" if value is None else format(value, form)
