//! The reader against commonroad-io, on the files of `vectors/commonroad`; the writer against the reader.

mod commonroad_facts;

use commonroad_facts::mismatches;
use ergon_types::{ActorKind, LightColor};
use ergon_world::commonroad::{self, Version, read_file};
use ergon_world::road::{LaneletKind, LineMarking, SignKind};
use ergon_world::scenario::{Goal, Region};

const OLD: &str = include_str!("../../../vectors/commonroad/ours-2018b.xml");
const NEW: &str = include_str!("../../../vectors/commonroad/ours-2020a.xml");
const OLD_FACTS: &str = include_str!("../../../vectors/commonroad/ours-2018b.expected");
const NEW_FACTS: &str = include_str!("../../../vectors/commonroad/ours-2020a.expected");

#[test]
fn reads_2018b_as_commonroad_io_does() {
    let reading = read_file(OLD).unwrap();
    assert_eq!(mismatches(OLD_FACTS, &reading), Vec::<String>::new());
    assert_eq!(reading.version, Version::V2018b);
    let kinds: Vec<ActorKind> = reading.scenario.recorded.iter().map(|actor| actor.kind).collect();
    assert_eq!(kinds, [ActorKind::Car, ActorKind::Truck, ActorKind::Bicycle]);
    assert_eq!(reading.scenario.problem.id, 40);
    assert_eq!(reading.scenario.problem.initial_yaw_rate_radps, 0.04);
}

#[test]
fn reads_2020a_as_commonroad_io_does() {
    let reading = read_file(NEW).unwrap();
    assert_eq!(mismatches(NEW_FACTS, &reading), Vec::<String>::new());
    assert_eq!((reading.version, reading.planning_problems), (Version::V2020a, 2));
    assert_eq!((reading.scenario.problem.id, &reading.other_problems[..]), (300, &[301][..]));
}

/// A test of the test: a fact that is wrong must be found.
#[test]
fn wrong_facts_are_noticed() {
    let reading = read_file(OLD).unwrap();
    for (right, wrong) in [
        ("speed 0 8.0", "speed 0 8.1"),
        ("absent 20 24", "absent 20 23"),
        ("beside 1 left 2 same", "beside 1 left 2 opposite"),
    ] {
        assert!(OLD_FACTS.contains(right), "{right}");
        assert_eq!(mismatches(&OLD_FACTS.replace(right, wrong), &reading).len(), 1, "{wrong}");
    }
}

/// What commonroad-io keeps as text and we understand.
#[test]
fn understands_signs_lights_and_paint() {
    let scenario = commonroad::read(NEW).unwrap();
    let sign = |id| scenario.roads.signs.iter().find(|sign| sign.id == id).unwrap();
    assert_eq!(sign(100).kind, SignKind::SpeedLimit { speed_mps: 8.33 });
    assert_eq!((sign(101).kind, sign(102).kind), (SignKind::Stop, SignKind::Yield));
    assert!(sign(101).heading_rad.abs() < 1e-9, "faces those who go east");
    let light = &scenario.roads.lights[0];
    assert_eq!(
        light.cycle.iter().map(|(color, _)| *color).collect::<Vec<_>>()[..2],
        [LightColor::Green, LightColor::Yellow]
    );
    let lanelet = |id| scenario.roads.lanelet(id).unwrap();
    assert_eq!((lanelet(1).left_marking, lanelet(1).right_marking), (LineMarking::Dashed, LineMarking::Curb));
    assert_eq!((lanelet(2).left_marking, lanelet(2).kind), (LineMarking::None, LaneletKind::Intersection));
    assert_eq!((lanelet(5).kind, lanelet(6).kind), (LaneletKind::Crosswalk, LaneletKind::Ramp));
    assert_eq!((&lanelet(1).signs[..], &lanelet(1).lights[..]), (&[100, 101][..], &[110][..]));
    let walker = scenario.recorded.iter().find(|actor| actor.id == 202).unwrap();
    assert_eq!((walker.kind, walker.first_step, walker.states.len()), (ActorKind::Pedestrian, 4, 9));
    assert!(walker.states[2..8].iter().all(|state| (state.speed_mps - 10.0).abs() < 2.0), "a metre a step");
}

