//! A training step, and an evaluation of `optimize`, against the same in PyTorch: seconds and peak memory.
//!
//! `PYTHON=target/bench-peers/bin/python cargo bench --bench train -- [--cases johnson,lite,optimize]
//! [--precisions fp32,bf16] [--batch 4] [--size 256] [--threads 2] [--steps 3] [--turns 3]
//! [--write BENCHMARKS.md]`; scripts/train_reference.py says which packages that Python needs. Without
//! `PYTHON` only our own side is timed.
//!
//! Each turn is a process of its own for either side; the quickest step of all turns counts.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

use std::process::Command;
use std::time::Instant;

use nst_stream::engine::architecture::{self, Padding};
use nst_stream::engine::device::{LIBTORCH_VERSION, prepare, set_threads};
use nst_stream::train::crop::Crop;
use nst_stream::train::loss::Losses;
use nst_stream::train::optimize::objective::{Objective, Styles};
use nst_stream::train::recipe::{Recipe, RecipePreset};
use nst_stream::train::trainer::Trainer;
use nst_stream::train::vgg::Vgg;
use tch::{Device, Kind, Tensor};

/// Set for the process that measures our own step: a peak of memory is that of a process.
const INNER: &str = "NST_BENCH_TRAIN_INNER";

/// One row of the table.
#[derive(Clone, Debug)]
struct Case {
    /// `johnson` or `lite`: a training step of that network; `optimize`: loss and gradient of one picture.
    what: String,
    precision: String,
    batch: usize,
    size: u32,
    steps: usize,
    threads: usize,
}

/// Seconds a step and peak memory in bytes.
#[derive(Clone, Copy, serde::Deserialize)]
struct Figures {
    seconds: f64,
    peak_bytes: u64,
}

struct Row {
    case: Case,
    ours: Figures,
    theirs: Option<Figures>,
}

