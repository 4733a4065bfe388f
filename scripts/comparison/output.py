"""The table on stdout, JSON for programs, SVG for eyes."""

import html
import json


def table(about, results, names, notes):
    lines = [f"{key + ':':10} {value}" for key, value in about.items()]
    widths = [54, 11, *(max(9, len(name)) for name in names), 12]
    lines += ["", row_text(["", "unit", *names, "must"], widths) + "  ratios"]
    for result in results:
        figures = [number(result["medians"].get(name)) for name in names]
        ratios = "; ".join(ratio_text(one, names) for one in result["ratios"])
        lines.append(row_text([result["title"], result["unit"], *figures, must_text(result)], widths) + "  " + ratios)
    return "\n".join(lines + [""] + notes)


def must_text(result):
    """A ratio to the best of the others, or a limit of the figure itself, which is answered here."""
    if result["limit"] is not None:
        answer = {True: " yes", False: " no", None: ""}[result.get("within_limit")]
        return f"<= {result['limit']:g}{answer}"
    return "-" if result["must"] is None else f"{result['must']:.2f} x"


def ratio_text(ratio, names):
    text = f"{ratio['ratio']:.2f}"
    if ratio["interval"]:
        low, high = ratio["interval"]
        text += f" ({low:.2f}-{high:.2f})"
    text += f" x {ratio['best']}"
    if "met" in ratio:
        text += " yes" if ratio["met"] else " no"
    return text if ratio["name"] == names[0] else f"{ratio['name']} {text}"


def row_text(cells, widths):
    first, *rest = zip(cells, widths)
    return " ".join([first[0].ljust(first[1]), *(cell.rjust(width) for cell, width in rest)])


def number(value):
    if value is None:
        return "-"
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}"


def write(folder, name, about, results, names, notes, measurements):
    """The files of one run, all of whose names begin with `name`."""
    (folder / f"{name}.json").write_text(json.dumps(
        {"about": about, "results": results, "notes": notes, "measurements": measurements}, indent=1))
    (folder / f"{name}.txt").write_text(table(about, results, names, notes) + "\n")
    for result in results:
        (folder / f"{name}-{result['key']}.svg").write_text(plot(result, names))


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
