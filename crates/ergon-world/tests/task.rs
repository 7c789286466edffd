//! Instructions, facts and numbers: what is said can be read back, opposite words share a world.

use ergon_types::{ActorKind, LightColor, Trajectory, TrajectoryPoint};
use ergon_world::Rng;
use ergon_world::episode::{Episode, EpisodeOptions, generate, turns, with_goal};
use ergon_world::generate::RoadKind;
use ergon_world::geometry::Point;
use ergon_world::scenario::{Goal, Region};
use ergon_world::task::*;

fn all_instructions() -> Vec<Instruction> {
    let mut all = Instruction::PLAIN.to_vec();
    all.extend([20, 30, 50, 80, 120].map(|kmh| Instruction::SetSpeed { kmh }));
    all.extend(ActorKind::VEHICLES.map(Instruction::Follow));
    all
}

#[test]
fn every_phrase_is_understood() {
    for instruction in all_instructions() {
        for language in [Language::English, Language::Chinese] {
            let mut seen = std::collections::BTreeSet::new();
            for seed in 0..200 {
                let text = phrase(instruction, language, &mut Rng::new(seed));
                assert_eq!(parse(&text), Some((instruction, language)), "{text}");
                seen.insert(text.trim_end_matches(['.', '。']).to_lowercase());
            }
            assert!(seen.len() >= 6, "{instruction:?} {language:?}: {seen:?}");
        }
    }
}

#[test]
fn words_of_the_job_are_understood() {
    let expected = [
        ("take the left lane", Instruction::ChangeLane(Side::Left), Language::English),
        ("在前面路口左转", Instruction::Turn(Turn::Left), Language::Chinese),
        ("pull over", Instruction::PullOver, Language::English),
        ("slow down to 30", Instruction::SetSpeed { kmh: 30 }, Language::English),
        ("follow the truck", Instruction::Follow(ActorKind::Truck), Language::English),
        ("Please change to the right lane!", Instruction::ChangeLane(Side::Right), Language::English),
        ("at the next intersection turn right", Instruction::Turn(Turn::Right), Language::English),
        ("drive at 20 mph", Instruction::SetSpeed { kmh: 32 }, Language::English),
        ("减速到三十", Instruction::SetSpeed { kmh: 30 }, Language::Chinese),
        ("开到一百二", Instruction::SetSpeed { kmh: 120 }, Language::Chinese),
        ("时速四十五公里", Instruction::SetSpeed { kmh: 45 }, Language::Chinese),
        ("靠右停车", Instruction::PullOver, Language::Chinese),
        ("往右变道", Instruction::ChangeLane(Side::Right), Language::Chinese),
        ("跟着前面的卡车", Instruction::Follow(ActorKind::Truck), Language::Chinese),
    ];
    for (text, instruction, language) in expected {
        assert_eq!(parse(text), Some((instruction, language)), "{text}");
    }
    assert_eq!(parse("qwertz uiop"), None);
    assert_eq!(Task::from_text("qwertz uiop", 9.0).instruction, Instruction::FollowRoute);
}

fn random_facts(rng: &mut Rng) -> Facts {
    let kinds = [
        ActorKind::Car,
        ActorKind::Truck,
        ActorKind::Bus,
        ActorKind::Motorcycle,
        ActorKind::Bicycle,
        ActorKind::Pedestrian,
        ActorKind::Obstacle,
    ];
    let manoeuvres = [
        Manoeuvre::KeepLane,
        Manoeuvre::ChangeLeft,
        Manoeuvre::ChangeRight,
        Manoeuvre::TurnLeft,
        Manoeuvre::TurnRight,
        Manoeuvre::GoStraight,
        Manoeuvre::Stop,
        Manoeuvre::SlowDown,
        Manoeuvre::SpeedUp,
        Manoeuvre::Follow,
        Manoeuvre::PullOver,
    ];
    let distances = [DistanceBucket::Close, DistanceBucket::Middle, DistanceBucket::Far];
    let motions = [Motion::Stopped, Motion::Slower, Motion::Steady, Motion::Faster];
    let lights = [LightColor::Red, LightColor::Yellow, LightColor::Green];
    let lead =
        Lead { kind: kinds[rng.below(7)], distance: distances[rng.below(3)], motion: motions[rng.below(4)] };
    let gap = (if rng.chance(0.5) { Side::Left } else { Side::Right }, rng.chance(0.5));
    Facts {
        manoeuvre: Some(manoeuvres[rng.below(manoeuvres.len())]),
        lead: rng.chance(0.5).then_some(lead),
        light: rng.chance(0.3).then_some(lights[rng.below(3)]),
        lane: Some((1 + rng.below(3) as u8, 3 + rng.below(3) as u8)),
        vulnerable: rng.chance(0.2).then_some(kinds[4 + rng.below(2)]),
        gap: rng.chance(0.3).then_some(gap),
    }
}

