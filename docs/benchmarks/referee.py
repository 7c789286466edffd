#!/usr/bin/env python3
"""Asks CommonRoad's own referee which solutions it accepts, and says what loses the others.

    python docs/benchmarks/referee.py SCENARIOS SOLUTIONS [--json OUT.json] [--jobs 2] [--timeout 120]
    python docs/benchmarks/referee.py SCENARIOS --baseline constant-velocity

SCENARIOS and SOLUTIONS are XML files or folders of them. Needs Python 3.9 to 3.11 and the packages that referee_requirements.txt pins:

    python -m venv referee && referee/bin/pip install -r docs/benchmarks/referee_requirements.txt

`accepted` is the verdict of `commonroad_dc.feasibility.solution_checker.valid_solution` and of nothing else. The reasons beside it come
from the same package's single checks, all of them, so a trajectory may be refused for several: `goal`, `start`, `collision`, `boundary`,
`infeasible`, `error` (the checker itself raised), `timeout`, `missing` (no solution for the scenario). Each scenario runs in a process of
its own under a time limit. A scenario that nobody can solve as the checker is written is marked `unsolvable`: the vehicle already
touches something at the start, or the goal's heading interval is wider than pi, which commonroad-io cannot evaluate.
"""

import argparse
import concurrent.futures
import importlib.metadata
import json
import logging
import math
import multiprocessing
import pathlib
import re
import sys
import time
import warnings

import numpy as np
from commonroad.common.file_reader import CommonRoadFileReader
from commonroad.common.solution import (
    CommonRoadSolutionReader, CostFunction, PlanningProblemSolution, Solution, VehicleModel, VehicleType)
from commonroad.common.util import AngleInterval
from commonroad.geometry.shape import Rectangle
from commonroad.scenario.state import KSState
from commonroad.scenario.trajectory import Trajectory
from commonroad_dc.collision.collision_detection.pycrcc_collision_dispatch import create_collision_checker, create_collision_object
from commonroad_dc.feasibility import feasibility_checker, solution_checker
from commonroad_dc.feasibility.vehicle_dynamics import VehicleDynamics

PACKAGES = ["commonroad-io", "commonroad-drivability-checker", "commonroad-vehicle-models", "numpy", "scipy", "shapely", "triangle"]


def box(state, vehicle):
    """Collision object of the vehicle in a state."""
    return create_collision_object(Rectangle(vehicle.parameters.l, vehicle.parameters.w, state.position, state.orientation))


def goal_faults(problem, trajectory):
    """Why no state of a trajectory reaches the goal: for the goal state that comes closest, the conditions that fail in the best state."""
    best = None
    for goal in problem.goal.state_list:
        for state in trajectory.state_list:
            failed = {}
            if not goal.time_step.contains(state.time_step):
                failed["time"] = f"step {state.time_step} not in [{goal.time_step.start}, {goal.time_step.end}]"
            if goal.has_value("position") and not goal.position.contains_point(state.position):
                failed["position"] = f"({state.position[0]:.2f}, {state.position[1]:.2f}) outside the region"
            for name, label in [("orientation", "heading"), ("velocity", "speed")]:
                if goal.has_value(name) and not getattr(goal, name).contains(float(getattr(state, name))):
                    interval = getattr(goal, name)
                    failed[label] = f"{getattr(state, name):.3f} not in [{interval.start:.3f}, {interval.end:.3f}]"
            # Time outweighs the rest: what counts is what is wrong while the goal is open.
            cost = (len(failed) + 3 * ("time" in failed), -state.time_step)
            if best is None or cost < best[0]:
                best = (cost, failed)
    return best[1]


def collision_faults(scenario, trajectory, vehicle):
    """The first contact with an obstacle: time step, obstacle, and whether the obstacle came from behind; None without contact."""
    obstacles = [(obstacle, create_collision_object(obstacle)) for obstacle in scenario.static_obstacles + scenario.dynamic_obstacles]
    for state in trajectory.state_list:
        ego = box(state, vehicle)
        for obstacle, shape in obstacles:
            at_step = shape.obstacle_at_time(state.time_step) if hasattr(shape, "obstacle_at_time") else shape
            if at_step is None or not at_step.collide(ego):
                continue
            other = obstacle.state_at_time(state.time_step)
            # Contacts as nuPlan sorts them: the other's centre lies behind our rear edge and it is the faster one.
            behind = False
            if other is not None and hasattr(other, "velocity"):
                ahead = (np.asarray(other.position)[:2] - state.position) @ [math.cos(state.orientation), math.sin(state.orientation)]
                behind = ahead < -0.5 * vehicle.parameters.l and other.velocity > state.velocity
            return {"step": state.time_step, "obstacle": obstacle.obstacle_id, "from_behind": bool(behind)}
    return None


