"""The table on stdout, JSON for programs, SVG for eyes."""

import html
import json

from .programs import PEERS


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
    folder.mkdir(parents=True, exist_ok=True)
    (folder / f"{name}.json").write_text(json.dumps(
        {"about": about, "results": results, "notes": notes, "measurements": measurements}, indent=1))
    (folder / f"{name}.txt").write_text(table(about, results, names, notes) + "\n")
    (folder / f"{name}.svg").write_text(plots(results, names))


def document(docs, name, about, results, names, notes):
    """The table into docs/performance.md, between its two marks, and the plots beside it."""
    (docs / "performance").mkdir(exist_ok=True)
    (docs / f"performance/{name}.svg").write_text(plots(results, names))
    lines = [f"- {key}: {value}" for key, value in about.items()] + ["- " + note for note in notes]
    lines += ["", "| | unit | " + " | ".join([*names, "must", "ratios"]) + " |",
              "| --- | --- |" + " ---: |" * len(names) + " --- | --- |"]
    for result in results:
        cells = [result["title"], result["unit"], *(number(result["medians"].get(name)) for name in names),
                 must_text(result), "<br>".join(ratio_text(one, names) for one in result["ratios"])]
        lines.append("| " + " | ".join(cells) + " |")
    lines += ["", f"![The medians as bars](performance/{name}.svg)"]
    between_marks(docs / "performance.md", name, "\n".join(lines))


def check_table(rows):
    head = f"{'':54}{'load':>10}{'the other':>12}  load / the other"
    return "\n".join([head] + [
        f"{what:54}{mine:10.1f}{theirs:12.1f}  {ratio:.2f} ({low:.2f}-{high:.2f}) {name}"
        for what, mine, theirs, ratio, low, high, name in rows])


def document_check(docs, about, rows):
    lines = [f"On {about['cpu']}, Linux {about['kernel']}, {about['haproxy']}:", "",
             "| | load | the other | load / the other (least, most) | the other is |", "| --- | ---: | ---: | --- | --- |"]
    lines += [f"| {what} | {mine:.1f} | {theirs:.1f} | {ratio:.2f} ({low:.2f}, {high:.2f}) | {name} |"
              for what, mine, theirs, ratio, low, high, name in rows]
    between_marks(docs / "performance.md", "check-load", "\n".join(lines))


def between_marks(page, name, text):
    begin, end = f"<!-- {name}: begin -->", f"<!-- {name}: end -->"
    before, found, rest = page.read_text().partition(begin)
    _, closed, after = rest.partition(end)
    if not found or not closed:
        raise SystemExit(f"{page}: the marks '{begin}' and '{end}' are not there; put them where the table belongs")
    page.write_text(f"{before}{begin}\n{text}\n{end}{after}")


BAR, LEFT, TOP, WIDTH = 20, 130, 34, 680


def plots(results, names):
    """A panel for each row, one below the other."""
    parts, y = [], 10
    for result in results:
        panel, height = plot(result, [name for name in names if name in result["medians"]], y)
        parts += panel
        y += height
    return "\n".join([
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{y}" font-family="sans-serif" font-size="13">',
        f'<rect width="{WIDTH}" height="{y}" fill="white"/>', *parts, "</svg>", ""])


def plot(result, names, top):
    """A bar for each proxy's median, with its interval. The result: the parts, and how high they are."""
    high = [(result["intervals"][name] or (0, 0))[1] for name in names]
    scale = (WIDTH - LEFT - 90) / max([*result["medians"].values(), *high, 1e-9])
    parts = [f'<text x="10" y="{top + 18}" font-size="15">{html.escape(result["title"])},'
             f' {html.escape(result["unit"])} (less is better)</text>']
    for index, name in enumerate(names):
        y = top + TOP + index * (BAR + 6)
        length = result["medians"][name] * scale
        colour = "#8fa3b8" if name in PEERS else "#2a7f62"
        parts += [f'<text x="{LEFT - 8}" y="{y + 15}" text-anchor="end">{html.escape(name)}</text>',
                  f'<rect x="{LEFT}" y="{y}" width="{length:.1f}" height="{BAR}" fill="{colour}"/>']
        end = length
        if result["intervals"][name]:
            low, end = (bound * scale for bound in result["intervals"][name])
            parts.append(f'<path d="M{LEFT + low:.1f} {y + BAR / 2}H{LEFT + end:.1f}" stroke="black"/>')
        parts.append(f'<text x="{LEFT + max(length, end) + 6:.1f}" y="{y + 15}">'
                     f'{number(result["medians"][name])}</text>')
    return parts, TOP + len(names) * (BAR + 6) + 14
