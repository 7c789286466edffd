//! Progress bars on standard error: on a terminal only, nothing in a pipe.

use std::time::Duration;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar over bytes with speed and remaining time.
pub(crate) fn bytes(what: &str, total: u64) -> ProgressBar {
    bar(
        what,
        total,
        "{msg:<28} [{bar:30}] {binary_bytes:>11}/{binary_total_bytes:<11} {binary_bytes_per_sec:>13} {eta:>5}",
    )
}

/// A bar over a number of things.
pub(crate) fn items(what: &str, total: u64) -> ProgressBar {
    bar(what, total, "{msg:<28} [{bar:30}] {pos:>7}/{len:<7} {per_sec:>12} {eta:>5}")
}

/// A spinner for work whose length is unknown.
pub(crate) fn spinner(what: &str) -> ProgressBar {
    let spinner = ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr());
    spinner.set_message(what.to_string());
    // An `indicatif` bar on a stream that is no terminal draws nothing, but its ticking thread would still run.
    if !spinner.is_hidden() {
        spinner.enable_steady_tick(Duration::from_millis(100));
    }
    spinner
}

fn bar(what: &str, total: u64, template: &str) -> ProgressBar {
    let bar = ProgressBar::with_draw_target(Some(total), ProgressDrawTarget::stderr());
    if let Ok(style) = ProgressStyle::with_template(template) {
        bar.set_style(style.progress_chars("=> "));
    }
    bar.set_message(what.to_string());
    bar
}
