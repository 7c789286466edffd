//! The motion gate: each rule refuses what it is for, tightening never clears more, nothing non-finite passes.

use ergon_gate::motion::{
    EgoBody, MotionLimits, MotionScene, Rule, Source, Supervisor, TrackedObject, check, rss,
};
use ergon_types::{ActorKind, ActorState, Trajectory, TrajectoryPoint, VehicleState};

const BODY: EgoBody = EgoBody { length_m: 4.508, width_m: 1.61, wheelbase_m: 2.579 };

fn ego(speed_mps: f64) -> VehicleState {
    VehicleState { speed_mps, ..VehicleState::default() }
}

fn scene<'a>(speed_mps: f64, objects: &'a [TrackedObject], drivable: &'a [Vec<[f64; 2]>]) -> MotionScene<'a> {
    MotionScene {
        now_s: 0.0,
        observed_s: 0.0,
        ego: ego(speed_mps),
        body: BODY,
        objects,
        drivable,
        last: None,
    }
}

/// A car of 4.5 m by 1.8 m.
fn car(id: u32, x_m: f64, y_m: f64, speed_mps: f64) -> TrackedObject {
    let state = ActorState {
        id,
        kind: ActorKind::Car,
        x_m,
        y_m,
        heading_rad: 0.0,
        speed_mps,
        acceleration_mps2: 0.0,
        length_m: 4.5,
        width_m: 1.8,
    };
    TrackedObject { state, yaw_rate_radps: 0.0 }
}

/// 4 s straight on with a constant acceleration, not below standstill.
fn straight(v0: f64, a: f64) -> Trajectory {
    let stop_s = if a < 0.0 { -v0 / a } else { f64::INFINITY };
    let points = (0..=40).map(|i| {
        let t_s = f64::from(i) * 0.1;
        let t = t_s.min(stop_s);
        TrajectoryPoint {
            t_s,
            x_m: v0 * t + 0.5 * a * t * t,
            speed_mps: (v0 + a * t).max(0.0),
            acceleration_mps2: if t_s <= stop_s { a } else { 0.0 },
            ..TrajectoryPoint::default()
        }
    });
    Trajectory { points: points.collect() }
}

/// A lane change of `d_m` to the left in `duration_s` (quintic), at constant speed.
fn lane_change(v0: f64, d_m: f64, duration_s: f64) -> Trajectory {
    let y = |t: f64| {
        let s = (t / duration_s).clamp(0.0, 1.0);
        d_m * s * s * s * (10.0 - 15.0 * s + 6.0 * s * s)
    };
    let heading = |t: f64| ((y(t + 0.001) - y(t - 0.001)) / 0.002 / v0).atan();
    let points = (0..=40).map(|i| {
        let t_s = f64::from(i) * 0.1;
        TrajectoryPoint {
            t_s,
            x_m: v0 * t_s,
            y_m: y(t_s),
            heading_rad: heading(t_s),
            speed_mps: v0,
            acceleration_mps2: 0.0,
            curvature_per_m: (heading(t_s + 0.001) - heading(t_s - 0.001)) / 0.002 / v0,
        }
    });
    Trajectory { points: points.collect() }
}

fn refused_by(plan: Trajectory, scene: &MotionScene) -> Vec<Rule> {
    match check(plan, scene, &MotionLimits::default()) {
        Ok(_) => Vec::new(),
        Err(verdict) => verdict.broken().map(|finding| finding.rule).collect(),
    }
}

#[test]
fn rss_distances_are_the_published_ones() {
    // v_r = v_f, a 3.5, b 4 and 8; worked out by hand from the formula, km/h to metres.
    for (response, cases) in [
        (1.0, [(30.0, 23.25), (50.0, 41.38), (100.0, 103.59), (130.0, 152.49)]),
        (0.1, [(30.0, 5.94), (50.0, 14.69), (100.0, 53.47), (130.0, 88.30)]),
    ] {
        for (kmh, metres) in cases {
            let v = kmh / 3.6;
            let got = rss::longitudinal_m(v, v, response, 3.5, 4.0, 8.0);
            assert!((got - metres).abs() < 0.006, "{kmh} km/h, {response} s: {got} for {metres}");
        }
    }
    // Both stand beside each other: the margin and what 0.2 m/s2 over 1 s gives, twice.
    let one_way = 0.5 * 0.2 + 0.2 * 0.2 / 1.6;
    assert!((rss::lateral_m([0.0, 0.0], 1.0, 0.2, 0.8, 0.1) - (0.1 + 2.0 * one_way)).abs() < 1e-12);
}

