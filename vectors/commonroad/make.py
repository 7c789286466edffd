#!/usr/bin/env python3
"""Makes the small CommonRoad files of this folder, and beside each what commonroad-io reads from it (see expect.py).

    python vectors/commonroad/make.py

`ours-2018b.xml`: two lanes and an opposite one, obstacles of every shape of that format. `ours-2020a.xml`: a junction with signs, lights,
stop lines, uncertain states, occupancy sets and two planning problems. All numbers are made up.
"""

import logging
import math
import pathlib

import numpy as np

import expect

HERE = pathlib.Path(__file__).resolve().parent


def element(name, *content, **attributes):
    """An XML element; attribute names get their capitals as they are."""
    head = "".join(f' {key}="{value}"' for key, value in attributes.items())
    inside = "".join(str(part) for part in content)
    return f"<{name}{head}>{inside}</{name}>\n" if inside else f"<{name}{head}/>\n"


def point(x, y, name="point", z=None):
    height = element("z", z) if z is not None else ""
    return element(name, element("x", repr(float(x))), element("y", repr(float(y))), height)


def exact(name, value):
    return element(name, element("exact", value))


def interval(name, start, end):
    return element(name, element("intervalStart", start), element("intervalEnd", end))


def rectangle(length, width, center=None, orientation=None):
    return element("rectangle", element("length", length), element("width", width),
                   element("orientation", orientation) if orientation is not None else "",
                   point(*center, name="center") if center else "")


def polygon(*corners):
    return element("polygon", *[point(*corner) for corner in corners])


def circle(radius, center=None):
    return element("circle", element("radius", radius), point(*center, name="center") if center else "")


def state(x, y, heading, step, name="state", **more):
    return element(name, element("position", point(x, y)), exact("orientation", heading), exact("time", step),
                   *[exact(key, value) for key, value in more.items()])


def bound(side, points, marking=None):
    return element(f"{side}Bound", *[point(*p) for p in points], element("lineMarking", marking) if marking else "")


def lane(lanelet_id, center, width, *content, markings=(None, None), repeat=()):
    """A lanelet of constant width about a line; `repeat` gives points of the left bound that stand twice there."""
    center = np.array(center, dtype=float)
    direction = np.gradient(center, axis=0)
    normal = np.stack([-direction[:, 1], direction[:, 0]], axis=1) / np.linalg.norm(direction, axis=1, keepdims=True)
    left, right = (np.round(center + side * 0.5 * width * normal, 4).tolist() for side in (1, -1))
    for i in repeat:
        left[i] = left[i - 1]
    return element("lanelet", bound("left", left, markings[0]), bound("right", right, markings[1]), *content, id=lanelet_id)


def refs(name, *ids):
    return "".join(element(name, ref=i) for i in ids)


def beside(side, lanelet_id, direction):
    return element(f"adjacent{side}", ref=lanelet_id, drivingDir=direction)


def old_obstacle(obstacle_id, role, kind, shape, *content):
    return element("obstacle", element("role", role), element("type", kind), element("shape", shape), *content, id=obstacle_id)


