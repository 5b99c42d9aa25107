//! Metrics and probes.

use std::io::Write;
use std::process::{Command, Stdio};

use crate::http::get;
use crate::run::Run;

/// The value of a sample.
fn value(metrics: &str, name: &str) -> f64 {
    let of = |line: &str| line.strip_prefix(name)?.strip_prefix(' ')?.parse().ok();
    metrics.lines().find_map(of).unwrap_or_else(|| panic!("no {name} in {metrics}"))
}

#[test]
fn metrics_are_as_prometheus_wants_them_and_count() {
    let run = Run::start(&["-o", "rtsp://127.0.0.1:0/art", "-o", "out.mkv"]).ready();
    run.until("some frames", |run| {
        value(&get(&run.host, "/metrics").text(), "nst_stream_frames_painted_total") > 20.0
    });
    let answer = get(&run.host, "/metrics");
    assert!(answer.header("content-type").starts_with("text/plain; version=0.0.4"));
    let metrics = answer.text();
    let promtool = concat!(env!("CARGO_MANIFEST_DIR"), "/target/servers/usr/bin/promtool");
    let mut check = Command::new(promtool)
        .args(["check", "metrics"])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap_or_else(|error| panic!("{promtool}: {error}; make test unpacks it"));
    check.stdin.take().unwrap().write_all(metrics.as_bytes()).unwrap();
    let checked = check.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&checked.stderr).into_owned();
    assert!(checked.status.success() && said.is_empty(), "{said}{metrics}");

    let captured = value(&metrics, "nst_stream_frames_captured_total");
    let painted = value(&metrics, "nst_stream_frames_painted_total");
    assert!(captured >= painted && painted > 20.0, "{metrics}");
    let of = |stage: &str| {
        value(&metrics, &format!("nst_stream_stage_seconds_count{{stage=\"{stage}\"}}"))
    };
    assert!(of("capture") > 20.0 && of("network") > 20.0 && of("output") > 20.0, "{metrics}");
    assert!(value(&metrics, "nst_stream_delay_seconds_count") > 20.0);
    assert!(value(&metrics, "nst_stream_output_frames_total{output=\"out.mkv\"}") > 10.0);
    assert_eq!(value(&metrics, "nst_stream_ready"), 1.0);
    assert_eq!(value(&metrics, "nst_stream_viewers"), 0.0);
    assert!(value(&metrics, "process_resident_memory_bytes") > 1e7);
    run.ends();
}

#[test]
fn the_dashboard_asks_for_metrics_that_are_there() {
    let run = Run::start(&["-o", "rtsp://127.0.0.1:0/art"]).ready();
    let metrics = get(&run.host, "/metrics").text();
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/packaging/grafana/nst-stream.json");
    let dashboard = std::fs::read_to_string(path).unwrap();
    let dashboard: serde_json::Value = serde_json::from_str(&dashboard).unwrap();
    let text = dashboard.to_string();
    let is_word = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let asked: Vec<&str> = text
        .split(|c| !is_word(c))
        .filter(|word| word.starts_with("nst_stream_") || word.starts_with("process_"))
        .collect();
    assert!(asked.len() > 10, "{asked:?}");
    // What a GPU has is checked where it is written.
    for name in asked.into_iter().filter(|name| !name.starts_with("nst_stream_gpu_")) {
        let found = metrics
            .lines()
            .any(|line| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{'])));
        assert!(found, "{name} is not in the metrics");
    }
    run.ends();
}

#[test]
fn it_is_ready_while_frames_flow_and_alive_before() {
    // A camera that is not there yet.
    let run = Run::of(&[
        "-m",
        "mosaic-lite",
        "-i",
        "rtsp://127.0.0.1:9/none",
        "--retries",
        "1000",
        "--control",
        "127.0.0.1:0",
    ]);
    assert_eq!(get(&run.host, "/healthz").status, 200);
    let answer = get(&run.host, "/readyz");
    assert_eq!(answer.status, 503);
    assert!(answer.json()["error"].as_str().unwrap().contains("not open yet"), "{}", answer.text());
    assert_eq!(get(&run.host, "/api/v1/state").json()["source"], serde_json::Value::Null);
    run.live.interrupt();
}