#[test]
fn a_quiet_plan_is_cleared_with_margins() {
    let objects = [car(1, 60.0, 0.0, 15.0), car(2, 0.0, 3.5, 15.0)];
    let (cleared, verdict) =
        check(straight(15.0, 0.0), &scene(15.0, &objects, &[]), &MotionLimits::default()).expect("cleared");
    assert_eq!(cleared.get().points.len(), 41);
    assert!(verdict.findings().iter().all(|finding| finding.margin() >= 0.0));
    assert!(verdict.findings().iter().any(|finding| finding.rule == Rule::RssLongitudinal));
}

/// What is done to a plan.
type Change = fn(&mut Trajectory);

#[test]
fn each_rule_refuses_what_it_is_for() {
    let free = scene(15.0, &[], &[]);
    let with = |change: Change| {
        let mut plan = straight(15.0, 0.0);
        change(&mut plan);
        plan
    };
    let cases: [(Rule, Change); 9] = [
        (Rule::Finite, |p| p.points[7].curvature_per_m = f64::NAN),
        (Rule::TimeOrder, |p| p.points.swap(3, 4)),
        (Rule::Duration, |p| p.points.truncate(20)),
        (Rule::Speed, |p| p.points[9].speed_mps = 50.0),
        (Rule::Acceleration, |p| p.points[9].acceleration_mps2 = 6.0),
        (Rule::Deceleration, |p| p.points[9].acceleration_mps2 = -10.0),
        (Rule::LateralAcceleration, |p| p.points[9].curvature_per_m = 0.05),
        (Rule::Consistency, |p| p.points[9].x_m += 1.0),
        (Rule::Start, |p| p.points.iter_mut().for_each(|point| point.x_m += 0.8)),
    ];
    for (rule, change) in cases {
        let broken = refused_by(with(change), &free);
        assert!(broken.contains(&rule), "{rule}: {broken:?}");
    }
    assert!(refused_by(Trajectory::default(), &free).contains(&Rule::TimeOrder));
    let old = MotionScene { observed_s: -0.3, ..free.clone() };
    assert_eq!(refused_by(straight(15.0, 0.0), &old), [Rule::Age]);
    let last = lane_change(15.0, -3.5, 4.0);
    let jumped = MotionScene { last: Some(&last), ..free.clone() };
    assert_eq!(
        refused_by(lane_change(15.0, 3.5, 4.0), &jumped).first(),
        None,
        "the first half second agrees"
    );
    let aside = with(|p| p.points.iter_mut().for_each(|point| point.y_m += 1.2));
    let jumped = MotionScene { last: Some(&aside), ..free };
    assert_eq!(refused_by(straight(15.0, 0.0), &jumped), [Rule::Jump]);
}

#[test]
fn the_road_ends_at_its_edge() {
    let road = [vec![[-20.0, -1.75], [200.0, -1.75], [200.0, 5.25], [-20.0, 5.25]]];
    assert!(refused_by(lane_change(15.0, 3.5, 4.0), &scene(15.0, &[], &road)).is_empty());
    assert_eq!(refused_by(lane_change(15.0, -3.5, 4.0), &scene(15.0, &[], &road)), [Rule::RoadEdge]);
    // Already 0.5 m over the edge: back is allowed, further is not.
    let outside = MotionScene { ego: VehicleState { y_m: -1.45, ..ego(15.0) }, ..scene(15.0, &[], &road) };
    let shifted = |d: f64| {
        let mut plan = lane_change(15.0, d, 3.0);
        plan.points.iter_mut().for_each(|point| point.y_m -= 1.45);
        plan
    };
    assert!(refused_by(shifted(1.45), &outside).is_empty());
    assert_eq!(refused_by(shifted(-0.5), &outside), [Rule::RoadEdge]);
}