fn main() {
    let args: Vec<String> = std::env::args().collect();
    let get = |name: &str| args.iter().position(|a| a == name).and_then(|n| args.get(n + 1));
    let number = |name: &str, default: usize| get(name).map_or(default, |n| n.parse().unwrap());
    let list = |name: &str, default: &str| -> Vec<String> {
        get(name).map_or(default, |all| all).split(',').map(str::to_owned).collect()
    };
    let case = |what: &String, precision: &String| Case {
        what: what.clone(),
        precision: precision.clone(),
        batch: if what == "optimize" { 1 } else { number("--batch", 4) },
        size: number("--size", 256) as u32,
        steps: number("--steps", 3),
        threads: number("--threads", 2),
    };
    let (cases, precisions) =
        (list("--cases", "johnson,lite,optimize"), list("--precisions", "fp32,bf16"));
    if std::env::var_os(INNER).is_some() {
        return inner(&case(&cases[0], &precisions[0]));
    }
    let python = std::env::var("PYTHON").ok();
    let mut rows = Vec::new();
    for (what, precision) in cases.iter().flat_map(|w| precisions.iter().map(move |p| (w, p))) {
        let case = case(what, precision);
        let (mut ours, mut theirs) = (Vec::new(), Vec::new());
        // By turns, so that a noisy neighbour disturbs both.
        for _ in 0..number("--turns", 3) {
            ours.push(of(own(&args[0], &case).env(INNER, "1")));
            theirs.extend(python.iter().map(|python| of(&mut pytorch(python, &case))));
        }
        let theirs = (!theirs.is_empty()).then(|| best(&theirs));
        rows.push(Row { case, ours: best(&ours), theirs });
        println!("{}", line(rows.last().unwrap()).trim_end());
    }
    let text = table(&rows);
    println!("\n{text}");
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

fn own(program: &str, case: &Case) -> Command {
    let mut command = Command::new(program);
    command.args(["--bench", "--cases", &case.what, "--precisions", &case.precision]);
    numbers(&mut command, case);
    command
}

fn pytorch(python: &str, case: &Case) -> Command {
    let mut command = Command::new(python);
    command.arg("scripts/train_reference.py").args(["--bench", &case.what]);
    command.args(["--vgg", "models/vgg16.safetensors", "--precision", &case.precision]);
    numbers(&mut command, case);
    command
}

fn numbers(command: &mut Command, case: &Case) {
    for (name, value) in [
        ("--batch", case.batch),
        ("--size", case.size as usize),
        ("--steps", case.steps),
        ("--threads", case.threads),
    ] {
        command.args([name, &value.to_string()]);
    }
}

/// Times our own side and prints the figures.
fn inner(case: &Case) {
    prepare();
    set_threads(Some(case.threads));
    let arch = match case.what.as_str() {
        "lite" => architecture::NetworkKind::Lite,
        _ => architecture::NetworkKind::Johnson,
    };
    // Losses and layers of the step it is compared with.
    let recipe = Recipe::preset(RecipePreset::Classic, vec!["style.jpg".parse().unwrap()]).of(arch);
    let size = case.size;
    let recipe =
        Recipe { batch: case.batch, image_size: size, loss_padding: Padding::Zero, ..recipe };
    let kind = if case.precision == "bf16" { Kind::BFloat16 } else { Kind::Float };
    let vgg = Vgg::shipped(Device::Cpu, kind).unwrap();
    let style = Tensor::rand([1, 3, 384, 384], (Kind::Float, Device::Cpu)) * 255;
    let photo: Vec<u8> = (0..size * size * 3).map(|n| (n * 7919 % 251) as u8).collect();
    let times = if case.what == "optimize" {
        let losses = Losses::new(vgg, &recipe);
        let side = i64::from(size);
        let photo = Tensor::from_slice(&photo).reshape([1, side, side, 3]).permute([0, 3, 1, 2]);
        let photo = photo.to_kind(Kind::Float).contiguous();
        let styles = Styles::Everywhere(vec![(style, 1.0)]);
        let objective = Objective::new(&losses, photo.copy(), styles, None).unwrap();
        timed(case.steps, |_| drop(objective.gradient(&photo).unwrap()))
    } else {
        let mut trainer =
            Trainer::new(&recipe, vgg, &[vec![style]], None, None, Device::Cpu, kind).unwrap();
        let crops = vec![Crop { photo, noisy: None, regions: Vec::new() }; case.batch];
        timed(case.steps, |step| {
            trainer.step(step, &crops).unwrap();
        })
    };
    let least = times.into_iter().min_by(f64::total_cmp).unwrap();
    println!("{{\"seconds\": {least}, \"peak_bytes\": {}}}", peak());
}

/// Seconds of some steps, after one that does not count.
fn timed(steps: usize, mut step: impl FnMut(u64)) -> Vec<f64> {
    step(0);
    let each = |n| {
        let began = Instant::now();
        step(n);
        began.elapsed().as_secs_f64()
    };
    (1..=steps as u64).map(each).collect()
}

/// The most memory this process has held, bytes.
fn peak() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("VmHWM:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// What time is to be at most, as a share of PyTorch's.
fn goal(case: &Case) -> f64 {
    match (case.precision.as_str(), case.what.as_str()) {
        ("fp32", "johnson") => 0.6,
        ("fp32", _) => 0.5,
        _ => 0.9,
    }
}

fn line(row: &Row) -> String {
    let Row { case, ours, theirs } = row;
    let mut text = format!("| {} | {} | {:.3} s |", case.what, case.precision, ours.seconds);
    match theirs {
        Some(theirs) => {
            let time = ours.seconds / theirs.seconds;
            let met = if time <= goal(case) { "yes" } else { "**no**" };
            text += &format!(
                " {:.3} s | **{time:.2}** | ≤ {} | {met} | {:.2} GB | {:.2} GB |\n",
                theirs.seconds,
                goal(case),
                ours.peak_bytes as f64 / 1e9,
                theirs.peak_bytes as f64 / 1e9
            );
        }
        None => text += &format!(" | | | | {:.2} GB | |\n", ours.peak_bytes as f64 / 1e9),
    }
    text
}

fn table(rows: &[Row]) -> String {
    let Case { batch, size, threads, .. } =
        rows.iter().map(|row| &row.case).max_by_key(|case| case.batch).unwrap();
    let cpu = std::fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let field = |name: &str| {
        let line = cpu.lines().find(|line| line.starts_with(name));
        line.and_then(|line| line.split_once(':')).map_or("", |(_, value)| value.trim())
    };
    let has = |flag: &str| field("flags").split(' ').any(|f| f == flag);
    let vectors = match ["amx_bf16", "avx512_bf16", "avx512f"].map(has) {
        [true, ..] => "AMX with bf16",
        [_, true, _] => "AVX-512 with bf16, no AMX",
        [_, _, true] => "AVX-512 without bf16",
        _ => "no AVX-512",
    };
    let mut text = format!(
        "{}, {vectors}; batch {batch} (`optimize`: one picture), {size}², {threads} threads, \
         libtorch {LIBTORCH_VERSION}; the quickest step of all turns:\n\n\
         | | | nst-stream | PyTorch | ratio | goal | met | memory | PyTorch's |\n\
         |---|---|---|---|---|---|---|---|---|\n",
        field("model name")
    );
    rows.iter().for_each(|row| text += &line(row));
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
