//! `nst-stream bench`.

use serde_json::Value;

use super::{assert_says, folder, refusal, run};

fn json(more: &[&str]) -> Value {
    let folder = folder();
    let args = [&["bench", "-m", "mosaic", "--device", "cpu", "--json"][..], more].concat();
    let out = run(folder.path(), &args);
    assert_eq!(out.status.code(), Some(0), "{}", String::from_utf8_lossy(&out.stderr));
    serde_json::from_slice(&out.stdout).unwrap()
}

#[test]
fn the_figures_fit_each_other() {
    let found = json(&["--size", "32x24", "--batch", "2", "--threads", "1", "--precision", "fp32"]);
    let number = |value: &Value| value.as_f64().filter(|n| *n > 0.0 && n.is_finite()).unwrap();
    let near = |a: f64, b: f64| assert!((a / b - 1.0).abs() < 1e-6, "{a} {b}: {found}");
    for one in [&found, &found["i420"]] {
        // Two frames a pass.
        near(number(&one["fps"]) * number(&one["ms"]), 2000.0);
        assert!(one["repeats"].as_u64().unwrap() >= 3, "{found}");
    }
    // 153,792 multiplications with an addition a pixel.
    let gflop = 2.0 * 2.0 * 153_792.0 * 32.0 * 24.0 / 1e9;
    near(number(&found["gflops"]), gflop / (number(&found["ms"]) / 1e3));
    near(number(&found["share_of_peak"]), number(&found["gflops"]) / number(&found["peak_gflops"]));
    let said =
        ["model", "size", "batch", "precision", "device", "threads"].map(|k| found[k].to_string());
    assert_eq!(said, ["\"mosaic\"", "\"32x24\"", "2", "\"fp32\"", "\"cpu\"", "1"]);
}

#[test]
fn an_odd_size_has_no_i420() {
    let found = json(&["--size", "33x24"]);
    assert!(found["i420"].is_null() && found["fps"].as_f64().unwrap() > 0.0, "{found}");
}

#[test]
fn for_people_there_are_a_few_lines() {
    let folder = folder();
    let args = ["bench", "-m", "mosaic", "--size", "16x16", "--device", "cpu"];
    let out = run(folder.path(), &args);
    let text = String::from_utf8(out.stdout).unwrap();
    assert_says(&text, &["mosaic, 16×16, batch 1", "network alone", "I420 to I420", "GFLOP/s"]);
    assert_eq!((out.status.code(), text.lines().count()), (Some(0), 4), "{text}");
}

#[test]
fn a_program_has_no_arithmetic_that_could_be_counted() {
    let folder = folder();
    let program = super::data("reference-negative.ts");
    let program = program.to_str().unwrap();
    let args = ["bench", "-m", program, "--size", "16x16", "--device", "cpu"];
    assert_says(&refusal(folder.path(), 1, &args), &["reference-negative.ts", "--trust"]);
    let out = run(folder.path(), &[&args[..], &["--trust", "--json"]].concat());
    let found: Value = serde_json::from_slice(&out.stdout).unwrap();
    assert!(found["gflops"].is_null() && found["share_of_peak"].is_null(), "{found}");
    assert!(found["fps"].as_f64().unwrap() > 0.0 && found["precision"].is_null(), "{found}");
}

#[test]
fn what_cannot_be_measured_is_refused_with_words() {
    let folder = folder();
    let with = |code, more: &[&str]| {
        let args = [&["bench", "-m", "mosaic", "--device", "cpu"][..], more].concat();
        if code == 1 {
            return refusal(folder.path(), code, &args);
        }
        let out = run(folder.path(), &args);
        assert_eq!(out.status.code(), Some(code), "{args:?}");
        String::from_utf8(out.stderr).unwrap()
    };
    assert_says(&with(2, &["--size", "640"]), &["'640' is not a size; write 1280x720"]);
    assert_says(&with(2, &["--size", "64x64", "--batch", "0"]), &["--batch", "'0'"]);
    assert_says(&with(2, &[]), &["--size"]);
    assert_says(&with(1, &["--size", "64x64", "--precision", "fp16"]), &["fp16 needs a GPU"]);
    let huge = ["--size", "8192x8192", "--batch", "1024"];
    assert_says(&with(1, &huge), &["not enough memory for 1024 × 8192×8192", "--size or --batch"]);
    let unknown = ["bench", "-m", "mozaic", "--size", "64x64"];
    assert_says(&refusal(folder.path(), 1, &unknown), &["'mozaic'", "shipped models are mosaic"]);
}