#[test]
fn others_are_kept_clear_of() {
    let standing = [car(7, 30.0, 0.0, 0.0)];
    let broken = refused_by(straight(15.0, 0.0), &scene(15.0, &standing, &[]));
    assert!(broken.contains(&Rule::Collision) && broken.contains(&Rule::RssLongitudinal), "{broken:?}");
    assert!(refused_by(straight(15.0, -5.0), &scene(15.0, &standing, &[])).is_empty());
    // Who follows in the lane is expected to brake; who comes from the side is not.
    assert!(refused_by(straight(15.0, 0.0), &scene(15.0, &[car(8, -12.0, 0.0, 18.0)], &[])).is_empty());
    let mut crossing = car(9, 30.0, -20.0, 10.0);
    crossing.state.heading_rad = std::f64::consts::FRAC_PI_2;
    assert_eq!(refused_by(straight(15.0, 0.0), &scene(15.0, &[crossing], &[])), [Rule::Collision]);
    // Changing lanes into someone beside, and in front of someone much faster.
    let broken = refused_by(lane_change(15.0, 3.5, 4.0), &scene(15.0, &[car(3, 0.0, 3.5, 15.0)], &[]));
    assert!(broken.contains(&Rule::Collision), "{broken:?}");
    let broken = refused_by(lane_change(15.0, 3.5, 4.0), &scene(15.0, &[car(4, -29.0, 3.5, 30.0)], &[]));
    assert!(broken.contains(&Rule::CutIn), "{broken:?}");
    assert!(
        refused_by(lane_change(15.0, 3.5, 4.0), &scene(15.0, &[car(4, -29.0, 3.5, 16.0)], &[])).is_empty()
    );
}

#[test]
fn late_contact_may_be_foreseen_while_a_stop_prevents_it() {
    let crossing = |x_m, y_m| {
        let mut car = car(9, x_m, y_m, 10.0);
        car.state.heading_rad = std::f64::consts::FRAC_PI_2;
        [car]
    };
    // They would meet after 2.5 s. At 15 m/s a stop keeps away, at 25 m/s it does not.
    assert!(refused_by(straight(15.0, 0.0), &scene(15.0, &crossing(40.0, -27.0), &[])).is_empty());
    let fast = crossing(58.0, -26.0);
    assert_eq!(refused_by(straight(25.0, 0.0), &scene(25.0, &fast, &[])), [Rule::Collision]);
    // A plan that brakes harder than that stop is not helped by it, however far is looked.
    let braking = straight(25.0, -5.0);
    for horizon_s in [3.0, 4.0] {
        let limits = MotionLimits { horizon_s, ..MotionLimits::default() };
        assert!(check(braking.clone(), &scene(25.0, &crossing(49.7, -30.65), &[]), &limits).is_err());
    }
    // Nor one whose stop is run into by another that the plan would have left behind.
    let chased = [crossing(40.0, -27.0)[0], crossing(33.5, -30.0)[0]];
    assert_eq!(refused_by(straight(15.0, 0.0), &scene(15.0, &chased, &[])), [Rule::Collision]);
    // Whoever wants all three seconds to be sure gets them.
    let sure = MotionLimits { sure_s: 3.0, ..MotionLimits::default() };
    assert!(check(straight(15.0, 0.0), &scene(15.0, &crossing(40.0, -27.0), &[]), &sure).is_err());
}

#[test]
fn who_follows_in_a_bend_is_expected_to_brake() {
    // On a circle to the right of 20 m radius about (0, -20), as the ego vehicle, `angle` behind it and faster.
    let behind = |angle: f64| {
        let mut other = car(7, -20.0 * angle.sin(), -20.0 + 20.0 * angle.cos(), 6.0);
        other.state.heading_rad = angle;
        other.yaw_rate_radps = -6.0 / 20.0;
        other
    };
    let plan = straight(4.0, -1.0);
    let follower = [behind(0.7)];
    assert!(refused_by(plan.clone(), &scene(4.0, &follower, &[])).is_empty());
    // One that comes across from the side is none who follows: it will not brake.
    let mut crossing = behind(0.7);
    crossing.state.heading_rad = 1.5;
    (crossing.state.x_m, crossing.state.y_m, crossing.yaw_rate_radps) = (3.0, -20.0, 0.0);
    assert_eq!(refused_by(plan.clone(), &scene(4.0, &[crossing], &[])), [Rule::Collision]);
    // Beside, with its front ahead of ours: none who follows either.
    let mut truck = car(8, -2.5, -3.2, 8.0);
    (truck.state.length_m, truck.state.width_m, truck.state.heading_rad) = (16.0, 2.5, 0.0);
    truck.yaw_rate_radps = 0.25;
    assert!(refused_by(plan, &scene(4.0, &[truck], &[])).contains(&Rule::Collision));
}

