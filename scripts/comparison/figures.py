"""From measurements to figures: medians, ratios, and how sure they are."""

import random
import statistics

RESAMPLES = 10_000


def interval(values):
    """The 95 % bootstrap interval of the median. The seed is fixed: the same data, the same answer."""
    if len(values) < 3:
        return None
    source = random.Random(1)
    medians = sorted(
        statistics.median(source.choices(values, k=len(values))) for _ in range(RESAMPLES))
    return medians[int(RESAMPLES * 0.025)], medians[int(RESAMPLES * 0.975)]


def of_row(row, rounds, pairs):
    """`rounds`: for each kept round, the figure by proxy. `pairs`: who is held against the best of whom, and
    whether that is judged."""
    names = sorted({name for figures in rounds for name in figures})
    columns = {name: [figures[name] for figures in rounds if name in figures] for name in names}
    medians = {name: statistics.median(column) for name, column in columns.items()}
    ratios = [ratio(row, rounds, medians, *pair) for pair in pairs if pair[0] in medians]
    intervals = {name: interval(column) for name, column in columns.items()}
    result = {"key": row.key, "title": row.title, "unit": row.unit, "must": row.must, "limit": row.limit,
              "rounds": len(rounds), "medians": medians, "intervals": intervals,
              "ratios": [one for one in ratios if one]}
    ours = next((name for name, _, judged in pairs if judged and intervals.get(name)), None)
    if row.limit is not None and ours:
        result["within_limit"] = intervals[ours][1] <= row.limit
    return result


def ratio(row, rounds, medians, name, others, judged):
    others = [other for other in others if other in medians]
    if not others:
        return None
    best = min(others, key=medians.get)
    ratios = [figures[name] / figures[best] for figures in rounds if name in figures and best in figures]
    if not ratios:
        return None
    bounds = interval(ratios)
    result = {"name": name, "best": best, "ratio": statistics.median(ratios), "interval": bounds}
    if judged and row.must is not None and bounds is not None:
        # A figure counts when the bad end of its interval meets it.
        result["met"] = bounds[1] <= row.must
    return result
