//! Solves CommonRoad scenarios with the expert and writes solution files for the referee: `cargo run --release -p
//! ergon-world --example expert_scenarios -- SCENARIOS_DIR SOLUTIONS_DIR [NAME_CONTAINS]`.

use std::path::{Path, PathBuf};
use std::time::Instant;

use ergon_world::{commonroad, expert};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut args = std::env::args().skip(1);
    let (Some(scenarios), Some(solutions)) = (args.next(), args.next()) else {
        return Err("usage: expert_scenarios SCENARIOS_DIR SOLUTIONS_DIR [NAME_CONTAINS]".into());
    };
    let part = args.next().unwrap_or_default();
    std::fs::create_dir_all(&solutions)?;
    let mut files: Vec<PathBuf> = Vec::new();
    for entry in std::fs::read_dir(scenarios)? {
        let path = entry?.path();
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        if name.ends_with(".xml") && name.contains(&part) {
            files.push(path);
        }
    }
    files.sort();
    let mut solved = 0;
    for file in &files {
        solved += usize::from(solve(file, Path::new(&solutions))?);
    }
    println!("{solved} of {}", files.len());
    Ok(())
}

fn solve(file: &Path, solutions: &Path) -> Result<bool, Box<dyn std::error::Error>> {
    let scenario = commonroad::read(&std::fs::read_to_string(file)?)?;
    let start = Instant::now();
    let answer = expert::solve(&scenario);
    let seconds = start.elapsed().as_secs_f64();
    match answer {
        Ok(found) => {
            let steps = found.states.len() - 1;
            let margin = found.margin_m;
            println!(
                "{}: {steps} steps, margin {margin} m, {} searches, {seconds:.1} s",
                scenario.id, found.searches
            );
            let text = commonroad::solution(&scenario, &found.states);
            std::fs::write(solutions.join(format!("{}.xml", scenario.id)), text)?;
            Ok(true)
        }
        Err(unsolved) => {
            println!("{}: {unsolved}; {seconds:.1} s", scenario.id);
            Ok(false)
        }
    }
}