#[test]
fn a_hard_stop_can_be_ended() {
    let mut plan = straight(12.0, 0.0);
    plan.points[0].acceleration_mps2 = -11.0;
    assert!(refused_by(plan.clone(), &scene(12.0, &[], &[])).is_empty());
    plan.points[1].acceleration_mps2 = -11.0;
    assert_eq!(refused_by(plan, &scene(12.0, &[], &[])), [Rule::Deceleration]);
}

#[test]
fn who_stands_may_stand() {
    let mut crossing = car(9, 2.0, -12.0, 10.0);
    crossing.state.heading_rad = std::f64::consts::FRAC_PI_2;
    let objects = [crossing];
    assert!(refused_by(straight(0.0, 0.0), &scene(0.0, &objects, &[])).is_empty());
    assert_eq!(refused_by(straight(0.0, 2.0), &scene(0.0, &objects, &[])), [Rule::Collision]);
}

/// Random numbers without a library: Knuth's MMIX generator.
struct Lcg(u64);

impl Lcg {
    fn range(&mut self, low: f64, high: f64) -> f64 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        low + (high - low) * (self.0 >> 11) as f64 / (1u64 << 53) as f64
    }
}

/// Plans and objects around what the rules decide.
fn random_case(rng: &mut Lcg) -> (Trajectory, Vec<TrackedObject>, f64) {
    let v0 = rng.range(0.0, 25.0);
    let plan = if rng.range(0.0, 1.0) < 0.5 || v0 < 5.0 {
        straight(v0, rng.range(-8.0, 4.0))
    } else {
        lane_change(v0, rng.range(-4.0, 4.0), rng.range(2.5, 5.0))
    };
    let objects = (0..3)
        .map(|id| {
            let mut object = car(id, rng.range(-40.0, 60.0), rng.range(-6.0, 6.0), rng.range(0.0, 25.0));
            object.state.heading_rad = rng.range(-0.3, 0.3);
            object.yaw_rate_radps = rng.range(-0.1, 0.1);
            object
        })
        .collect();
    (plan, objects, v0)
}

/// Every limit made tighter by a factor, one at a time.
fn tightened(factor: f64) -> Vec<MotionLimits> {
    let base = MotionLimits::default();
    let (less, more) = (1.0 / factor, factor);
    let change = |edit: &dyn Fn(&mut MotionLimits)| {
        let mut limits = base.clone();
        edit(&mut limits);
        limits
    };
    vec![
        change(&|l| l.duration_min_s *= more),
        change(&|l| l.age_max_s *= less),
        change(&|l| l.speed_max_mps *= less),
        change(&|l| l.reverse_speed_max_mps *= less),
        change(&|l| l.acceleration_max_mps2 *= less),
        change(&|l| l.deceleration_max_mps2 *= less),
        change(&|l| l.lateral_acceleration_max_mps2 *= less),
        change(&|l| l.jerk_max_mps3 *= less),
        change(&|l| l.lateral_jerk_max_mps3 *= less),
        change(&|l| l.curvature_max_per_m *= less),
        change(&|l| l.consistency_max_m *= less),
        change(&|l| l.start_max_m *= less),
        change(&|l| l.jump_max_m *= less),
        change(&|l| l.overhang_max_m *= less),
        change(&|l| l.horizon_s *= more),
        change(&|l| l.sure_s *= more),
        change(&|l| l.clearance_m *= more),
        change(&|l| l.response_time_s *= more),
        change(&|l| l.rss_acceleration_max_mps2 *= more),
        change(&|l| l.rss_brake_min_mps2 *= less),
        change(&|l| l.rss_brake_max_mps2 *= more),
        change(&|l| l.rss_standstill_m *= more),
        change(&|l| l.rss_lateral_acceleration_max_mps2 *= more),
        change(&|l| l.rss_lateral_brake_min_mps2 *= less),
        change(&|l| l.rss_lateral_margin_m *= more),
        change(&|l| l.rss_response_brake_mps2 *= more),
        change(&|l| l.cut_in_brake_mps2 *= less),
        change(&|l| l.cut_in_delay_s *= more),
    ]
}

