#!/usr/bin/env python3
"""Prints what commonroad-io reads from scenario files, one fact a line, for the reader's parity test.

    python vectors/commonroad/expect.py FILE.xml > FILE.expected

Needs the packages of docs/benchmarks/referee_requirements.txt. Lines (numbers in SI units):

    scenario ID STEP_S                                       counts LANELETS STATIC DYNAMIC SIGNS LIGHTS PROBLEMS
    bound LANELET left|right LENGTH X Y X Y                  length, first and last point
    next LANELET SUCCESSORS|-                                before LANELET PREDECESSORS|-
    beside LANELET left|right ID|- same|opposite|-           limit LANELET SPEED|-
    stop LANELET X Y X Y                                     left and right end
    box ID STEP X_MIN Y_MIN X_MAX Y_MAX                      of the obstacle's rectangle; static ones have the step -
    inside ID STEP X Y                                       a corner that the obstacle's box must cover (other shapes)
    motion ID STEP HEADING SPEED                             absent ID STEP
    light ID STEP COLOR                                      sign ID X Y
    initial X Y HEADING SPEED                                time GOAL FIRST LAST
    speed GOAL LOW HIGH                                      heading GOAL LOW HIGH
    goal GOAL X Y 0|1                                        whether a point lies in the region
"""

import itertools
import logging
import sys

import numpy as np
from commonroad.common.file_reader import CommonRoadFileReader
from commonroad.common.util import Interval
from commonroad.geometry.shape import Rectangle, ShapeGroup
from commonroad.prediction.prediction import TrajectoryPrediction
from commonroad.scenario.traffic_sign_interpreter import TrafficSignInterpreter
from commonroad.scenario.traffic_sign import SupportedTrafficSignCountry


def number(value):
    """The middle of an interval, or the number itself."""
    return 0.5 * (value.start + value.end) if isinstance(value, Interval) else float(value)


def place(position):
    return position if isinstance(position, np.ndarray) else position.center


def join(ids):
    return ",".join(str(i) for i in sorted(ids)) or "-"


def lanelet_lines(lanelet, limit):
    for side in ["left", "right"]:
        points = getattr(lanelet, f"{side}_vertices")
        length = np.linalg.norm(np.diff(points, axis=0), axis=1).sum()
        yield "bound", lanelet.lanelet_id, side, length, *points[0], *points[-1]
    yield "next", lanelet.lanelet_id, join(lanelet.successor)
    yield "before", lanelet.lanelet_id, join(lanelet.predecessor)
    for side in ["left", "right"]:
        other, same = getattr(lanelet, f"adj_{side}"), getattr(lanelet, f"adj_{side}_same_direction")
        yield "beside", lanelet.lanelet_id, side, other if other is not None else "-", {True: "same", False: "opposite", None: "-"}[same]
    yield "limit", lanelet.lanelet_id, limit if limit is not None else "-"
    if lanelet.stop_line is not None:
        yield "stop", lanelet.lanelet_id, *lanelet.stop_line.start, *lanelet.stop_line.end


def shape_lines(obstacle_id, step, shape):
    if isinstance(shape, Rectangle):
        yield "box", obstacle_id, step, *shape.vertices.min(axis=0), *shape.vertices.max(axis=0)
        return
    for part in shape.shapes if isinstance(shape, ShapeGroup) else [shape]:
        corners = part.vertices if hasattr(part, "vertices") else [part.center + part.radius * np.array(d) for d in [(1, 0), (0, 1), (-1, 0), (0, -1)]]
        for corner in corners:
            yield "inside", obstacle_id, step, *corner


