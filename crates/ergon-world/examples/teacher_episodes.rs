//! Drives generated episodes with the teacher and prints how they end: `cargo run --release -p ergon-world --example
//! teacher_episodes -- FIRST_SEED COUNT [ROAD_KIND] [plain] [ACTOR_KIND]`; the actor drives ahead.

use std::collections::BTreeMap;
use std::time::Instant;

use ergon_types::ActorKind;
use ergon_world::episode::{self, EpisodeOptions};
use ergon_world::expert::Expert;
use ergon_world::generate::RoadKind;
use ergon_world::geometry::{OrientedBox, Point};
use ergon_world::task::{Order, perceived_offset_m, perception, road_ends};
use ergon_world::{follow, vehicle};

fn main() {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let said = |word: &str| words.iter().any(|said| said == word);
    let options = EpisodeOptions {
        kind: RoadKind::ALL.into_iter().find(|kind| said(kind.name())),
        plain: said("plain"),
        lead: ActorKind::VEHICLES.into_iter().find(|kind| said(&kind.to_string())),
        ..EpisodeOptions::default()
    };
    let mut args = words.iter().filter_map(|arg| arg.parse::<u64>().ok());
    let (first, count) = (args.next().unwrap_or(0), args.next().unwrap_or(50));
    let mut ends: BTreeMap<String, usize> = BTreeMap::new();
    let (mut plans, mut planning_s, mut simulated_s, mut simulating_s) = (0u32, 0.0, 0.0, 0.0);
    for seed in first..first + count {
        let episode = episode::generate(seed, &options);
        let mut world = episode.world.clone();
        let mut expert = Expert::new();
        let mut order = Order::new(&episode.task);
        let (mut end, mut lost_s) = ("fine".to_owned(), 0.0);
        while world.t_s() < episode.task.duration_s && !road_ends(&world, &order.task().route) {
            let seen = perception(&world, &order.task().route);
            order.update(world.ego(), perceived_offset_m(&seen));
            let start = Instant::now();
            let plan = expert.plan(&world, order.task());
            planning_s += start.elapsed().as_secs_f64();
            plans += 1;
            let start = Instant::now();
            for _ in 0..2 {
                let control = follow::control(world.ego(), &plan.trajectory);
                world.hold(control, follow::CONTROL_S);
            }
            simulating_s += start.elapsed().as_secs_f64();
            simulated_s += 0.2;
            let own = vehicle::footprint(world.ego());
            let hit = world.actors().iter().find(|actor| {
                let center = Point::new(actor.x_m, actor.y_m);
                let (heading_rad, length_m, width_m) = (actor.heading_rad, actor.length_m, actor.width_m);
                own.intersects(&OrientedBox { center, heading_rad, length_m, width_m })
            });
            if let Some(actor) = hit {
                let at = Point::new(actor.x_m, actor.y_m).to_frame(own.center, own.heading_rad);
                end = format!(
                    "hit {} {}",
                    actor.kind,
                    if at.x > 1.5 {
                        "ahead"
                    } else if at.x < -1.5 {
                        "behind"
                    } else {
                        "beside"
                    }
                );
                break;
            }
            let on_road = world.scenario().roads.is_road(own.center);
            lost_s = if on_road { 0.0 } else { lost_s + 0.2 };
            if lost_s > 0.5 {
                end = "off road".to_owned();
                break;
            }
        }
        let done = order.task().instruction != episode.task.instruction;
        if end != "fine" {
            println!(
                "{seed} {} {:?} \"{}\" t {:.1} v {:.1}: {end}",
                episode.kind.name(),
                episode.task.instruction,
                episode.task.text,
                world.t_s(),
                world.ego().speed_mps
            );
        }
        *ends.entry(end).or_default() += 1;
        let told = format!("{:?} done {done}", episode.task.instruction);
        if told.contains("ChangeLane") || told.contains("Turn") {
            *ends.entry(told).or_default() += 1;
        }
    }
    println!("{ends:#?}");
    println!(
        "{:.0} plans/s, world {:.0} x real time",
        f64::from(plans) / planning_s,
        simulated_s / simulating_s
    );
}
