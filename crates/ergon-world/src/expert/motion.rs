//! A motion along a lane: sideways by a smooth curve to a place in the lane, forwards by IDM behind whoever is in the way.

use ergon_types::{ActorKind, ActorState, Trajectory, TrajectoryPoint, VehicleState};

use crate::geometry::{Point, Polyline, Projection, wrap_angle};
use crate::vehicle;

/// Time between points.
const STEP_S: f64 = 0.1;
/// Points of a motion after the first.
const STEPS: usize = 50;
/// IDM (Treiber, Hennecke, Helbing 2000) as a calm driver has it.
const ACCELERATION_MPS2: f64 = 1.8;
const BRAKING_MPS2: f64 = 2.2;
pub(super) const HEADWAY_S: f64 = 1.3;
const STANDSTILL_M: f64 = 2.5;
/// Hardest braking.
const BRAKING_MAX_MPS2: f64 = 7.0;
/// Lateral acceleration in curves.
const LATERAL_MPS2: f64 = 2.0;
/// Way on which the wheels are turned from straight to a bend's angle.
const TURNING_IN_M: f64 = 2.2;
/// Duration of a whole change of lane, and of the last bit of one.
const CHANGE_S: f64 = 4.0;
const RETURN_S: f64 = 1.8;
/// Least way that a sideways move of a metre takes.
const WAY_PER_M: f64 = 4.5;
/// Gap that is kept to those beside.
const BESIDE_M: f64 = 0.35;

/// What the motion is to do.
#[derive(Clone, Copy, Debug)]
pub(super) struct Request {
    pub(super) desired_mps: f64,
    /// What is allowed.
    pub(super) limit_mps: f64,
    /// Place in the lane, metres left of its centre.
    pub(super) offset_m: f64,
    /// Station that the front must not pass.
    pub(super) stop_m: Option<f64>,
    /// Time behind others.
    pub(super) headway_s: f64,
}

/// One other road user, seen from a lane, at equal steps of time; `None` while it is away from the lane.
pub(super) struct Obstacle {
    kind: ActorKind,
    step_s: f64,
    spots: Vec<Option<Spot>>,
}

#[derive(Clone, Copy, Debug)]
struct Spot {
    s_m: f64,
    d_m: f64,
    /// Half of its extents along and across the lane.
    along_m: f64,
    across_m: f64,
    speed_mps: f64,
}

impl Obstacle {
    /// `None` for someone who never comes within 12 m of the lane.
    pub(super) fn new(line: &Polyline, states: &[Option<ActorState>], step_s: f64) -> Option<Obstacle> {
        let spot = |state: &ActorState| {
            let foot = line.project(Point::new(state.x_m, state.y_m));
            let (sin, cos) = (state.heading_rad - foot.heading_rad).sin_cos();
            let along_m = 0.5 * (state.length_m * cos.abs() + state.width_m * sin.abs());
            let across_m = 0.5 * (state.length_m * sin.abs() + state.width_m * cos.abs());
            let beyond = foot.s_m < -along_m || foot.s_m > line.length() + along_m;
            (foot.d_m.abs() < 12.0 && !beyond).then_some(Spot {
                s_m: foot.s_m,
                d_m: foot.d_m,
                along_m,
                across_m,
                speed_mps: state.speed_mps * cos,
            })
        };
        let spots: Vec<Option<Spot>> = states.iter().map(|state| state.as_ref().and_then(spot)).collect();
        let kind = states.iter().flatten().next()?.kind;
        spots.iter().any(Option::is_some).then_some(Obstacle { kind, step_s, spots })
    }

    /// Whether it is a person on foot.
    pub(super) fn is_on_foot(&self) -> bool {
        self.kind == ActorKind::Pedestrian
    }

    fn at(&self, t_s: f64) -> Option<Spot> {
        let i = (t_s / self.step_s + 0.5) as usize;
        self.spots[i.min(self.spots.len() - 1)]
    }