def obstacle_lines(obstacle, every):
    if not hasattr(obstacle, "prediction"):
        shape = obstacle.obstacle_shape
        parts = shape.shapes if isinstance(shape, ShapeGroup) else [shape]
        for part in parts if len(parts) == 1 else []:
            yield from shape_lines(obstacle.obstacle_id, "-", part.rotate_translate_local(obstacle.initial_state.position, obstacle.initial_state.orientation))
        return
    first = number(obstacle.initial_state.time_step)
    last = first if obstacle.prediction is None else obstacle.prediction.final_time_step
    last = last.end if isinstance(last, Interval) else last
    steps = sorted({first, last, *range(int(first), int(last), every)})
    for step in map(int, steps):
        state = obstacle.initial_state if step == first else None
        if state is None and isinstance(obstacle.prediction, TrajectoryPrediction):
            state = obstacle.state_at_time(step)
        if state is None:
            occupied = [o.shape for o in obstacle.prediction.occupancy_set
                        if (step in o.time_step if isinstance(o.time_step, Interval) else step == o.time_step)]
            for shape in occupied[:1]:
                yield from shape_lines(obstacle.obstacle_id, step, shape)
            continue
        if getattr(state, "velocity", None) is not None:
            yield "motion", obstacle.obstacle_id, step, number(state.orientation), number(state.velocity)
        exact = obstacle.obstacle_shape.rotate_translate_local(place(state.position), number(state.orientation))
        yield from shape_lines(obstacle.obstacle_id, step, exact)
    yield "absent", obstacle.obstacle_id, int(last) + 1
    if first > 0:
        yield "absent", obstacle.obstacle_id, int(first) - 1


def goal_lines(problem):
    initial = problem.initial_state
    yield "initial", *initial.position, initial.orientation, initial.velocity
    for i, goal in enumerate(problem.goal.state_list):
        yield "time", i, goal.time_step.start, goal.time_step.end
        if goal.has_value("velocity"):
            yield "speed", i, goal.velocity.start, goal.velocity.end
        if goal.has_value("orientation"):
            yield "heading", i, goal.orientation.start, goal.orientation.end
        if goal.has_value("position"):
            region = goal.position
            bounds = np.array([part.shapely_object.bounds for part in (region.shapes if isinstance(region, ShapeGroup) else [region])])
            low, high = bounds[:, :2].min(axis=0), bounds[:, 2:].max(axis=0)
            # Odd fractions, so that no point lies on an edge.
            for u, v in itertools.product([-0.0513, 0.1371, 0.3917, 0.6123, 0.8659, 1.0417], repeat=2):
                point = low + (high - low) * [u, v]
                yield "goal", i, *point, int(region.contains_point(point))


def lines(path, every=7):
    """All facts of a file, as tuples."""
    scenario, problems = CommonRoadFileReader(str(path)).open()
    network = scenario.lanelet_network
    yield "scenario", scenario.scenario_id, scenario.dt
    is_2018b = b'commonRoadVersion="2018b"' in open(path, "rb").read(4096)
    # From speed limits of 2018b lanelets commonroad-io makes signs, which are not in the file.
    signs = [] if is_2018b else network.traffic_signs
    yield ("counts", len(network.lanelets), len(scenario.static_obstacles), len(scenario.dynamic_obstacles), len(signs),
           len(network.traffic_lights), len(problems.planning_problem_dict))
    country = scenario.scenario_id.country_id
    known = country in [c.value for c in SupportedTrafficSignCountry]
    interpreter = TrafficSignInterpreter(SupportedTrafficSignCountry(country) if known else SupportedTrafficSignCountry.ZAMUNDA, network)
    for lanelet in network.lanelets:
        yield from lanelet_lines(lanelet, interpreter.speed_limit(frozenset([lanelet.lanelet_id])))
    for sign in signs:
        yield "sign", sign.traffic_sign_id, *sign.position
    for light in network.traffic_lights:
        for step in range(0, 120, 7):
            yield "light", light.traffic_light_id, step, light.get_state_at_time_step(step).value
    for obstacle in scenario.static_obstacles + scenario.dynamic_obstacles:
        yield from obstacle_lines(obstacle, every)
    yield from goal_lines(next(iter(problems.planning_problem_dict.values())))


def main():
    logging.disable(logging.WARNING)
    for path in sys.argv[1:]:
        for fact in lines(path):
            print(*(repr(float(part)) if isinstance(part, (float, np.floating)) else part for part in fact))


if __name__ == "__main__":
    main()
