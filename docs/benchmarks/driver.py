"""Measures the driver: goals, collisions, words and instructions on generated roads, and what a referee accepts of its
solutions of recorded scenarios; for the model with the gate on and off, for the expert, and for constant velocity.

    python docs/benchmarks/driver.py --ergon target/release/ergon --out results [--model DIR] [--scenarios DIR] [--episodes N]

Prints Markdown and writes results/driver.json with everything it saw. Needs only Python; for the referee give --referee with
the Python of an environment that has docs/benchmarks/referee_requirements.txt installed. Seeds from FIRST_SEED on are never
trained on: training draws seeds above 2**63.
"""

import argparse
import datetime
import json
import pathlib
import platform
import subprocess
import sys

FIRST_SEED = 500_000
POLICIES = [("model", "on"), ("model", "off"), ("expert", "on"), ("expert", "off"), ("constant-velocity", "off")]
INSTRUCTIONS = [
    ("lane left", ["take the left lane", "向左变道"]),
    ("lane right", ["take the right lane", "向右变道"]),
    ("turn left", ["turn left at the junction", "在前面路口左转"]),
    ("turn right", ["turn right at the junction", "在前面路口右转"]),
    ("stop", ["stop the car", "请停车"]),
    ("pull over", ["pull over", "靠边停车"]),
    ("speed", ["slow down to 60", "把速度降到60"]),
]
HERE = pathlib.Path(__file__).resolve().parent


def drive(arguments, policy, gate, extra):
    command = [arguments.ergon, "drive", "--json", "--policy", policy, "--gate", gate, *extra]
    command += ["--deadline-ms", str(arguments.deadline_ms)]
    if arguments.threads:
        command += ["--threads", str(arguments.threads)]
    if arguments.model and policy == "model":
        command += ["--model", arguments.model]
    print("running", " ".join(str(part) for part in command), file=sys.stderr, flush=True)
    run = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    if run.returncode not in (0, 1) or not run.stdout.strip():
        sys.exit(f"{' '.join(map(str, command))} failed:\n{run.stderr}")
    summary = json.loads(run.stdout)
    for row in summary["rows"]:
        row["trajectory"] = row["trajectory"][-1:]
    return summary


def percent(part, whole):
    return f"{100 * part / whole:.1f} %" if whole else "-"


def generated(arguments, results):
    lines = ["| driver | gate | episodes | goal reached | at-fault collisions | other collisions | off the road | words agree |",
             "|---|---|---|---|---|---|---|---|"]
    for policy, gate in POLICIES:
        extra = ["--episodes", str(arguments.episodes), "--seed", str(FIRST_SEED)]
        s = drive(arguments, policy, gate, extra)
        results[f"generated {policy} gate {gate}"] = s
        lines.append(f"| {policy} | {gate} | {s['episodes']} | {percent(s['goal_reached'], s['episodes'])} | "
                     f"{percent(s['collisions_at_fault'], s['episodes'])} | "
                     f"{percent(s['collisions'] - s['collisions_at_fault'], s['episodes'])} | "
                     f"{percent(s['off_road'], s['episodes'])} | {percent(s['reasoning_right'], s['reasoning_claims'])} |")
    return lines


def instructions(arguments, results):
    lines = ["| instruction | English | Chinese |", "|---|---|---|"]
    obeyed = judged = 0
    for name, texts in INSTRUCTIONS:
        cells = []
        for text in texts:
            extra = ["--episodes", str(arguments.each), "--seed", str(FIRST_SEED + 10_000), "--instruction", text]
            s = drive(arguments, "model", "on", extra)
            results[f"instruction {text}"] = s
            obeyed += s["instructions_obeyed"]
            judged += s["instructions_judged"]
            cells.append(f"{s['instructions_obeyed']} of {s['instructions_judged']}")
        lines.append(f"| {name} | {cells[0]} | {cells[1]} |")
    lines.append(f"\nTogether {percent(obeyed, judged)} of {judged}.")
    return lines