#[test]
fn facts_are_read_back_as_said_and_stay_short() {
    let mut rng = Rng::new(1);
    for _ in 0..2000 {
        let facts = random_facts(&mut rng);
        for language in [Language::English, Language::Chinese] {
            let text = describe(&facts, language);
            let heard = read_back(&text);
            assert_eq!(heard.manoeuvre, facts.manoeuvre, "{text}");
            assert_eq!(
                (heard.lead, heard.light, heard.vulnerable),
                (facts.lead, facts.light, facts.vulnerable),
                "{text}"
            );
            assert!(heard.lane.is_none() || heard.lane == facts.lane, "{text}");
            assert!(text.split(' ').count() <= 12, "{text}");
            let agreed = agreement(&heard, &facts);
            assert!(agreed.right == agreed.claims || heard.lane.is_none(), "{text} {agreed:?}");
        }
    }
}

#[test]
fn a_wrong_word_is_counted() {
    let truth = read_back("lane 2 of 3, red light, slower truck ahead, stop");
    let said = read_back("lane 2 of 3, green light, slower car ahead, stop");
    let agreed = agreement(&said, &truth);
    assert_eq!((agreed.claims, agreed.right), (4, 2));
    assert_eq!(agreed.parts, [Some(true), Some(false), Some(false), Some(true)]);
    let silent = agreement(&Facts::default(), &truth);
    assert_eq!(silent.right, 0);
    assert_eq!(silent.claims, 4);
}

#[test]
fn opposite_words_share_a_world() {
    let groups: [&[&str]; 3] = [
        &[
            "take the left lane",
            "take the right lane",
            "slow down to 30",
            "speed up",
            "pull over",
            "stop",
            "follow the truck",
            "keep your lane",
            "向左变道",
        ],
        &["turn left", "turn right", "go straight", "在前面路口左转"],
        &["drive on", "继续行驶"],
    ];
    for group in groups {
        for seed in 0..4 {
            let episode = |text: &str| {
                generate(seed, &EpisodeOptions { text: Some(text.to_owned()), ..EpisodeOptions::default() })
            };
            let first = episode(group[0]);
            for text in &group[1..] {
                let other = episode(text);
                assert_eq!(first.world.ego(), other.world.ego(), "{text}");
                assert_eq!(first.world.actors(), other.world.actors(), "{text}");
                assert_eq!(first.world.scenario(), other.world.scenario(), "{text}");
                assert_eq!(&other.task.text, text);
            }
        }
    }
}

#[test]
fn worlds_suit_the_words() {
    for seed in 0..12 {
        let episode = |text: &str| {
            generate(seed, &EpisodeOptions { text: Some(text.to_owned()), ..EpisodeOptions::default() })
        };
        let lanes = episode("take the left lane");
        let seen = surroundings(&lanes.world, &lanes.task.route).expect("on a lane");
        assert!(seen.left.exists && seen.right.exists, "seed {seed}: {:?}", seen.lane);
        assert!(lanes.task.hint(&lanes.world).route_point_m.is_none());
        let follow = episode("follow the truck");
        let seen = surroundings(&follow.world, &follow.task.route).expect("on a lane");
        assert_eq!(seen.lead.map(|lead| lead.actor.kind), Some(ActorKind::Truck), "seed {seed}");
        assert!(follow.task.hint(&follow.world).route_point_m.is_some());
        let routes: Vec<_> =
            ["turn left", "turn right", "go straight"].iter().map(|text| episode(text)).collect();
        for turn in &routes {
            // Where a light is red at first, longer than the 40 s of an open way.
            assert!((15.0..=90.0).contains(&turn.task.duration_s));
            assert!(turn.task.route.len() >= 2);
        }
        assert_ne!(routes[0].task.route, routes[1].task.route);
    }
}