def file_2018b():
    s = np.linspace(0, 120, 13)
    road = np.stack([s, 0.002 * s * s], axis=1)
    direction = np.gradient(road, axis=0)
    normal = np.stack([-direction[:, 1], direction[:, 0]], axis=1) / np.linalg.norm(direction, axis=1, keepdims=True)
    right, left, opposite = road, road + 3.5 * normal, (road + 7.0 * normal)[::-1]
    beyond = np.stack([120 + np.linspace(0, 40, 5), right[-1, 1] + 0.48 * np.linspace(0, 40, 5)], axis=1)
    body = [
        lane(1, right, 3.5, refs("successor", 4), beside("Left", 2, "same"), element("speedLimit", 13.9), repeat=[6]),
        lane(2, left, 3.5, beside("Left", 3, "opposite"), beside("Right", 1, "same"), element("speedLimit", 16.7)),
        lane(3, opposite, 3.5, beside("Left", 2, "opposite")),
        lane(4, beyond, 3.5, refs("predecessor", 1), element("speedLimit", 8.3)),
        old_obstacle(10, "static", "unknown", rectangle(4.0, 1.8, (0.5, -0.2), 1.9),
                     state(60, 15.5, 0.3, 0, "initialState", velocity=0.0)),
        old_obstacle(11, "static", "unknown", circle(0.6), state(90.0, 11.5, 0.0, 0, "initialState")),
        old_obstacle(12, "static", "unknown", polygon((0, 0), (2, 0.5), (1.6, 1.9), (0.2, 1.2)),
                     state(100, 14.0, 0.7, 0, "initialState", velocity=0.0)),
    ]
    for i, (kind, length, speed, y) in enumerate([("car", 4.6, 9.0, 3.5), ("truck", 9.5, 7.5, 3.5), ("bicycle", 1.8, 4.0, -1.2)]):
        # A turn of 2 pi within the recording, as some recordings have it.
        at = [(5 + 20 * i + 0.1 * speed * k, y + 0.03 * k, 0.05 + (2 * math.pi if k > 11 else 0.0), k + 3 * i) for k in range(24)]
        body.append(old_obstacle(20 + i, "dynamic", kind, rectangle(length, 1.9),
                                 state(*at[0], name="initialState", velocity=speed, acceleration=0.1),
                                 element("trajectory", *[state(*one, velocity=speed, acceleration=0.1) for one in at[1:]])))
    goals = [
        element("goalState", element("position", rectangle(12.0, 4.0, (52.0, 5.4), 0.21)), interval("orientation", 0.0, 0.5),
                interval("time", 35, 45), interval("velocity", 8.0, 14.0)),
        element("goalState", element("position", refs("lanelet", 4, 2)), interval("time", 60, 110)),
    ]
    problem = element("planningProblem", state(3.0, 0.1, 0.02, 0, "initialState", velocity=11.0, yawRate=0.04, slipAngle=0.0), *goals, id=40)
    return element("commonRoad", *body, problem, commonRoadVersion="2018b", benchmarkID="ZAM_Ours-1_1_T-1", timeStepSize="0.1",
                   author="the authors of ergon", affiliation="", source="vectors/commonroad/make.py", tags="urban", date="2026-11-24")


def sign(sign_id, code, value=None, at=None):
    return element("trafficSign", element("trafficSignElement", element("trafficSignID", code),
                                          element("additionalValue", value) if value is not None else ""),
                   element("position", point(*at)) if at else "", element("virtual", "false"), id=sign_id)


def light(light_id, offset, *cycle, at=None):
    parts = [element("cycleElement", element("duration", duration), element("color", color)) for duration, color in cycle]
    return element("trafficLight", element("cycle", *parts, element("timeOffset", offset)), element("position", point(*at)) if at else "",
                   element("direction", "all"), element("active", "true"), id=light_id)


