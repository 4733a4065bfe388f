"""The table on stdout, JSON for programs, SVG for eyes."""

import html
import json


def table(about, results, names, notes):
    lines = [f"{key + ':':10} {value}" for key, value in about.items()]
    widths = [52, 9, *(10 for _ in names), 9, 22, 6]
    head = ["", "unit", *names, "best", "lockgate / best", "must"]
    lines += ["", row_text(head, widths)]
    for result in results:
        figures = [number(result["medians"].get(name)) for name in names]
        ratio = "-"
        if "ratio" in result:
            ratio = f"{result['ratio']:.2f}"
            if result["ratio_interval"]:
                low, high = result["ratio_interval"]
                ratio += f" ({low:.2f}-{high:.2f})"
            if "met" in result:
                ratio += " yes" if result["met"] else " no"
        must = "-" if result["must"] is None else f"{result['must']:.2f}"
        lines.append(row_text(
            [result["title"], result["unit"], *figures, result.get("best", "-"), ratio, must], widths))
    lines += [""] + notes
    return "\n".join(lines)


def row_text(cells, widths):
    first, *rest = zip(cells, widths)
    return " ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)])


def number(value):
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}"


def write(folder, about, results, names, notes, measurements):
    (folder / "results.json").write_text(json.dumps(
        {"about": about, "results": results, "notes": notes, "measurements": measurements}, indent=1))
    (folder / "table.txt").write_text(table(about, results, names, notes) + "\n")
    for result in results:
        (folder / f"{result['key']}.svg").write_text(plot(result, names))


def plot(result, names):
    """A bar for each proxy's median, with its interval."""
    names = [name for name in names if name in result["medians"]]
    width, bar, left, top = 640, 26, 90, 40
    high = [(result["intervals"][name] or (0, 0))[1] for name in names]
    largest = max([*result["medians"].values(), *high, 1e-9])
    scale = (width - left - 90) / largest
    height = top + len(names) * (bar + 8) + 12
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{width}" height="{height}"'
        ' font-family="sans-serif" font-size="13">',
        f'<rect width="{width}" height="{height}" fill="white"/>',
        f'<text x="10" y="22" font-size="15">{html.escape(result["title"])},'
        f' {html.escape(result["unit"])} (less is better)</text>']
    for index, name in enumerate(names):
        y = top + index * (bar + 8)
        length = result["medians"][name] * scale
        colour = "#2a7f62" if name == "lockgate" else "#8fa3b8"
        parts += [
            f'<text x="{left - 8}" y="{y + 18}" text-anchor="end">{name}</text>',
            f'<rect x="{left}" y="{y}" width="{length:.1f}" height="{bar}" fill="{colour}"/>']
        end = length
        if result["intervals"][name]:
            low, end = (bound * scale for bound in result["intervals"][name])
            middle = y + bar / 2
            parts.append(f'<path d="M{left + low:.1f} {middle}H{left + end:.1f}" stroke="black"/>')
        parts.append(
            f'<text x="{left + max(length, end) + 6:.1f}" y="{y + 18}">'
            f'{number(result["medians"][name])}</text>')
    return "\n".join([*parts, "</svg>", ""])
