"""Numbers as people read them."""


def number(value: float | None) -> str:
    """Three figures that count, or a dash where there is no value."""
    if value is None:
        return "–"
    size = abs(float(f"{value:.3g}"))  # 9.996 is 10.0
    if size >= 100:
        return f"{value:,.0f}"
    if size >= 10:
        return f"{value:.1f}"
    return f"{value:.2f}" if size >= 0.01 or size == 0 else f"{value:.3g}"