def file_2020a():
    def straight(x0, y0, x1, y1):
        return [(x0 + (x1 - x0) * t, y0 + (y1 - y0) * t) for t in np.linspace(0, 1, 5)]

    arc = [(10 * math.sin(a), -6 + 4 + 10 * (1 - math.cos(a))) for a in np.linspace(0, math.pi / 2, 9)]
    kind = lambda *names: "".join(element("laneletType", name) for name in names)
    stop = element("stopLine", point(-8, 0.0), point(-8, -4.0), element("lineMarking", "solid"), refs("trafficSignRef", 101))
    body = [
        lane(1, straight(-60, -2, -6, -2), 4.0, refs("successor", 2, 3), beside("Left", 6, "opposite"), stop, kind("urban"),
             refs("trafficSignRef", 100, 101), refs("trafficLightRef", 110), markings=("dashed", "curb")),
        lane(2, straight(-6, -2, 20, -2), 4.0, refs("predecessor", 1), kind("urban", "intersection"), markings=("no_marking", "solid")),
        lane(3, [(x - 6, y) for x, y in arc], 4.0, refs("predecessor", 1), refs("successor", 4), kind("intersection")),
        lane(4, straight(4, 8, 4, 50), 4.0, refs("predecessor", 3), element("stopLine", element("lineMarking", "solid")), kind("country"),
             refs("trafficSignRef", 102, 103), refs("trafficLightRef", 111), markings=("broad_dashed", "lowered_curb")),
        lane(5, straight(-30, -12, -30, 6), 3.0, kind("crosswalk"), element("userBidirectional", "pedestrian")),
        lane(6, straight(-6, 2, -60, 2), 4.0, beside("Left", 1, "opposite"), kind("highway", "exitRamp"), refs("trafficSignRef", 100)),
        sign(100, "274", 8.33, (-55.0, -4.5)), sign(101, "206"), sign(102, "205", at=(6.5, 45.0)), sign(103, "274", 13.9),
        light(110, 13, (30, "green"), (5, "yellow"), (40, "red"), (4, "redYellow"), at=(-5.0, -4.8)),
        light(111, 0, (25, "red"), (50, "green")),
        element("intersection", element("incoming", refs("incomingLanelet", 1), refs("successorsStraight", 2), refs("successorsLeft", 3), id=121), id=120),
        element("staticObstacle", element("type", "parkedVehicle"), element("shape", rectangle(4.4, 1.8)),
                state(-45.0, -3.4, 3.1, 0, "initialState"), id=200),
    ]
    moving = [element("state", element("position", rectangle(0.6, 0.4, (-50 + 0.9 * k, 2.0), 0.0) if k == 3 else point(-50 + 0.9 * k, 2.0)),
                      interval("orientation", 3.0, 3.2) if k == 5 else exact("orientation", 3.1), exact("time", k),
                      interval("velocity", 8.5, 9.5) if k % 2 else exact("velocity", 9.0)) for k in range(1, 20)]
    body.append(element("dynamicObstacle", element("type", "bus"), element("shape", rectangle(11.0, 2.5)),
                        state(-50.0, 2.0, 3.1, 0, "initialState", velocity=9.0, acceleration=0.0),
                        element("initialSignalState", exact("time", 0), element("indicatorLeft", "true")),
                        element("trajectory", *moving), id=201))
    occupied = [element("occupancy", element("shape", polygon((-31 + k, 0), (-29.5 + k, 0.2), (-29.4 + k, 1.1), (-30.9 + k, 1.0)) if k % 3
                                             else circle(0.5, (-30 + k, 0.5))), exact("time", 4 + k)) for k in range(1, 9)]
    body.append(element("dynamicObstacle", element("type", "pedestrian"), element("shape", circle(0.4)),
                        state(-30.0, 0.5, 0.0, 4, "initialState", velocity=1.0, acceleration=0.0),
                        element("occupancySet", *occupied), id=202))
    body += [
        element("environmentObstacle", element("type", "building"), element("shape", polygon((20, 10), (30, 10), (30, 20), (20, 20))), id=203),
        element("phantomObstacle", element("occupancySet", element("occupancy", element("shape", rectangle(4, 2, (9, 9), 0.1)), exact("time", 1))), id=204),
    ]
    start = state(-50.0, -2.0, 0.0, 0, "initialState", velocity=7.0, acceleration=0.2, yawRate=0.0, slipAngle=0.0)
    goals = [
        element("goalState", element("position", circle(3.0, (15.0, -2.0)), polygon((2, 30), (6, 30), (6, 42), (2, 42))),
                interval("orientation", -0.5, 2.0), interval("time", 60, 120)),
        element("goalState", interval("time", 130, 140), interval("velocity", 0.0, 0.5)),
    ]
    second = element("goalState", element("position", refs("lanelet", 4)), interval("time", 50, 90))
    body += [element("planningProblem", start, *goals, id=300), element("planningProblem", start, second, id=301)]
    where = element("location", element("geoNameId", -999), element("gpsLatitude", 999), element("gpsLongitude", 999))
    return element("commonRoad", where, element("scenarioTags", element("urban")), *body, commonRoadVersion="2020a",
                   benchmarkID="DEU_Ours-2_1_T-1", timeStepSize="0.1", author="the authors of ergon", affiliation="",
                   source="vectors/commonroad/make.py &amp; nobody else", date="2026-11-24")


def main():
    logging.disable(logging.WARNING)
    for name, text in [("ours-2018b", file_2018b()), ("ours-2020a", file_2020a())]:
        path = HERE / f"{name}.xml"
        path.write_text('<?xml version="1.0" encoding="utf-8"?>\n' + text)
        with open(HERE / f"{name}.expected", "w") as file:
            for fact in expect.lines(path, every=1):
                print(*(repr(float(part)) if isinstance(part, (float, np.floating)) else part for part in fact), file=file)


if __name__ == "__main__":
    main()
