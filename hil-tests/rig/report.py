"""What a check found: a table for people, and whether its bars hold."""

from dataclasses import dataclass, field


@dataclass(frozen=True)
class Row:
    """A number, and the bar it is held against, if any."""

    name: str
    value: str
    bar: str = ""
    holds: bool | None = None


@dataclass
class Report:
    """Rows under headings, in order."""

    rows: list[Row | str] = field(default_factory=list)

    def heading(self, text: str) -> None:
        """A line of its own."""
        self.rows.append(text)

    def tell(self, name: str, value: str) -> None:
        """A number without a bar."""
        self.rows.append(Row(name, value))

    def at_most(self, name: str, value: float, bar: float, unit: str) -> None:
        """A number that must not be larger."""
        self.rows.append(Row(name, f"{value:.4g} {unit}".rstrip(), f"≤ {bar:g} {unit}".rstrip(), value <= bar))

    def must(self, name: str, value: str, bar: str, holds: bool) -> None:
        """A bar in words."""
        self.rows.append(Row(name, value, bar, holds))

    @property
    def failures(self) -> list[Row]:
        """The bars that do not hold."""
        return [row for row in self.rows if isinstance(row, Row) and row.holds is False]

    def text(self) -> str:
        """The table."""
        rows = [row for row in self.rows if isinstance(row, Row)]
        widths = [max(len(getattr(row, part)) for row in rows) for part in ("name", "value", "bar")]
        lines = []
        for row in self.rows:
            if isinstance(row, str):
                lines += ["", row]
                continue
            verdict = {True: "pass", False: "FAIL", None: ""}[row.holds]
            cells = (row.name.ljust(widths[0]), row.value.rjust(widths[1]), row.bar.ljust(widths[2]), verdict)
            lines.append("  " + "  ".join(cells).rstrip())
        return "\n".join(lines)
