"""Golden steps of the kinematic single-track model: the published derivative, integrated to 1e-12.

The versions of commonroad-vehicle-models and scipy are written into the file:
    python make_ks.py > ks_steps.csv
Columns: x, y, heading, speed, steering angle of the box centre before; acceleration and steering rate held for
dt seconds; the same five afterwards.
"""
import importlib.metadata as meta
import math
import random

import scipy
from scipy.integrate import solve_ivp
from vehiclemodels.parameters_vehicle2 import parameters_vehicle2
from vehiclemodels.vehicle_dynamics_ks import vehicle_dynamics_ks

p = parameters_vehicle2()
rng = random.Random(7)
print(f"# commonroad-vehicle-models {meta.version('commonroad-vehicle-models')}, scipy {scipy.__version__}")
for i in range(400):
    x, y, heading = rng.uniform(-50, 50), rng.uniform(-50, 50), rng.uniform(-math.pi, math.pi)
    v = rng.uniform(0.5, 45.0)
    delta = rng.uniform(-1.0, 1.0) * min(0.9, math.atan(4.0 * (p.a + p.b) / (v * v)))
    # The friction circle belongs to the checker, not to the model: stay inside it.
    lateral = v * v * math.tan(delta) / (p.a + p.b)
    left = math.sqrt(p.longitudinal.a_max ** 2 - lateral ** 2)
    a = rng.uniform(-1.0, 1.0) * left * 0.95
    rate = rng.uniform(-0.4, 0.4)
    dt = 0.01
    if v + a * dt < 0.0:
        a = 0.0
    rear = [x - p.b * math.cos(heading), y - p.b * math.sin(heading), delta, v, heading]
    out = solve_ivp(lambda t, s: vehicle_dynamics_ks(s, [rate, a], p), (0, dt), rear, method="DOP853",
                    rtol=1e-12, atol=1e-13).y[:, -1]
    after = [out[0] + p.b * math.cos(out[4]), out[1] + p.b * math.sin(out[4]), out[4], out[3], out[2]]
    print(",".join(repr(float(value)) for value in [x, y, heading, v, delta, a, rate, dt, *after]))
