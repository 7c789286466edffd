//! Reacting traffic keeps out of its own way, is the same for the same seed and looks ahead exactly.

use ergon_types::{ActorKind, ActorState, Control, VehicleState};
use ergon_world::episode::{Episode, EpisodeOptions, generate};
use ergon_world::generate::RoadKind;
use ergon_world::geometry::{OrientedBox, Point};
use ergon_world::task::{lane_path, surroundings};
use ergon_world::traffic::{Idm, Mobil, Prospect};
use ergon_world::world::World;

fn shape(actor: &ActorState) -> OrientedBox {
    OrientedBox {
        center: Point::new(actor.x_m, actor.y_m),
        heading_rad: actor.heading_rad,
        length_m: actor.length_m,
        width_m: actor.width_m,
    }
}

/// An ego vehicle that is carried along its lane by the traffic's own driver model.
fn carry(world: &mut World, route: &[i64]) {
    let ego = *world.ego();
    let Some(seen) = surroundings(world, route) else { return };
    let idm = Idm { desired_speed_mps: 14.0, ..Idm::default() };
    let mut a = idm.acceleration(ego.speed_mps, 14.0, seen.lead.map(|lead| (lead.gap_m, lead.speed_mps)));
    if let Some((color, gap_m)) = seen.light
        && color != ergon_types::LightColor::Green
        && gap_m > -1.0
    {
        a = a.min(idm.acceleration(ego.speed_mps, 14.0, Some((gap_m + 1.5, 0.0))));
    }
    let v = (ego.speed_mps + 0.1 * a).max(0.0);
    let path = lane_path(&world.scenario().roads, seen.lanelet, 0.0, route, [10.0, 200.0]).expect("a lane");
    let s = path.line.project(Point::new(ego.x_m, ego.y_m)).s_m + v * 0.1;
    let at = path.line.at(s);
    world.displace(VehicleState {
        x_m: at.x,
        y_m: at.y,
        heading_rad: path.line.heading_at(s),
        speed_mps: v,
        acceleration_mps2: a,
        ..ego
    });
}

/// Pairs of road users who touch, once each.
fn drive(episode: &Episode, seconds: f64) -> (Vec<(f64, ActorState, ActorState)>, usize) {
    let mut world = episode.world.clone();
    let mut found: Vec<(f64, ActorState, ActorState)> = Vec::new();
    let mut most = 0;
    for _ in 0..(seconds * 10.0) as usize {
        carry(&mut world, &episode.task.route);
        let ego = *world.ego();
        for _ in 0..10 {
            world.step(Control::default());
        }
        world.displace(ego);
        let actors = world.actors();
        most = most.max(actors.iter().filter(|a| a.speed_mps > 0.0).count());
        for (i, a) in actors.iter().enumerate() {
            for b in &actors[i + 1..] {
                let near = (a.x_m - b.x_m).hypot(a.y_m - b.y_m) < 20.0;
                let walkers = a.kind == ActorKind::Pedestrian && b.kind == ActorKind::Pedestrian;
                if !near || walkers || !shape(a).intersects(&shape(b)) {
                    continue;
                }
                if found.iter().all(|(_, c, d)| (c.id, d.id) != (a.id, b.id)) {
                    found.push((world.t_s(), *a, *b));
                }
            }
        }
    }
    (found, most)
}

#[test]
#[ignore = "a survey: prints who hits whom over many seeds"]
fn survey_of_collisions() {
    let seeds = 100;
    let mut total = 0;
    for kind in RoadKind::ALL {
        let start = std::time::Instant::now();
        let (mut hits, mut most) = (0, 0);
        for seed in 200..200 + seeds {
            let episode =
                generate(seed, &EpisodeOptions { kind: Some(kind), calm: true, ..EpisodeOptions::default() });
            let (found, n) = drive(&episode, 30.0);
            most = most.max(n);
            hits += usize::from(!found.is_empty());
            for (t, a, b) in found.iter().take(2) {
                println!(
                    "{kind:?} {seed} t={t:.1} {} {} ({:.1},{:.1},{:.2}) v={:.1} | {} {} ({:.1},{:.1},{:.2}) v={:.1}",
                    a.id,
                    a.kind,
                    a.x_m,
                    a.y_m,
                    a.heading_rad,
                    a.speed_mps,
                    b.id,
                    b.kind,
                    b.x_m,
                    b.y_m,
                    b.heading_rad,
                    b.speed_mps
                );
            }
        }
        total += hits;
        println!(
            "{kind:?}: {hits}/{seeds} with collisions, most moving {most}, {:.1} x real time",
            30.0 * seeds as f64 / start.elapsed().as_secs_f64()
        );
    }
    println!("total {total}");
}

#[test]
fn nobody_hits_anybody() {
    for (kind, plain) in RoadKind::ALL.map(|kind| (kind, false)).into_iter().chain([(RoadKind::Urban, true)])
    {
        for seed in 100..112 {
            let options = EpisodeOptions { kind: Some(kind), plain, calm: true, ..EpisodeOptions::default() };
            let (found, _) = drive(&generate(seed, &options), 20.0);
            assert!(found.is_empty(), "{kind:?} {seed} plain {plain}: {:?}", found[0]);
        }
    }
}