    /// The station at which the front of the vehicle would first come upon somebody ahead of it who is then in its way, or will
    /// be or was within `margin_s`; `gap_m` is the room to the sides that a person needs.
    pub(super) fn comes_upon(
        &self,
        line: &Polyline,
        motion: &Trajectory,
        [margin_s, gap_m]: [f64; 2],
    ) -> Option<f64> {
        let start = motion.points.first()?;
        let front = |foot: &Projection| foot.s_m + 0.5 * vehicle::LENGTH_M;
        let now_m = front(&line.project(Point::new(start.x_m, start.y_m)));
        let slack = (margin_s / self.step_s) as i64;
        motion.points.iter().step_by(2).find_map(|p| {
            let foot = line.project(Point::new(p.x_m, p.y_m));
            let moments = (-slack..=slack).map(|k| p.t_s - start.t_s + k as f64 * self.step_s);
            let spots = moments.filter(|t| *t >= 0.0).filter_map(|t| self.at(t));
            let near = spots.filter(|spot| {
                let begin_m = spot.s_m - spot.along_m;
                begin_m > now_m
                    && begin_m < front(&foot)
                    && spot.s_m + spot.along_m > foot.s_m - 0.5 * vehicle::LENGTH_M
                    && (spot.d_m - foot.d_m).abs() < spot.across_m + 0.5 * vehicle::WIDTH_M + gap_m
            });
            near.map(|spot| spot.s_m - spot.along_m).min_by(f64::total_cmp)
        })
    }

    /// Whether a motion and this one use the same place beyond station `from_m` of the lane within `margin_s`.
    pub(super) fn meets(&self, line: &Polyline, motion: &Trajectory, from_m: f64, margin_s: f64) -> bool {
        let Some(start) = motion.points.first() else { return false };
        motion.points.iter().step_by(2).any(|p| {
            let foot = line.project(Point::new(p.x_m, p.y_m));
            let t = p.t_s - start.t_s;
            let slack = (margin_s / self.step_s) as i64;
            foot.s_m + 0.5 * vehicle::LENGTH_M > from_m
                && (-slack..=slack).any(|k| {
                    let later = t + k as f64 * self.step_s;
                    let spot = if later >= 0.0 { self.at(later) } else { None };
                    spot.is_some_and(|spot| {
                        // Someone ahead in the same lane is followed, not waited for.
                        let same_way = spot.speed_mps > 1.0 && spot.d_m.abs() < 1.0 && spot.across_m < 1.5;
                        !same_way
                            && (spot.s_m - foot.s_m).abs() < spot.along_m + 0.5 * vehicle::LENGTH_M
                            && (spot.d_m - foot.d_m).abs() < spot.across_m + 0.5 * vehicle::WIDTH_M
                    })
                })
        })
    }
}

/// A lane and a start in it.
pub(super) struct Motion<'a> {
    ego: VehicleState,
    line: &'a Polyline,
    s_m: f64,
    d_m: f64,
    /// Speed across the lane.
    across_mps: f64,
    /// Acceleration across it.
    across_mps2: f64,
    curvatures: Vec<f64>,
}

/// Distance of the curvatures kept of the lane.
const CURVATURE_M: f64 = 4.0;

