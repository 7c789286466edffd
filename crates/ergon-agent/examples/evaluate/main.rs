//! Measures the evidence checks, and fits their models: `evaluate VERB DIR [PICTURE]`, where DIR holds
//! `wice-claim-dev.jsonl` and `ramdocs-first-250.jsonl`.
//!
//! `wice` and `ramdocs` print the tables of `docs/evidence.md` (`wice` writes the risk-coverage curve to PICTURE), `fit` and
//! `fit-answers` the source files of the shipped models, `words` that of the word counts, `explore` figures for other settings.

mod boost;
mod curve;
mod data;
mod explore;
mod measure;
mod ramdocs;
mod report;
mod table;
mod wice;
mod words;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let usage = "usage: evaluate wice|ramdocs|fit|fit-answers|words|explore DIR [PICTURE]";
    let (Some(verb), Some(folder)) = (arguments.first(), arguments.get(1)) else {
        eprintln!("{usage}");
        std::process::exit(2);
    };
    match verb.as_str() {
        "wice" => report::report(folder, arguments.get(2).map(String::as_str)),
        "ramdocs" => ramdocs::report(folder),
        "fit" => wice::fit(folder),
        "fit-answers" => ramdocs::fit(folder),
        "words" => words::words(folder),
        "explore" => explore::explore(folder),
        _ => {
            eprintln!("{usage}");
            std::process::exit(2);
        }
    }
}
