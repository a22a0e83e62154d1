"""Writes what the Autobahn suite is asked for, and tells what it found.

    report.py spec REPORT_DIR URL CASE…     prints the spec that `wstest` takes for a server at URL
    report.py clients REPORT_DIR URL CASE…  the same for clients that come to URL
    report.py summary REPORT_DIR STATUS     prints the findings of a run that ended with STATUS
"""

import collections
import json
import os
import re
import sys

AGENT = "chinwag"
GOOD = {"OK", "INFORMATIONAL"}


def spec(report_dir, url, *cases):
    tell_spec(report_dir, {"servers": [{"agent": AGENT, "url": url}]}, cases)


def clients(report_dir, url, *cases):
    tell_spec(report_dir, {"url": url}, cases)


def tell_spec(report_dir, ends, cases):
    wanted = [case for case in cases if not case.startswith("!")]
    unwanted = [case[1:] for case in cases if case.startswith("!")]
    json.dump(
        {
            **ends,
            "outdir": report_dir,
            "cases": wanted or ["*"],
            "exclude-cases": unwanted,
            "exclude-agent-cases": {},
        },
        sys.stdout,
        indent=1,
    )


def summary(report_dir, status):
    with open(os.path.join(report_dir, "wstest.log"), errors="replace") as file:
        log = file.read()
    announced = re.search(r"^Ok, will run (\d+) test cases", log, re.M)
    fault = None
    results = {}
    if not announced:
        fault = "the suite did not start, or knows no such case"
    elif announced[1] == "0":
        fault = "no case matches"
    elif status in ("124", "137"):
        fault = "the run took too long"
    else:
        try:
            with open(os.path.join(report_dir, "index.json")) as file:
                results = json.load(file).get(AGENT, {})
        except (OSError, ValueError):
            fault = "the suite wrote no results"

    failed = tell(report_dir, results)
    # A run that loses its server ends early, and with status 0.
    if fault is None and len(results) != int(announced[1]):
        fault = "%d of %s cases have a result" % (len(results), announced[1])
    if fault:
        print("autobahn: the run failed: %s; its log ends so:" % fault)
        for line in log.splitlines()[-8:]:
            print("  " + line[:300])
        return 2
    print("autobahn: %d cases, %d failed" % (len(results), failed))
    print("autobahn: report in " + os.path.join(report_dir, "index.html"))
    return 1 if failed else 0


def tell(report_dir, results):
    """A line a section, then one for each case that is not OK; gives how many are not good."""
    sections = {}
    notable = []
    failed = 0
    for case in sorted(results, key=lambda case: [int(part) for part in case.split(".")]):
        result = results[case]
        verdicts = (result["behavior"], result["behaviorClose"])
        good = GOOD.issuperset(verdicts)
        failed += not good
        section = sections.setdefault(case.split(".")[0], [0, collections.Counter()])
        section[0] += result["duration"]
        # The worse of the two stands for the case.
        section[1][max(verdicts, key=lambda verdict: (verdict not in GOOD, verdict != "OK"))] += 1
        if verdicts != ("OK", "OK"):
            notable.append("%s %s: %s" % ("note" if good else "FAIL", case, why(report_dir, result)))
    for name, (milliseconds, counts) in sections.items():
        verdicts = ", ".join("%d %s" % (count, verdict) for verdict, count in counts.most_common())
        print("section %2s  %6.1f s  %s" % (name, milliseconds / 1000, verdicts))
    for line in notable:
        print(line)
    return failed


def why(report_dir, result):
    verdicts = "%s, closing %s" % (result["behavior"], result["behaviorClose"])
    try:
        with open(os.path.join(report_dir, result["reportfile"])) as file:
            detail = json.load(file)
        return "%s (%s | %s | code %s)" % (
            verdicts,
            detail["result"],
            detail["resultClose"],
            detail["remoteCloseCode"],
        )
    except (OSError, ValueError, KeyError):
        return verdicts


if __name__ == "__main__":
    task, *arguments = sys.argv[1:]
    sys.exit({"spec": spec, "clients": clients, "summary": summary}[task](*arguments))