/// Written files hold everything that was read, to the last bit.
#[test]
fn what_is_written_reads_back_equal() {
    let old = commonroad::read(OLD).unwrap();
    assert_eq!(commonroad::read(&commonroad::write(&old)).unwrap(), old);
    let mut new = commonroad::read(NEW).unwrap();
    // An occupancy set has no speeds: those are made anew from places that were rounded once more.
    let walker = new.recorded.pop().unwrap();
    let mut back = commonroad::read(&commonroad::write(&new)).unwrap();
    assert_eq!(back, new);
    new.recorded.push(walker.clone());
    back = commonroad::read(&commonroad::write(&new)).unwrap();
    for (a, b) in back.recorded.pop().unwrap().states.iter().zip(&walker.states) {
        let gaps = [
            a.x_m - b.x_m,
            a.y_m - b.y_m,
            a.length_m - b.length_m,
            a.width_m - b.width_m,
            a.heading_rad - b.heading_rad,
        ];
        assert!(gaps.iter().all(|gap| gap.abs() < 1e-9), "{a:?} {b:?}");
        assert!((a.speed_mps - b.speed_mps).abs() < 1e-6);
    }
}

/// Names with every character that XML gives a meaning.
#[test]
fn names_are_escaped() {
    let mut scenario = commonroad::read(NEW).unwrap();
    scenario.recorded.clear();
    scenario.author = "<\"A & B's\">".to_owned();
    assert_eq!(commonroad::read(&commonroad::write(&scenario)).unwrap(), scenario);
}

/// A limit that no sign gives stays a limit and does not become a sign that the camera would show.
#[test]
fn limits_without_a_sign_survive() {
    let mut scenario = commonroad::read(OLD).unwrap();
    assert!(scenario.roads.signs.is_empty());
    scenario.roads.lanelets[2].speed_limit_mps = None;
    let back = commonroad::read(&commonroad::write(&scenario)).unwrap();
    assert!(back.roads.signs.is_empty());
    let limits: Vec<_> = back.roads.lanelets.iter().map(|lanelet| lanelet.speed_limit_mps).collect();
    assert_eq!(limits, [Some(13.9), Some(16.7), None, Some(8.3)]);
}

/// A start at a later time step: all counts from there, and the file gets its own steps back.
#[test]
fn a_late_start_becomes_time_zero() {
    let at_zero = "<time><exact>0</exact>\n</time>\n<velocity><exact>11.0";
    assert_eq!(OLD.matches(at_zero).count(), 1);
    let late = OLD.replace(at_zero, "<time><exact>5</exact></time><velocity><exact>11.0");
    let (whole, late) = (commonroad::read(OLD).unwrap(), commonroad::read(&late).unwrap());
    assert_eq!(late.problem.goals[0].steps, [30, 40]);
    assert_eq!(late.recorded[0].states[..], whole.recorded[0].states[5..]);
    assert_eq!((late.recorded[2].first_step, late.problem.initial.t_s), (1, 0.5));
    assert_eq!(commonroad::read(&commonroad::write(&late)).unwrap(), late);
}

/// Regions of both kinds in one goal are two goals in the file: either is enough, as before.
#[test]
fn mixed_regions_become_alternatives() {
    let mut scenario = commonroad::read(OLD).unwrap();
    let circle = Region::Circle { center: Default::default(), radius_m: 2.0 };
    let goal = Goal { steps: [3, 9], regions: vec![Region::Lanelets(vec![1]), circle], ..Goal::default() };
    scenario.problem.goals = vec![goal];
    let back = commonroad::read(&commonroad::write(&scenario)).unwrap();
    assert_eq!(back.problem.goals.len(), 2);
    assert!(back.problem.goals.iter().all(|goal| goal.steps == [3, 9] && goal.regions.len() == 1));
}
