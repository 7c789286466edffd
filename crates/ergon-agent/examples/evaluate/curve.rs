//! A risk-coverage curve as a picture.

use std::fmt::Write;

/// Risk (part of the shown claims that are not supported) over coverage (part of all claims that are shown), most probable
/// claims first, as an SVG.
pub(crate) fn risk_coverage(probabilities: &[f64], y: &[bool]) -> String {
    let mut order: Vec<usize> = (0..y.len()).collect();
    order.sort_by(|a, b| probabilities[*b].total_cmp(&probabilities[*a]));
    let (left, top, width, height) = (60.0, 20.0, 560.0, 300.0);
    let at = |coverage: f64, risk: f64| (left + width * coverage, top + height * (1.0 - risk / 0.8));
    let mut svg = String::new();
    let mut line = |text: String| {
        let _ = writeln!(svg, "{text}");
    };
    line(r##"<svg xmlns="http://www.w3.org/2000/svg" width="660" height="380" font-family="sans-serif" font-size="13">"##.to_string());
    line(r##"<rect width="660" height="380" fill="#fff"/>"##.to_string());
    for step in 0..=4 {
        let risk = 0.2 * f64::from(step);
        let (x, y) = at(0.0, risk);
        line(format!(
            r##"<path d="M{x} {y:.1}H{}" stroke="#ddd"/><text x="{}" y="{:.1}" text-anchor="end">{risk:.1}</text>"##,
            left + width,
            x - 8.0,
            y + 4.0
        ));
    }
    for step in 0..=5 {
        let coverage = 0.2 * f64::from(step);
        let (x, _) = at(coverage, 0.0);
        line(format!(
            r##"<text x="{x:.1}" y="{}" text-anchor="middle">{coverage:.1}</text>"##,
            top + height + 20.0
        ));
    }
    let (mut wrong, mut points, mut perfect) = (0.0, String::new(), String::new());
    let positive = y.iter().filter(|y| **y).count() as f64;
    for (shown, row) in order.iter().enumerate() {
        wrong += f64::from(u8::from(!y[*row]));
        let count = (shown + 1) as f64;
        let coverage = count / y.len() as f64;
        let (px, py) = at(coverage, wrong / count);
        let _ = write!(points, "{px:.1},{py:.1} ");
        let (px, py) = at(coverage, (count - positive).max(0.0) / count);
        let _ = write!(perfect, "{px:.1},{py:.1} ");
    }
    let base = 1.0 - positive / y.len() as f64;
    let (x, y_base) = at(0.0, base);
    line(format!(
        r##"<path d="M{x} {y_base:.1}H{}" stroke="#999" stroke-dasharray="4 4"/><text x="{}" y="{:.1}" fill="#666">shown at random</text>"##,
        left + width,
        left + 380.0,
        y_base - 6.0
    ));
    let (x, y_limit) = at(0.0, 0.15);
    line(format!(
        r##"<path d="M{x} {y_limit:.1}H{}" stroke="#2a7" stroke-dasharray="2 4"/><text x="{}" y="{:.1}" fill="#2a7">risk 0.15</text>"##,
        left + width,
        left + 500.0,
        y_limit - 6.0
    ));
    line(format!(r##"<polyline points="{perfect}" fill="none" stroke="#bbb" stroke-width="1.5"/>"##));
    line(format!(r##"<polyline points="{points}" fill="none" stroke="#06c" stroke-width="2"/>"##));
    line(format!(
        r##"<text x="{}" y="365" text-anchor="middle">coverage: part of the claims shown as supported</text>"##,
        left + width / 2.0
    ));
    line(r##"<text x="16" y="170" text-anchor="middle" transform="rotate(-90 16 170)">risk: part of them that is not</text>"##.to_string());
    line("</svg>".to_string());
    svg
}