#[test]
fn tightening_a_limit_never_clears_more() {
    let mut rng = Lcg(1);
    let road = [vec![[-60.0, -2.5], [200.0, -2.5], [200.0, 6.0], [-60.0, 6.0]]];
    let base = MotionLimits::default();
    let mut counts = [0, 0];
    for case in 0..3000 {
        let (plan, objects, v0) = random_case(&mut rng);
        let scene = scene(v0, &objects, &road);
        let before = check(plan.clone(), &scene, &base).is_ok();
        counts[usize::from(before)] += 1;
        for (field, limits) in tightened(1.0 + rng.range(0.05, 1.0)).iter().enumerate() {
            let after = check(plan.clone(), &scene, limits).is_ok();
            assert!(before || !after, "case {case}: field {field} tightened clears a refused plan");
        }
    }
    assert!(counts.iter().all(|count| *count > 200), "both outcomes must occur: {counts:?}");
}

#[test]
fn nothing_non_finite_passes() {
    let mut rng = Lcg(2);
    for value in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY] {
        for field in 0..7 {
            for at in [0, 1, 20, 40] {
                let mut plan = straight(10.0, 0.0);
                let p = &mut plan.points[at];
                *[
                    &mut p.t_s,
                    &mut p.x_m,
                    &mut p.y_m,
                    &mut p.heading_rad,
                    &mut p.speed_mps,
                    &mut p.acceleration_mps2,
                    &mut p.curvature_per_m,
                ][field] = value;
                assert_eq!(refused_by(plan.clone(), &scene(10.0, &[], &[])), [Rule::Finite]);
                let mut supervisor = Supervisor::new(MotionLimits::default()).expect("limits");
                let decision = supervisor.decide(&scene(10.0, &[], &[]), |k| (k == 0).then(|| plan.clone()));
                assert_ne!(decision.source, Source::Proposed(0));
                assert_finite(decision.motion.get());
            }
        }
        // Broken knowledge: no plan is cleared on it, and the stop is still made of numbers.
        let mut object = car(1, 30.0, 0.0, 5.0);
        object.state.y_m = value;
        let objects = [object];
        let mut broken = scene(10.0, &objects, &[]);
        broken.ego.x_m = if rng.range(0.0, 1.0) < 0.5 { value } else { 0.0 };
        assert_eq!(refused_by(straight(10.0, 0.0), &broken), [Rule::Finite]);
        let mut supervisor = Supervisor::new(MotionLimits::default()).expect("limits");
        assert_finite(supervisor.decide(&broken, |_| None).motion.get());
    }
    let limits = MotionLimits { speed_max_mps: f64::NAN, ..MotionLimits::default() };
    assert_eq!(Supervisor::new(limits).expect_err("refused").name, "speed_max_mps");
}

fn assert_finite(plan: &Trajectory) {
    for p in &plan.points {
        let all = [p.t_s, p.x_m, p.y_m, p.heading_rad, p.speed_mps, p.acceleration_mps2, p.curvature_per_m];
        assert!(all.iter().all(|value| value.is_finite()), "{p:?}");
    }
}