/// A plan that keeps the speed and ends a few seconds ahead, so far left of the lane's centre.
fn ends_beside(episode: &Episode, left_m: f64) -> Trajectory {
    let (ego, seen) = (episode.world.ego(), surroundings(&episode.world, &episode.task.route));
    let seen = seen.expect("on a lane");
    let s_m = seen.s_m + 30.0;
    let heading_rad = seen.path.line.heading_at(s_m);
    let at = seen.path.line.at(s_m) + Point::polar(left_m, heading_rad + std::f64::consts::FRAC_PI_2);
    let point = TrajectoryPoint {
        t_s: ego.t_s + 3.0,
        x_m: at.x,
        y_m: at.y,
        heading_rad,
        speed_mps: ego.speed_mps,
        acceleration_mps2: 0.0,
        curvature_per_m: 0.0,
    };
    Trajectory { points: vec![point] }
}

#[test]
fn a_change_of_lanes_needs_a_lane_on_that_side() {
    for seed in 0..8 {
        let episode = |text: &str, kind| {
            let text = Some(text.to_owned());
            generate(seed, &EpisodeOptions { text, kind, ..EpisodeOptions::default() })
        };
        let said = |episode: &Episode, left_m| {
            let plan = ends_beside(episode, left_m);
            facts(&episode.world, &episode.task, Some(&plan)).manoeuvre
        };
        let between = episode("take the left lane", None);
        assert_eq!(said(&between, 1.8), Some(Manoeuvre::ChangeLeft), "seed {seed}");
        assert_eq!(said(&between, -1.8), Some(Manoeuvre::ChangeRight), "seed {seed}");
        let single = episode("drive on", Some(RoadKind::Rural));
        for left_m in [1.8, -1.8] {
            let said = said(&single, left_m);
            let change = [Some(Manoeuvre::ChangeLeft), Some(Manoeuvre::ChangeRight)].contains(&said);
            assert!(!change, "seed {seed}: {said:?} where there is one lane");
        }
        assert_eq!(said(&episode("pull over", Some(RoadKind::Rural)), -1.8), Some(Manoeuvre::PullOver));
    }
}

#[test]
fn perception_is_bounded_and_named() {
    for seed in 0..20 {
        let episode = generate(seed, &EpisodeOptions::default());
        let numbers = perception(&episode.world, &episode.task.route);
        for ((name, _), number) in PERCEPTION.iter().zip(numbers) {
            assert!(number.is_nan() || number.abs() <= 6.0, "{name}: {number}");
        }
        let lanes = numbers[9] + numbers[10] + 1.0;
        assert!((1.0..=7.0).contains(&lanes) && lanes.fract() == 0.0, "seed {seed}: {lanes} lanes");
        let speed_mps = f64::from(numbers[31] * PERCEPTION[31].1);
        assert!((speed_mps - episode.world.ego().speed_mps).abs() < 1e-4, "seed {seed}: {speed_mps} m/s");
        assert!(!numbers[0].is_nan(), "seed {seed}: the ego vehicle starts in a lane");
        assert!(numbers[0].abs() < 2.0 && numbers[1].abs() < 1.7, "seed {seed}: {:?}", &numbers[..2]);
    }
}

#[test]
fn goals_by_hindsight_hold_for_what_they_were_made_of() {
    let mut rng = Rng::new(5);
    for seed in 0..10 {
        let options = EpisodeOptions { kind: Some(RoadKind::DenseHighway), ..EpisodeOptions::default() };
        let episode = generate(seed, &options);
        let roads = &episode.world.scenario().roads;
        for _ in 0..40 {
            let shape = random_shape(&mut rng);
            let goal = goal_from_future(roads, episode.world.ego(), 30, &shape);
            assert!(goal.reached(30, episode.world.ego(), roads), "{shape:?} {goal:?}");
            let goals = with_goal(&episode, goal, &mut rng);
            assert_eq!(goals.task.instruction, Instruction::ReachGoal);
            assert!(goals.task.hint(&goals.world).time_window_s.is_some());
        }
    }
}

#[test]
fn goals_ahead_are_ahead_and_need_no_miracle() {
    let (mut rng, mut found) = (Rng::new(8), 0);
    for seed in 0..60 {
        let episode = generate(seed, &EpisodeOptions::default());
        let (world, route) = (&episode.world, &episode.task.route);
        let Some(goal) = goal_ahead(world, route, 12.0, &mut rng) else { continue };
        found += 1;
        let hint = episode.task.hint_to(world, Some(&goal));
        let [first_s, last_s] = hint.time_window_s.expect("every goal has a time");
        assert!(last_s > 0.3 && first_s <= last_s, "seed {seed}: {first_s} to {last_s}");
        let Some([forward_m, left_m]) = hint.position_m else { continue };
        // Boxes are up to 40 m long, and their middle may lie half of that beyond the place that can be reached.
        let fastest_mps = 1.15 * world.ego().speed_mps.max(36.2);
        let needed_mps = (forward_m.hypot(left_m) - 14.0) / last_s;
        let fits = forward_m > -14.0 && needed_mps < fastest_mps;
        assert!(fits, "seed {seed}: {forward_m} {left_m} in {last_s}");
    }
    assert!(found > 45, "{found} of 60");
}