#[test]
fn those_who_are_asked_for_are_there() {
    for kind in [ActorKind::Motorcycle, ActorKind::Bicycle, ActorKind::Truck, ActorKind::Bus] {
        for road in [RoadKind::Rural, RoadKind::Urban, RoadKind::Highway] {
            let ahead = (0..10).filter(|seed| {
                let options =
                    EpisodeOptions { kind: Some(road), lead: Some(kind), ..EpisodeOptions::default() };
                let Episode { world, task, .. } = generate(*seed, &options);
                let seen = surroundings(&world, &task.route).expect("on a lane");
                seen.lead.is_some_and(|lead| lead.actor.kind == kind)
            });
            let ahead = ahead.count();
            // A cyclist is put so far ahead of who is fast that others may be between, and out of sight on a highway.
            let least = match (kind, road) {
                (ActorKind::Bicycle, RoadKind::Highway) => 0,
                (ActorKind::Bicycle, _) => 5,
                _ => 7,
            };
            assert!(ahead >= least, "{kind} on {road:?}: ahead in {ahead} of 10");
        }
    }
    let two_wheelers = |others: Option<f64>| {
        let count = |seed| {
            let options = EpisodeOptions { kind: Some(RoadKind::Urban), others, ..EpisodeOptions::default() };
            let world = generate(seed, &options).world;
            let kinds = world.actors().iter().map(|actor| actor.kind);
            kinds.filter(|kind| matches!(kind, ActorKind::Motorcycle | ActorKind::Bicycle)).count()
        };
        (0..30).map(count).sum::<usize>()
    };
    let (usual, many) = (two_wheelers(None), two_wheelers(Some(3.0)));
    assert!(many > 2 * usual, "{usual} as usual, {many} with three times as many");
}

#[test]
fn followers_settle_at_the_equilibrium_gap() {
    let idm = Idm { desired_speed_mps: 25.0, ..Idm::default() };
    for lead_mps in [5.0, 12.0, 20.0] {
        let (mut v, mut gap) = (15.0, 60.0);
        for _ in 0..20_000 {
            let before = v;
            v = (v + 0.02 * idm.acceleration(v, 40.0, Some((gap, lead_mps)))).max(0.0);
            gap += 0.02 * (lead_mps - 0.5 * (before + v));
        }
        let expected = (2.0 + 1.4 * lead_mps) / (1.0 - (lead_mps / 25.0_f64).powi(4)).sqrt();
        assert!((gap - expected).abs() < 0.02, "{lead_mps}: {gap} against {expected}");
        assert!((idm.equilibrium_gap_m(lead_mps) - expected).abs() < 1e-9);
    }
}

#[test]
fn lane_changes_are_safe_first_and_then_pay() {
    let mobil = Mobil::default();
    let tempting = Prospect { own_mps2: [-2.0, 1.0], ..Prospect::default() };
    assert!(mobil.wants(&tempting));
    assert!(!mobil.wants(&Prospect { new_follower_mps2: [0.0, -3.1], ..tempting }));
    assert!(!mobil.wants(&Prospect { own_mps2: [-4.0, -3.1], ..tempting }));
    assert!(mobil.wants(&Prospect { new_follower_mps2: [0.0, -2.9], ..tempting }));
    assert!(!mobil.wants(&Prospect { own_mps2: [0.5, 0.55], ..tempting }));
    let polite = Mobil { politeness: 1.0, ..mobil };
    assert!(!polite.wants(&Prospect {
        own_mps2: [0.0, 1.0],
        new_follower_mps2: [0.0, -1.5],
        ..Prospect::default()
    }));
}

#[test]
fn the_same_seed_moves_everyone_the_same_and_forecasts_hold() {
    for (seed, kind) in RoadKind::ALL.into_iter().enumerate() {
        let options = EpisodeOptions { kind: Some(kind), ..EpisodeOptions::default() };
        let (mut a, mut b) = (generate(seed as u64, &options).world, generate(seed as u64, &options).world);
        for k in 0..400 {
            let forecasts = (k == 153).then(|| a.traffic().predict(a.scenario(), a.ego(), None, [2.0, 0.1]));
            if let Some(forecasts) = forecasts {
                let mut future = a.clone();
                for step in 1..=20 {
                    for _ in 0..10 {
                        future.step(Control::default());
                    }
                    for actor in future.actors() {
                        let forecast =
                            forecasts.iter().find(|forecast| forecast.id == actor.id).expect("foreseen");
                        let there = forecast.states[step].expect("foreseen then");
                        // The ego vehicle rolls with its wheels turned; the forecast has it go straight.
                        let off = (there.x_m - actor.x_m).hypot(there.y_m - actor.y_m);
                        assert!(off < 0.6, "{kind:?} {step} {off}");
                    }
                }
            }
            a.step(Control::default());
            b.step(Control::default());
            assert_eq!(a.actors(), b.actors(), "{kind:?} at {k}");
        }
    }
}