#[test]
fn the_supervisor_falls_back_step_by_step() {
    let mut supervisor = Supervisor::new(MotionLimits::default()).expect("limits");
    // The second plan is the first that is cleared; a third is not asked for.
    let mut asked = Vec::new();
    let decision = supervisor.decide(&scene(15.0, &[], &[]), |k| {
        asked.push(k);
        Some(straight(15.0, if k == 0 { 6.0 } else { 0.0 }))
    });
    assert_eq!((decision.source, asked), (Source::Proposed(1), vec![0, 1]));
    assert_eq!(decision.verdicts.len(), 2);

    // Nothing proposed: what was cleared last is carried on, for a while.
    let later = |t: f64| MotionScene {
        now_s: t,
        observed_s: t,
        ego: VehicleState { t_s: t, x_m: 15.0 * t, ..ego(15.0) },
        ..scene(15.0, &[], &[])
    };
    assert_eq!(supervisor.decide(&later(0.5), |_| None).source, Source::Last);
    let soft = supervisor.decide(&later(1.5), |_| None);
    assert_eq!(soft.source, Source::SoftStop);
    let end = soft.motion.get().points.last().expect("points");
    assert!(end.speed_mps == 0.0 && (end.x_m - 22.5 - 15.0 * 15.0 / 6.0).abs() < 0.5, "{end:?}");

    // A wall so near that only full braking is left.
    let wall = [car(1, 22.5 + 20.0, 0.0, 0.0)];
    let near = MotionScene { objects: &wall, ..later(1.5) };
    assert_eq!(supervisor.decide(&near, |_| None).source, Source::HardStop);
}

/// What was cleared before a stop is not driven any more, so plans after it need not agree with it.
#[test]
fn after_a_stop_driving_goes_on() {
    let mut supervisor = Supervisor::new(MotionLimits::default()).expect("limits");
    let aside = supervisor.decide(&scene(10.0, &[], &[]), |k| (k == 0).then(|| lane_change(10.0, 3.5, 3.0)));
    assert_eq!(aside.source, Source::Proposed(0));
    let at = |t: f64, x_m: f64, speed_mps: f64| MotionScene {
        now_s: t,
        observed_s: t,
        ego: VehicleState { t_s: t, x_m, ..ego(speed_mps) },
        ..scene(speed_mps, &[], &[])
    };
    let wall = [car(1, 3.0 + 9.0, 0.0, 0.0)];
    let near = MotionScene { objects: &wall, ..at(0.3, 3.0, 10.0) };
    assert_eq!(supervisor.decide(&near, |_| None).source, Source::HardStop);
    let mut on = straight(0.0, 1.0);
    on.points.iter_mut().for_each(|p| (p.t_s, p.x_m) = (p.t_s + 1.8, p.x_m + 8.0));
    let decision = supervisor.decide(&at(1.8, 8.0, 0.0), |k| (k == 0).then(|| on.clone()));
    assert_eq!(decision.source, Source::Proposed(0), "{:?}", decision.verdicts);
}

/// A step that came too late leaves the vehicle with what it had: that is what new plans must agree with.
#[test]
fn what_is_carried_on_is_what_plans_agree_with() {
    let new = || Supervisor::new(MotionLimits::default()).expect("limits");
    let before = new().decide(&scene(10.0, &[], &[]), |k| (k == 0).then(|| straight(10.0, 0.0))).motion;
    let later = MotionScene {
        now_s: 1.0,
        observed_s: 1.0,
        ego: VehicleState { t_s: 1.0, x_m: 10.0, ..ego(10.0) },
        ..scene(10.0, &[], &[])
    };
    let mut on = straight(10.0, 0.0);
    on.points.iter_mut().for_each(|p| (p.t_s, p.x_m) = (p.t_s + 1.0, p.x_m + 10.0));
    for missed in [false, true] {
        let mut supervisor = new();
        supervisor.decide(&scene(10.0, &[], &[]), |k| (k == 0).then(|| lane_change(10.0, 4.5, 3.0)));
        if missed {
            supervisor.carried_on(&before);
        }
        let source = supervisor.decide(&later, |k| (k == 0).then(|| on.clone())).source;
        assert_eq!(source == Source::Proposed(0), missed, "{source:?}");
    }
}

#[test]
fn the_same_input_gives_the_same_verdict() {
    let mut rng = Lcg(3);
    for _ in 0..200 {
        let (plan, objects, v0) = random_case(&mut rng);
        let scene = scene(v0, &objects, &[]);
        let limits = MotionLimits::default();
        assert_eq!(check(plan.clone(), &scene, &limits), check(plan, &scene, &limits));
    }
}