impl<'a> Motion<'a> {
    pub(super) fn new(ego: &VehicleState, line: &'a Polyline) -> Motion<'a> {
        let foot = line.project(Point::new(ego.x_m, ego.y_m));
        let turned = wrap_angle(ego.heading_rad - line.heading_at(foot.s_m));
        let (v, bend) = (ego.speed_mps, vehicle::curvature(ego.steering_angle_rad));
        let curvature = |k: usize| line.curvature_at(foot.s_m + k as f64 * CURVATURE_M).abs();
        Motion {
            ego: *ego,
            line,
            s_m: foot.s_m,
            d_m: foot.d_m,
            across_mps: ego.speed_mps * turned.sin(),
            across_mps2: (v * v * (bend - line.curvature_at(foot.s_m))).clamp(-2.0, 2.0),
            curvatures: (0..35).map(curvature).collect(),
        }
    }

    /// The motion for 5 s.
    pub(super) fn roll(&mut self, others: &[Obstacle], request: &Request) -> Trajectory {
        let sideways = Sideways::new(self, request);
        let (mut s, mut v) = (self.s_m, self.ego.speed_mps.max(0.0));
        let mut a = self.ego.acceleration_mps2;
        let mut places = Vec::with_capacity(STEPS + 1);
        for step in 0..=STEPS {
            let t = step as f64 * STEP_S;
            places.push((s, sideways.at(t), v, a));
            let wanted = self.acceleration(others, request, &sideways, t, s, v);
            // A foot moves at a finite speed; a hard brake is quicker.
            let jerk = if wanted < -3.5 { 20.0 } else { 5.0 };
            a = wanted.clamp(a - jerk * STEP_S, a + 5.0 * STEP_S).max(-v / STEP_S);
            let next = (v + a * STEP_S).max(0.0);
            s += 0.5 * (v + next) * STEP_S;
            v = next;
        }
        self.trajectory(&places)
    }

    fn acceleration(
        &self,
        others: &[Obstacle],
        request: &Request,
        sideways: &Sideways,
        t: f64,
        s: f64,
        v: f64,
    ) -> f64 {
        let desired = request.desired_mps.min(self.curve_mps(s, v)).min(self.unwinding_mps(t)).max(0.5);
        let free = if v > desired {
            // Back to a lower speed gently: IDM alone would brake hard for a small excess.
            (-BRAKING_MPS2 * (1.0 - desired / v) * 3.0).max(-BRAKING_MPS2)
        } else {
            ACCELERATION_MPS2 * (1.0 - (v / desired).powi(4))
        };
        let front = s + 0.5 * vehicle::LENGTH_M;
        let mut least = free;
        if let Some(stop) = request.stop_m {
            least = least.min(stop_at(stop - front, v, free));
        }
        let d = sideways.at(t);
        for spot in others.iter().filter_map(|other| other.at(t)) {
            let gap = spot.s_m - spot.along_m - front;
            // Also those whom the move aside will bring into the way.
            let (low, high) = (d.min(request.offset_m), d.max(request.offset_m));
            let near = spot.across_m + 0.5 * vehicle::WIDTH_M + BESIDE_M;
            let in_way = spot.d_m > low - near && spot.d_m < high + near;
            if !in_way || spot.s_m < s || gap > 120.0 {
                continue;
            }
            least = least.min(follow_at(gap, [v, spot.speed_mps], request.headway_s, free));
        }
        least.max(-BRAKING_MAX_MPS2)
    }

    /// Speed that the curves of the next stretch allow here.
    fn curve_mps(&self, s: f64, v: f64) -> f64 {
        let first = ((s - self.s_m) / CURVATURE_M).max(0.0) as usize;
        let look = ((v * v / (2.0 * BRAKING_MPS2) + 10.0) / CURVATURE_M) as usize;
        let ahead = self.curvatures.iter().enumerate().skip(first).take(look + 1);
        ahead.fold(60.0, |least: f64, (k, curvature)| {
            let curvature = curvature.max(1e-4);
            // The front wheels turn into a tight bend at a finite rate.
            let turning_mps = turning_mps(vehicle::steering_angle(curvature));
            let allowed = (LATERAL_MPS2 / curvature).min(turning_mps.powi(2));
            let way = (k as f64 * CURVATURE_M - (s - self.s_m)).max(0.0);
            least.min((allowed + 2.0 * 0.8 * BRAKING_MPS2 * way).sqrt())
        })
    }

    /// Speed that lets the wheels come back out of a tight bend in time.
    fn unwinding_mps(&self, t: f64) -> f64 {
        turning_mps(self.ego.steering_angle_rad.abs() - vehicle::STEERING_RATE_MAX_RADPS * t)
    }

    fn trajectory(&self, places: &[(f64, f64, f64, f64)]) -> Trajectory {
        let point = |(s, d, _, _): &(f64, f64, f64, f64)| {
            self.line.at(*s) + Point::polar(*d, self.line.heading_at(*s)).left()
        };
        let at: Vec<Point> = places.iter().map(point).collect();
        let mut headings = vec![self.ego.heading_rad; at.len()];
        for i in 1..at.len() {
            let (before, after) = (at[i - 1], at[(i + 1).min(at.len() - 1)]);
            let way = after - before;
            headings[i] = if way.norm() > 0.15 { way.angle() } else { headings[i - 1] };
        }
        let mut points = Vec::with_capacity(at.len());
        for (i, (place, (_, _, v, a))) in at.iter().zip(places).enumerate() {
            let (before, after) = (i.saturating_sub(1), (i + 1).min(at.len() - 1));
            let way = at[before].distance(at[after]);
            let bend = if way > 0.3 { wrap_angle(headings[after] - headings[before]) / way } else { 0.0 };
            points.push(TrajectoryPoint {
                t_s: self.ego.t_s + i as f64 * STEP_S,
                x_m: place.x,
                y_m: place.y,
                heading_rad: headings[i],
                speed_mps: *v,
                acceleration_mps2: *a,
                curvature_per_m: bend.clamp(-0.25, 0.25),
            });
        }
        Trajectory { points }
    }
}

/// Speed at which the wheels are turned by an angle on [`TURNING_IN_M`].
fn turning_mps(angle_rad: f64) -> f64 {
    TURNING_IN_M * vehicle::STEERING_RATE_MAX_RADPS / angle_rad.max(1e-3)
}

/// IDM behind someone.
fn follow_at(gap_m: f64, [v, other_mps]: [f64; 2], headway_s: f64, free: f64) -> f64 {
    let closing = v - other_mps;
    let wanted = STANDSTILL_M
        + (v * headway_s + v * closing / (2.0 * (ACCELERATION_MPS2 * BRAKING_MPS2).sqrt())).max(0.0);
    let part = wanted / gap_m.max(0.3);
    free.min(ACCELERATION_MPS2 * (1.0 - part * part).min(1.0))
}

/// To a stop with the front at a distance: as gently as it goes, and standing still when there.
fn stop_at(left_m: f64, v: f64, free: f64) -> f64 {
    let needed = v * v / (2.0 * left_m.max(0.05));
    if left_m < 0.3 && v < 0.8 {
        return -2.0;
    }
    // Begin when half of comfortable braking is needed; from then on brake by what is needed.
    let begin = 0.6 * BRAKING_MPS2;
    if needed > begin { -needed } else { free.min((begin - needed) * 1.5) }
}

/// The move across the lane: a polynomial of fifth degree from place and speed now to rest at the target.
struct Sideways {
    duration_s: f64,
    coefficients: [f64; 6],
    target_m: f64,
}

impl Sideways {
    /// Plans are made anew all the time, so the move must go on as it is: it starts with the present speed and
    /// acceleration across, and the less is left of it the sooner it ends.
    fn new(motion: &Motion, request: &Request) -> Sideways {
        let (d, u, w, target) = (motion.d_m, motion.across_mps, motion.across_mps2, request.offset_m);
        let aside = (d - target).abs();
        let usual = RETURN_S + (CHANGE_S - RETURN_S) * (aside / 3.5).min(1.0);
        let t = usual.max(WAY_PER_M * aside / motion.ego.speed_mps.max(1.5)).min(12.0);
        let (h, ut, wt) = (target - d, u * t, w * t * t);
        let c3 = (20.0 * h - 12.0 * ut - 3.0 * wt) / (2.0 * t.powi(3));
        let c4 = (-30.0 * h + 16.0 * ut + 3.0 * wt) / (2.0 * t.powi(4));
        let c5 = (12.0 * h - 6.0 * ut - wt) / (2.0 * t.powi(5));
        Sideways { duration_s: t, coefficients: [d, u, 0.5 * w, c3, c4, c5], target_m: target }
    }

    fn at(&self, t: f64) -> f64 {
        if t >= self.duration_s {
            return self.target_m;
        }
        self.coefficients.iter().rev().fold(0.0, |sum, c| sum * t + c)
    }
}
