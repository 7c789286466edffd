//! A fitted model as a source file.

use super::boost::Fitted;

/// Prints the file: how it was made, then the numbers.
pub(crate) fn print(verb: &str, fitted: &Fitted, how: &[String], tree: &str) {
    println!(
        "//! The fitted model. Written by `cargo run --release -p ergon-agent --example evaluate -- {verb} DIR`; do not edit."
    );
    println!("//!");
    how.iter().for_each(|line| println!("//! {line}"));
    println!("\nuse {tree};\n\n/// Sum for no tree.\npub(super) const BASE: f32 = {:?};", fitted.base);
    println!("/// Slope and offset that make the sum a probability.");
    println!("pub(super) const CALIBRATION: [f32; 2] = {:?};", fitted.calibration);
    println!("\nconst fn tree(features: [u8; 3], thresholds: [f32; 3], leaves: [f32; 4]) -> Tree {{");
    println!("    Tree {{ features, thresholds, leaves }}\n}}\n");
    println!("/// The trees.\n#[rustfmt::skip]\npub(super) const TREES: &[Tree] = &[");
    let finite = |value: &f32| if *value > 1e30 { "f32::MAX".to_string() } else { format!("{value:?}") };
    for tree in &fitted.trees {
        let thresholds: Vec<String> = tree.thresholds.iter().map(finite).collect();
        println!("    tree({:?}, [{}], {:?}),", tree.features, thresholds.join(", "), tree.leaves);
    }
    println!("];");
}