def scenarios(arguments, results):
    lines = ["| driver | gate | scenarios | accepted | goal missed | collision | hit from behind | road edge | other |",
             "|---|---|---|---|---|---|---|---|---|"]
    for policy, gate in POLICIES:
        folder = arguments.out / f"solutions-{policy}-{gate}"
        s = drive(arguments, policy, gate, ["--scenario", arguments.scenarios, "--solutions", str(folder)])
        verdict_file = arguments.out / f"referee-{policy}-{gate}.json"
        referee = [arguments.referee, str(HERE / "referee.py"), arguments.scenarios, str(folder), "--json", str(verdict_file)]
        subprocess.run(referee, stdout=subprocess.DEVNULL, check=False)
        verdicts = json.loads(verdict_file.read_text())
        results[f"scenarios {policy} gate {gate}"] = {"drive": s, "referee": verdicts}
        lines.append(scenario_line(policy, gate, s, verdicts))
    return lines


def scenario_line(policy, gate, s, verdicts):
    totals = verdicts["totals"]
    lost = dict(totals["refused_for"])
    named = [lost.pop(reason, 0) for reason in ("goal", "collision", "boundary", "infeasible")]
    return (f"| {policy} | {gate} | {totals['scenarios']} | {totals['accepted']} "
            f"({percent(totals['accepted'], totals['scenarios'])}) | {named[0]} | {named[1]} | {s['hit_from_behind']} | {named[2]} | "
            f"{named[3] + sum(lost.values())} |")


def speed(results):
    key = "generated model gate on"
    parts = results[key]["latency_parts_ms"]
    rows = [*parts.items(), ("whole step", results[key]["latency_ms"])]
    lines = ["| part | p50 ms | p99 ms | max ms |", "|---|---|---|---|"]
    lines += [f"| {name} | {ms['p50']:.2f} | {ms['p99']:.2f} | {ms['max']:.2f} |" for name, ms in rows]
    lines.append(f"\n{results[key]['deadline_misses']} deadline misses.")
    return lines


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--ergon", default="target/release/ergon")
    parser.add_argument("--out", type=pathlib.Path, required=True)
    parser.add_argument("--model")
    parser.add_argument("--scenarios")
    parser.add_argument("--referee", help="Python with the referee's packages")
    parser.add_argument("--episodes", type=int, default=100, help="generated episodes for each driver")
    parser.add_argument("--each", type=int, default=10, help="episodes for each instruction and language")
    parser.add_argument("--deadline-ms", type=float, default=100.0, help="0 on a machine that is busy: what is driven then "
                        "does not depend on the clock")
    parser.add_argument("--threads", type=int, help="threads of the model; all cores by default")
    parser.add_argument("--only", nargs="*", help="titles of the sections to make, such as 'Recorded scenarios'")
    parser.add_argument("--policies", nargs="*", help="policies and gates to run, such as model-on expert-off")
    arguments = parser.parse_args()
    if arguments.policies:
        POLICIES[:] = [pair for pair in POLICIES if "-".join(pair) in arguments.policies]
    arguments.out.mkdir(parents=True, exist_ok=True)
    results = {}
    print(f"Measured {datetime.date.today()} on {platform.processor() or platform.machine()} by "
          f"`python docs/benchmarks/driver.py {' '.join(sys.argv[1:])}`.\n")
    sections = [("Generated roads", lambda: generated(arguments, results)),
                ("Instructions", lambda: instructions(arguments, results)),
                ("Time of a control step", lambda: speed(results))]
    if arguments.scenarios and arguments.referee:
        sections.append(("Recorded scenarios", lambda: scenarios(arguments, results)))
    for title, section in sections:
        if arguments.only and title not in arguments.only:
            continue
        print(f"### {title}\n\n" + "\n".join(section()) + "\n", flush=True)
        (arguments.out / "driver.json").write_text(json.dumps(results, indent=1, ensure_ascii=False))


if __name__ == "__main__":
    main()