def boundary_fault(checker, trajectory, vehicle):
    """First time step at which the vehicle touches the road boundary; None if it never does."""
    return next((state.time_step for state in trajectory.state_list if checker.collide(box(state, vehicle))), None)


def unsolvable(scenario, problem, boundary, vehicle):
    """Why no trajectory at all can be accepted; None if one may be."""
    start = problem.initial_state
    if boundary is not None and boundary.collide(box(start, vehicle)):
        return "touches the road boundary at the start"
    first = KSState(position=start.position, orientation=start.orientation, velocity=start.velocity, steering_angle=0.0,
                    time_step=start.time_step)
    contact = collision_faults(scenario, Trajectory(start.time_step, [first]), vehicle)
    if contact:
        return f"touches obstacle {contact['obstacle']} at the start"
    wide = [goal for goal in problem.goal.state_list if goal.has_value("orientation")
            and isinstance(goal.orientation, AngleInterval) and goal.orientation.end - goal.orientation.start > math.pi]
    if wide and len(wide) == len(problem.goal.state_list):
        return "the goal's heading interval is wider than pi"
    return None


def constant_velocity(scenario, problem):
    """The vehicle goes straight on as fast as it starts, until the goal is reached or its time is over."""
    start = problem.initial_state
    last = max(goal.time_step.end for goal in problem.goal.state_list)
    direction = np.array([math.cos(start.orientation), math.sin(start.orientation)])
    states = []
    for step in range(start.time_step, int(last) + 1):
        way = start.velocity * scenario.dt * (step - start.time_step)
        states.append(KSState(position=start.position + way * direction, orientation=start.orientation, velocity=start.velocity,
                              steering_angle=0.0, time_step=step))
        if problem.goal.is_reached(states[-1]) and len(states) > 1:
            break
    return Solution(scenario.scenario_id, [PlanningProblemSolution(problem.planning_problem_id, VehicleModel.KS, VehicleType.BMW_320i,
                                                                   CostFunction.SA1, Trajectory(start.time_step, states))])


def diagnose(scenario, problems, solution, result):
    """Fills `reasons` and `details` of a result with every single check."""
    reasons, details = result["reasons"], result["details"]
    vehicle = VehicleDynamics.KS(VehicleType.BMW_320i)
    boundary = solution_checker._construct_boundary_checker(scenario)
    for part in solution.planning_problem_solutions:
        problem = problems.planning_problem_dict.get(part.planning_problem_id)
        if problem is None:
            reasons.append("start")
            details["start"] = f"no planning problem {part.planning_problem_id}"
            continue
        vehicle = VehicleDynamics.from_model(part.vehicle_model, part.vehicle_type)
        trajectory = part.trajectory
        result["steps"] = len(trajectory.state_list) - 1
        result["unsolvable"] = unsolvable(scenario, problem, boundary, vehicle)
        if not problem.goal_reached(trajectory)[0]:
            reasons.append("goal")
            details["goal"] = goal_faults(problem, trajectory)
        contact = collision_faults(scenario, trajectory, vehicle)
        if contact:
            reasons.append("collision")
            details["collision"] = contact
        left = boundary_fault(boundary, trajectory, vehicle)
        if left is not None:
            reasons.append("boundary")
            details["boundary"] = {"step": left}
        feasible, inputs = feasibility_checker.trajectory_feasibility(trajectory, vehicle, scenario.dt)
        if not feasible:
            reasons.append("infeasible")
            details["infeasible"] = {"step": inputs.state_list[-1].time_step}
    try:
        solution_checker.starts_at_correct_state(solution, problems)
    except solution_checker.SolutionCheckerException as error:
        reasons.append("start")
        details["start"] = " ".join(str(error).split())


def judge(scenario_path, solution_path, baseline):
    """Result of one scenario, a dictionary."""
    result = {"scenario": scenario_path.stem, "accepted": False, "reasons": [], "details": {}}
    try:
        scenario, problems = CommonRoadFileReader(str(scenario_path)).open()
        if baseline:
            solution = constant_velocity(scenario, next(iter(problems.planning_problem_dict.values())))
        else:
            solution = CommonRoadSolutionReader.open(str(solution_path))
        try:
            result["accepted"] = bool(solution_checker.valid_solution(scenario, problems, solution)[0])
        except solution_checker.SolutionCheckerException:
            pass
        diagnose(scenario, problems, solution, result)
        if not result["accepted"] and not result["reasons"]:
            result["reasons"].append("error")
            result["details"]["error"] = "refused, but no single check says why"
    except Exception as error:  # the checker asserts and raises freely; one scenario must not end the others
        result["reasons"].append("error")
        result["details"]["error"] = f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"
    return result


def _child(pipe, scenario_path, solution_path, baseline):
    warnings.simplefilter("ignore")
    logging.disable(logging.WARNING)
    pipe.send(judge(scenario_path, solution_path, baseline))