#[test]
fn a_long_lanelet_is_aimed_at_where_driving_on_leads() {
    let options = EpisodeOptions { kind: Some(RoadKind::Highway), ..EpisodeOptions::default() };
    let episode = generate(3, &options);
    let (world, task) = (&episode.world, &episode.task);
    let lanelet = surroundings(world, &task.route).expect("on a lane").lanelet;
    let goal = Goal { steps: [20, 20], regions: vec![Region::Lanelets(vec![lanelet])], ..Goal::default() };
    let [forward_m, left_m] = task.hint_to(world, Some(&goal)).position_m.expect("a place");
    let way_m = 2.0 * world.ego().speed_mps;
    assert!((forward_m - way_m).abs() < 6.0 && left_m.abs() < 3.0, "{forward_m} {left_m}, not {way_m}");
}

#[test]
fn turns_are_the_ways_of_the_junction_ahead() {
    let options =
        EpisodeOptions { instruction: Some(Instruction::Turn(Turn::Left)), ..EpisodeOptions::default() };
    for seed in 0..8 {
        let (episode, ways) = (generate(seed, &options), turns(seed, &options));
        let inside: std::collections::BTreeSet<_> = ways.iter().map(|task| task.route[1]).collect();
        assert_eq!(inside.len(), ways.len(), "seed {seed}");
        assert!(ways.len() >= 2 && ways.iter().all(|task| task.route[0] == episode.task.route[0]));
        for task in &ways {
            assert_eq!(parse(&task.text), Some((task.instruction, task.language)));
        }
    }
    let none = turns(1, &EpisodeOptions { kind: Some(RoadKind::Rural), ..EpisodeOptions::default() });
    assert!(none.is_empty());
}

/// A shoulder ends at the next ramp while the lanes beside it go on: no end of the map, and no lane to change to.
#[test]
fn a_shoulder_is_no_lane_and_its_end_no_end_of_the_road() {
    use ergon_world::road::LaneletKind;
    let (mut shoulders, mut ends) = (0, 0);
    for seed in 0..40 {
        let options =
            EpisodeOptions { instruction: Some(Instruction::ChangeLane(Side::Right)), ..Default::default() };
        let Episode { world, task, .. } = generate(seed, &options);
        let roads = &world.scenario().roads;
        let start = surroundings(&world, &task.route).unwrap().lanelet;
        for side in [Side::Left, Side::Right] {
            assert!(lane_beside(roads, start, side).is_some(), "seed {seed}: no lane to the {side:?}");
        }
        for lanelet in &roads.lanelets {
            let alone = ends_beside_others(roads, lanelet);
            assert!(!alone || !ends_with_the_map(roads, lanelet) && lanelet.successors.is_empty());
            ends += usize::from(ends_with_the_map(roads, lanelet));
            if lanelet.kind == LaneletKind::Shoulder && alone {
                shoulders += 1;
                let left = neighbour(roads, lanelet.id, Side::Left).expect("a lane beside the shoulder");
                assert!(neighbour(roads, left.id, Side::Right).is_some());
                assert!(lane_beside(roads, left.id, Side::Right).is_none());
                let (own, all) = lane_position(roads, left.id);
                assert_eq!(own + 1, all, "seed {seed}: the lane beside a shoulder is the last one");
                assert_eq!(lane_position(roads, lanelet.id), (all, all + 1));
            }
        }
    }
    assert!(shoulders > 10 && ends > 100, "{shoulders} shoulders, {ends} ends of the map");
}

/// Told to follow somebody one has such a one ahead, on roads without lanes to choose from, too.
#[test]
fn there_is_somebody_to_follow() {
    for kind in [RoadKind::Highway, RoadKind::Rural, RoadKind::Roundabout] {
        for seed in 0..10 {
            let options = EpisodeOptions {
                instruction: Some(Instruction::Follow(ActorKind::Bus)),
                kind: Some(kind),
                density: Some(0.0),
                ..Default::default()
            };
            let world = generate(seed, &options).world;
            assert!(world.actors().iter().any(|actor| actor.kind == ActorKind::Bus), "{kind:?} {seed}");
        }
    }
}
