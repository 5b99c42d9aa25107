//! A training step against the same step in PyTorch: seconds and peak memory.
//!
//! `PYTHON=/tmp/reference/bin/python cargo bench --bench train -- [--batch 4] [--size 256]
//! [--precision fp32] [--threads 2] [--turns 3] [--write BENCHMARKS.md]`; scripts/train_reference.py
//! says which packages that Python needs. Without `PYTHON` only our own step is timed.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::Command;
use std::time::Instant;

use nst_stream::engine::architecture::Padding;
use nst_stream::engine::device::{prepare, set_threads};
use nst_stream::train::crop::Crop;
use nst_stream::train::recipe::{Preset, Recipe};
use nst_stream::train::trainer::Trainer;
use nst_stream::train::vgg::Vgg;
use tch::{Device, Kind, Tensor};

/// Set for the process that measures our own step: a peak of memory is that of a process.
const INNER: &str = "NST_BENCH_TRAIN_INNER";

#[derive(Clone, Debug)]
struct Case {
    batch: usize,
    size: u32,
    steps: usize,
    threads: usize,
    precision: String,
}

/// Seconds a step (median) and peak memory in bytes.
#[derive(Clone, Copy, serde::Deserialize)]
struct Figures {
    seconds: f64,
    peak_bytes: u64,
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let get = |name: &str| args.iter().position(|a| a == name).and_then(|n| args.get(n + 1));
    let number = |name: &str, default: usize| get(name).map_or(default, |n| n.parse().unwrap());
    let case = Case {
        batch: number("--batch", 4),
        size: number("--size", 256) as u32,
        steps: number("--steps", 5),
        threads: number("--threads", 2),
        precision: get("--precision").cloned().unwrap_or_else(|| "fp32".to_owned()),
    };
    if std::env::var_os(INNER).is_some() {
        return inner(&case);
    }
    let python = std::env::var("PYTHON").ok();
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    // By turns, so that a noisy neighbour disturbs both.
    for _ in 0..number("--turns", 3) {
        ours.push(of(Command::new(&args[0]).args(&args[1..]).env(INNER, "1")));
        theirs.extend(python.iter().map(|python| of(&mut pytorch(python, &case))));
    }
    let (ours, theirs) = (best(&ours), (!theirs.is_empty()).then(|| best(&theirs)));
    let text = table(&case, ours, theirs);
    println!("{text}");
    if let Some(path) = get("--write") {
        write(path, &text);
    }
}

fn best(figures: &[Figures]) -> Figures {
    *figures.iter().min_by(|a, b| a.seconds.total_cmp(&b.seconds)).unwrap()
}

fn of(command: &mut Command) -> Figures {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

fn pytorch(python: &str, case: &Case) -> Command {
    let mut command = Command::new(python);
    command.arg("scripts/train_reference.py").arg("--bench");
    command.args(["--vgg", "models/vgg16.safetensors", "--precision", &case.precision]);
    for (name, value) in [
        ("--batch", case.batch),
        ("--size", case.size as usize),
        ("--steps", case.steps),
        ("--threads", case.threads),
    ] {
        command.args([name, &value.to_string()]);
    }
    command
}

/// Times our own step and prints the figures.
fn inner(case: &Case) {
    prepare();
    set_threads(Some(case.threads));
    let mut recipe = Recipe::preset(Preset::Default, vec!["style.jpg".parse().unwrap()]);
    recipe.batch = case.batch;
    recipe.image_size = case.size;
    // As the step it is compared with.
    recipe.loss_padding = Padding::Zero;
    recipe.tile_share = 0.0;
    let kind = if case.precision == "bf16" { Kind::BFloat16 } else { Kind::Float };
    let vgg = Vgg::shipped(Device::Cpu, kind).unwrap();
    let style = Tensor::rand([1, 3, 384, 384], (Kind::Float, Device::Cpu)) * 255;
    let mut trainer =
        Trainer::new(&recipe, vgg, &[vec![style]], None, None, Device::Cpu, kind).unwrap();
    let values = (case.size * case.size * 3) as usize;
    let photo: Vec<u8> = (0..values).map(|n| (n * 7919 % 251) as u8).collect();
    let crops = vec![Crop { photo, noisy: None, regions: Vec::new() }; case.batch];
    trainer.step(0, &crops).unwrap();
    let mut times = Vec::new();
    for step in 1..=case.steps as u64 {
        let began = Instant::now();
        trainer.step(step, &crops).unwrap();
        times.push(began.elapsed().as_secs_f64());
    }
    times.sort_by(f64::total_cmp);
    println!("{{\"seconds\": {}, \"peak_bytes\": {}}}", times[times.len() / 2], peak());
}

/// The most memory this process has held, bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

fn table(case: &Case, ours: Figures, theirs: Option<Figures>) -> String {
    let Case { batch, size, precision, threads, .. } = case;
    let mut text = format!(
        "Batch {batch}, {size}², {precision}, {threads} threads, the best of the turns:\n\n\
         | | seconds a step | peak memory |\n|---|---|---|\n"
    );
    let mut row = |name: &str, f: Figures| {
        text += &format!("| {name} | {:.3} | {:.2} GB |\n", f.seconds, f.peak_bytes as f64 / 1e9);
    };
    row("nst-stream", ours);
    if let Some(theirs) = theirs {
        row("PyTorch", theirs);
        let (time, memory) =
            (ours.seconds / theirs.seconds, ours.peak_bytes as f64 / theirs.peak_bytes as f64);
        text += &format!("| ratio | **{time:.3}** | **{memory:.3}** |\n");
    }
    text
}

/// Puts the table between the marks of its section.
fn write(path: &str, table: &str) {
    let (begin, end) = ("<!-- train:begin -->", "<!-- train:end -->");
    let text = std::fs::read_to_string(path).unwrap();
    let (head, rest) = text.split_once(begin).expect("the section's first mark");
    let (_, tail) = rest.split_once(end).expect("the section's last mark");
    std::fs::write(path, format!("{head}{begin}\n{table}{end}{tail}")).unwrap();
}