def judge_within(scenario_path, solution_path, baseline, timeout):
    """`judge` in a process of its own that is ended when its time is over."""
    lost = {"scenario": scenario_path.stem, "accepted": False, "details": {}}
    if solution_path is None and not baseline:
        return {**lost, "reasons": ["missing"]}
    context = multiprocessing.get_context("fork")
    here, there = context.Pipe(duplex=False)
    child = context.Process(target=_child, args=(there, scenario_path, solution_path, baseline))
    child.start()
    there.close()
    try:
        if here.poll(timeout):
            return here.recv()
        return {**lost, "reasons": ["timeout"], "details": {"timeout": f"no verdict in {timeout:g} s"}}
    except EOFError:
        return {**lost, "reasons": ["error"], "details": {"error": "the checker's process died"}}
    finally:
        child.kill()
        child.join()


def xml_files(path):
    return sorted(path.glob("*.xml")) if path.is_dir() else [path]


def attribute(path, name):
    """An attribute of a file's root element, read from its start."""
    with open(path, encoding="utf-8", errors="replace") as file:
        found = re.search(rf'{name}\s*=\s*["\']([^"\']*)["\']', file.read(4096))
    return found.group(1) if found else None


def pair(scenarios, solutions):
    """For each scenario file the solution file with the same benchmark id, or None."""
    by_id = {}
    for path in solutions:
        benchmark = attribute(path, "benchmark_id")  # vehicle:cost:scenario:version
        if benchmark and benchmark.count(":") == 3:
            by_id[benchmark.split(":")[2]] = path
    return [(path, by_id.get(attribute(path, "benchmarkID") or path.stem)) for path in scenarios]


def summary(results):
    """Totals of a list of results."""
    counts = {}
    for result in results:
        for reason in result["reasons"]:
            counts[reason] = counts.get(reason, 0) + 1
    parts = {}
    for result in results:
        for part in result["details"].get("goal", {}):
            parts[part] = parts.get(part, 0) + 1
    return {
        "scenarios": len(results),
        "accepted": sum(result["accepted"] for result in results),
        "unsolvable": sum(bool(result.get("unsolvable")) for result in results),
        "refused_for": dict(sorted(counts.items())),
        "goal_missed_in": dict(sorted(parts.items())),
        "hit_from_behind": sum(bool(result["details"].get("collision", {}).get("from_behind")) for result in results),
        "packages": {name: importlib.metadata.version(name) for name in PACKAGES},
    }


def line(result):
    """One line of text for a result."""
    if result["accepted"]:
        return f"{result['scenario']:28} accepted ({result.get('steps')} steps)"
    parts = []
    for reason in result["reasons"]:
        detail = result["details"].get(reason)
        if isinstance(detail, dict):
            detail = ", ".join(f"{key} {value}" for key, value in detail.items())
        parts.append(f"{reason}: {detail}" if detail else reason)
    end = f" [unsolvable: {result['unsolvable']}]" if result.get("unsolvable") else ""
    return f"{result['scenario']:28} {'; '.join(parts)}{end}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("scenarios", type=pathlib.Path)
    parser.add_argument("solutions", type=pathlib.Path, nargs="?")
    parser.add_argument("--baseline", choices=["constant-velocity"], help="judge this instead of solution files")
    parser.add_argument("--json", type=pathlib.Path, help="write all results and totals here")
    parser.add_argument("--jobs", type=int, default=2, help="scenarios judged at the same time")
    parser.add_argument("--timeout", type=float, default=120, help="seconds for one scenario")
    args = parser.parse_args()
    if (args.solutions is None) == (args.baseline is None):
        parser.error("give either SOLUTIONS or --baseline")
    scenarios = xml_files(args.scenarios)
    if not scenarios:
        parser.error(f"no XML files in {args.scenarios}")
    pairs = pair(scenarios, xml_files(args.solutions) if args.solutions else [])
    begin, results = time.monotonic(), [None] * len(pairs)
    with concurrent.futures.ThreadPoolExecutor(args.jobs) as pool:
        jobs = {pool.submit(judge_within, scenario, solution, args.baseline, args.timeout): i for i, (scenario, solution) in enumerate(pairs)}
        for done, job in enumerate(concurrent.futures.as_completed(jobs), 1):
            results[jobs[job]] = job.result()
            print(f"[{done}/{len(pairs)} {time.monotonic() - begin:.0f} s] {line(job.result())}", file=sys.stderr, flush=True)
    totals = summary(results)
    for result in results:
        print(line(result))
    print(f"\naccepted {totals['accepted']} of {totals['scenarios']} ({totals['accepted'] / len(results):.1%}); refused for "
          + (", ".join(f"{reason} {count}" for reason, count in totals["refused_for"].items()) or "nothing"))
    print(json.dumps(totals))
    if args.json:
        args.json.write_text(json.dumps({"totals": totals, "results": results}, indent=1) + "\n")


if __name__ == "__main__":
    main()
