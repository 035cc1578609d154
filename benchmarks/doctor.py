"""Can the doctor be trusted? ``python benchmarks/doctor.py [--quick] [--half tuned]``.

Trains a suite of healthy runs, which reach their accuracy, and of faulty ones, which have one fault each and do worse
than the same run without it; asks `cconv.check` before, and the trainer's report after. `tests/doctor_runs.py` has the
runs and the faults, and for each fault the kinds that count as its root.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import math
import multiprocessing
import os
import sys
import time
import warnings
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

if __name__ in ("__main__", "__mp_main__"):
    os.environ.setdefault("CCONV_NUM_THREADS", "1")  # a process for each core
sys.path.insert(0, str(Path(__file__).parents[1] / "tests"))

import doctor_runs as runs
import numpy as np

import cconv

HEALTHY, EACH = 300, 4  # healthy runs tried; runs of each fault
QUICK = 24, 1
SEVERITIES = ("error", "warning", "note")

Row = dict[str, Any]


def examined(run: runs.Run) -> Row:
    """What `check` and the trainer say of a run, and how well it learned."""
    warnings.simplefilter("ignore")
    before = time.perf_counter()
    row: Row = {"check": _told(run.check(seconds=20)), "check_seconds": time.perf_counter() - before}
    row |= {"trainer": [], "raised": "", "score": math.nan, "learned": None, "steps": -(-len(run.x) // run.batch_size)}
    try:
        trainer = cconv.Trainer(run.model, run.loss, run.optimizer, seed=0, progress=False, **run.trainer)
    except (TypeError, ValueError) as error:
        return row | {"raised": f"Trainer: {error}"}
    train = {"train": (run.x, run.y), "batch_size": run.batch_size} if run.fed is None else {"train": run.fed}
    before = time.perf_counter()
    try:
        with np.errstate(all="ignore"):
            history = trainer.fit(**train, epochs=run.epochs, validation=run.validation, **run.fit)
            row["seconds"] = time.perf_counter() - before
            row["learned"] = runs.Learned(run.score(trainer), [dict(record) for record in history])
            row["score"] = row["learned"].score
    except Exception as error:
        row["raised"] = f"{type(error).__name__}: {error}".splitlines()[0]
    return row | {"monitors": trainer.monitor.seconds, "trainer": _told(trainer.report)}


def _told(report: Any) -> list[Row]:
    return [
        {
            "kind": finding.kind,
            "severity": finding.severity,
            "step": finding.step,
            "below": [below.kind for below in finding.consequences],
            "cause": finding.cause,
        }
        for finding in report
    ]


def healthy(recipe: runs.Recipe) -> Row:
    row = examined(runs.run(recipe))
    reached = row["score"] >= runs.loaded(recipe.data).reached
    return {"run": str(recipe), "half": recipe.half, "data": recipe.data, "reached": reached} | row


def faulty(given: tuple[str, runs.Recipe, runs.Learned]) -> Row:
    name, recipe, well = given
    fault = runs.FAULTS[name]
    half = "new" if name in runs.NEW else recipe.half
    row = examined(runs.faulty(recipe, fault))
    harmed = bool(row["raised"]) or (fault.effect or runs.harm)(row["learned"], well)
    told = {"run": str(recipe), "half": half, "fault": name, "kinds": fault.kinds, "counts": harmed}
    return told | {"healthy_score": well.score} | row


def chosen(row: Row, which: str) -> list[Row]:
    """The findings that are read: of one, or of both the one that is more worried, `check` first."""
    found = [[each for each in row[name] if each["severity"] != "note"] for name in ("check", "trainer")]
    if which != "together":
        return found[which == "trainer"]
    worst = [SEVERITIES.index(each[0]["severity"]) if each else len(SEVERITIES) for each in found]
    return found[worst[1] < worst[0]]


def root(row: Row, which: str) -> str:
    """The kind that is named first, or none."""
    found = chosen(row, which)
    return found[0]["kind"] if found else ""


def right(row: Row, which: str) -> bool:
    return root(row, which) in row["kinds"]


def trained(row: Row) -> bool:
    """Whether the trainer had anything to look at: it does not where it raises because of what it was given."""
    return bool(row["trainer"]) or not row["raised"] or row["raised"].startswith("FloatingPointError")


def early(row: Row) -> bool:
    """Whether the trainer named it within the first epoch."""
    found = chosen(row, "trainer")
    return bool(found) and found[0]["kind"] in row["kinds"] and found[0]["step"] <= row["steps"]


def share(rows: Iterable[bool]) -> str:
    told = list(rows)
    return f"{sum(told)} of {len(told)} ({sum(told) / len(told):.1%})" if told else ""


def summary(rows: list[Row]) -> list[Row]:
    """A line for each half, of healthy and of faulty runs."""
    lines = []
    for half in runs.FAULT_HALVES:
        of = [row for row in rows if row["half"] == half]
        if not of:
            continue
        well = [row for row in of if row.get("reached")]
        ill = [row for row in of if row.get("counts")]
        seen = [row for row in ill if trained(row)]
        before = [row for row in ill if runs.FAULTS[row["fault"]].early]
        soon = [row for row in seen if not runs.FAULTS[row["fault"]].late]
        count = Counter(
            (which, each["severity"], each["kind"])
            for row in well
            for which in ("check", "trainer")
            for each in row[which]
        )
        lines.append(
            {
                "half": half,
                "healthy runs that reach their accuracy": share(row["reached"] for row in of if "reached" in row),
                "of them with an error": share(
                    any(each["severity"] == "error" for which in ("check", "trainer") for each in row[which])
                    for row in well
                ),
                "with a warning of check": share(any(e["severity"] == "warning" for e in row["check"]) for row in well),
                "with a warning of Trainer": share(
                    any(e["severity"] == "warning" for e in row["trainer"]) for row in well
                ),
                "warnings": ", ".join(
                    f"{kind} {n} ({which})"
                    for (which, severity, kind), n in count.most_common()
                    if severity == "warning"
                ),
                "faulty runs that do worse": share(row["counts"] for row in of if "fault" in row),
                "faults": len({row["fault"] for row in ill}),
                "right root first: check alone, of what it can see": share(right(row, "check") for row in before),
                "right root first: Trainer alone": share(right(row, "trainer") for row in seen),
                "right root first: together": share(right(row, "together") for row in ill),
                "Trainer alone, within the first epoch, of what shows by then": share(early(row) for row in soon),
                "the same with check, which comes before it": share(
                    right(row, "check") or early(row) for row in ill if not runs.FAULTS[row["fault"]].late
                ),
                "time of monitors": f"{_monitored(of):.2%}",
            }
        )
    return lines


def _monitored(rows: list[Row]) -> float:
    """Over the runs that were trained to their end."""
    whole = [row for row in rows if row["learned"]]
    return sum(row["monitors"] for row in whole) / max(sum(row["seconds"] for row in whole), 1e-9)


def by_kind(rows: list[Row]) -> list[Row]:
    """Recall of faults and precision of findings, by kind: how many runs have it, and of how many it is said."""
    of = [row for row in rows if row.get("counts") or row.get("reached")]
    ill = [row for row in of if "fault" in row]
    lines = []
    named = {which: {id(row): root(row, which) for row in of} for which in ("check", "trainer", "together")}
    known = {runs.FAULTS[row["fault"]].kinds[0] for row in ill}
    for kind in sorted(
        known | set(named["together"].values()) - {""},
        key=list(cconv.doctor.KINDS).index,
    ):
        of_kind = [row for row in ill if row["kinds"][0] == kind]
        given = [row for row in of if named["together"][id(row)] == kind]
        correct = [row for row in given if kind in row.get("kinds", ())]
        lines.append(
            {
                "kind": kind,
                "faulty runs": len(of_kind),
                "right by check": sum(right(row, "check") for row in of_kind),
                "by Trainer": sum(right(row, "trainer") for row in of_kind),
                "together": sum(right(row, "together") for row in of_kind),
                "runs of which it is said first": len(given),
                "rightly": len(correct),
            }
        )
    return lines


def table(lines: list[Row]) -> str:
    heads = list(lines[0])
    rows = [heads, ["---"] * len(heads), *([str(line[head]) for head in heads] for line in lines)]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def tasks(
    reached: list[tuple[runs.Recipe, runs.Learned]], each: int, only: str | None
) -> list[tuple[str, runs.Recipe, runs.Learned]]:
    """Each fault into several of the healthy runs of its half, of different networks where it can be."""
    found = []
    for half, faults in runs.FAULT_HALVES.items():
        for i, (name, fault) in enumerate(faults.items()):
            if only and only not in (half, name):
                continue
            able = [(r, s) for r, s in reached if half in (r.half, "new")]
            able = able[i * 7 % max(len(able), 1) :] + able[: i * 7 % max(len(able), 1)]
            used: set[str] = set()
            for recipe, score in able:
                if len(used) == each:
                    break
                if recipe.network not in used and runs.faulty(recipe, fault) is not None:
                    used.add(recipe.network)
                    found.append((name, recipe, score))
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="a sample, in about a minute")
    parser.add_argument("--half", choices=list(runs.FAULT_HALVES))
    parser.add_argument("--fault", help="one alone")
    parser.add_argument("--runs", type=int, nargs=2, default=(HEALTHY, EACH), help="healthy ones to try, of each fault")
    parser.add_argument("--jobs", type=int, default=min(os.cpu_count() or 1, 8), help="processes")
    parser.add_argument("--verbose", action="store_true", help="what was said of every run that was judged wrongly")
    parser.add_argument("--json", help="write the rows to this file")
    options = parser.parse_args()
    started = time.perf_counter()
    only = options.fault or options.half
    count, each = QUICK if options.quick else options.runs
    tried = [r for r in runs.recipes(count) if options.half in (None, r.half, "new")]
    with contextlib.closing(multiprocessing.get_context("spawn").Pool(options.jobs)) as pool:
        well = pool.map(healthy, tried, chunksize=1)
        reached = [(r, row["learned"]) for r, row in zip(tried, well, strict=True) if row["reached"]]
        given = tasks(reached, each, only)
        ill = pool.map(faulty, given[::3] if options.quick else given, chunksize=1)
    rows = well + ill
    if options.json:
        plain = [row | {"learned": row["learned"] and row["learned"].history} for row in rows]
        Path(options.json).write_text(json.dumps(plain, indent=1))
    lines = [line for line in summary(rows) if options.half in (None, line["half"])]
    print(table([{"": head} | {line["half"]: line[head] for line in lines} for head in list(lines[0])[1:]]))
    print(f"\n{table(by_kind(rows))}")
    _wrong(rows, options.verbose)
    print(f"\n{len(rows)} runs in {time.perf_counter() - started:.0f} s")


def _wrong(rows: list[Row], verbose: bool) -> None:
    """What was judged wrongly, and which faults do no harm."""
    for row in rows:
        if row.get("reached"):
            for which in ("check", "trainer"):
                for each in row[which]:
                    if each["severity"] == "error":
                        print(f"\nan error in a healthy run ({which}; {row['run']}): {each['kind']}: {each['cause']}")
        elif row.get("counts") and not right(row, "together"):
            print(f"\nmissed: {row['fault']} ({row['run']}; {row['score']:.3f}, healthy {row['healthy_score']:.3f})")
            for which in ("check", "trainer"):
                for each in row[which] if verbose else row[which][:1]:
                    print(f"  {which}: {each['severity']} {each['kind']} {each['step']}: {each['cause']}")
        elif verbose and row.get("counts") and trained(row) and not right(row, "trainer"):
            print(f"\nmissed by Trainer: {row['fault']} ({row['run']}; {row['score']:.3f})")
            for each in row["trainer"]:
                print(f"  {each['severity']} {each['kind']} {each['step']}: {each['cause']}")
    harmless = Counter(row["fault"] for row in rows if row.get("counts") is False)
    print("\nwithout harm, and left out:", ", ".join(f"{name} {n}" for name, n in harmless.items()) or "none")


if __name__ == "__main__":
    main()
