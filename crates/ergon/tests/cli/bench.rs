//! `ergon bench`.

use crate::support::{Fixture, Parts, assert_fails, ergon, json_of, stderr, stdout};

#[test]
fn the_fixed_fields_are_there() {
    let fixture = Fixture::new(Parts::WEIGHTS);
    let found = json_of(&[
        "bench",
        &fixture.model(),
        "--prefill",
        "16",
        "--decode",
        "4",
        "--depth",
        "8",
        "--repeat",
        "2",
        "--memory",
        "2GiB",
        "--json",
    ]);
    for rate in ["prefill_tokens_per_s", "decode_tokens_per_s"] {
        let value = |name: &str| found[rate][name].as_f64().unwrap();
        assert!(
            value("min") > 0.0 && value("min") <= value("median") && value("median") <= value("max"),
            "{found}"
        );
    }
    assert!(found["bytes_per_token"].as_f64().unwrap() > 1e6, "{found}");
    assert!(found["bandwidth_gb_s"].as_f64().unwrap() > 0.1, "{found}");
    assert!(found["fraction_of_bandwidth"].as_f64().unwrap() > 0.0, "{found}");
    assert!(found["fraction_of_peak_compute"].as_f64().unwrap() > 0.0, "{found}");
    assert_eq!(found["cache"]["hit_rate"], 1.0);
    assert_eq!(found["cache"]["bytes_read"], 0);
}

#[test]
fn a_person_gets_lines() {
    let fixture = Fixture::new(Parts::WEIGHTS);
    let output = ergon(&["bench", &fixture.model(), "--prefill", "8", "--decode", "2", "--repeat", "1"]);
    assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
    assert!(stdout(&output).contains("tokens/s"), "{}", stdout(&output));
}

#[test]
fn what_does_not_fit_the_context_is_told() {
    let fixture = Fixture::new(Parts::WEIGHTS);
    let said = assert_fails(&["bench", &fixture.model(), "--depth", "500", "--prefill", "100"]);
    assert!(said.contains("512"), "{said}");
}
