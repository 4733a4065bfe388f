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


def of_row(row, rounds):
    """`rounds`: for each kept round, the figure by proxy."""
    names = sorted({name for figures in rounds for name in figures})
    medians = {
        name: statistics.median(figures[name] for figures in rounds if name in figures)
        for name in names}
    peers = {name: median for name, median in medians.items() if name != "lockgate"}
    result = {"key": row.key, "title": row.title, "unit": row.unit, "must": row.must,
              "medians": medians, "rounds": len(rounds),
              "intervals": {
                  name: interval([figures[name] for figures in rounds if name in figures])
                  for name in names}}
    if peers and "lockgate" in medians:
        best = min(peers, key=peers.get)
        ratios = [figures["lockgate"] / figures[best] for figures in rounds
                  if "lockgate" in figures and best in figures]
        if ratios:
            bounds = interval(ratios)
            result |= {"best": best, "ratio": statistics.median(ratios), "ratio_interval": bounds}
            if row.must is not None and bounds is not None:
                # A figure counts when the bad end of its interval meets it.
                result["met"] = bounds[1] <= row.must
    return result
