//! The whole program against what it stands on: GStreamer alone and the network alone.
//!
//! `make bench` runs this after the criterion benches and has it write `BENCHMARKS.md`. What is
//! compared runs in turns, so that other work on the machine hits both sides.
//!
//! `cargo bench --bench whole -- [--quick] [--write BENCHMARKS.md] [queue|identity|network|memory]…`

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod clips;
mod criterion;
mod inner;
mod machine;
mod measure;
mod process;
mod report;

use std::path::Path;

use measure::Effort;
use report::Report;

const PARTS: [&str; 4] = ["queue", "identity", "network", "memory"];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|a| a != "--bench").collect();
    let words: Vec<&str> = args.iter().map(String::as_str).collect();
    match words.as_slice() {
        // This program starts itself again for what is measured as a process of its own.
        ["identity", input, output] => inner::identity(Path::new(input), Path::new(output)),
        ["network", width, height, passes] => {
            inner::network(width.parse().unwrap(), height.parse().unwrap(), passes.parse().unwrap())
        }
        options => {
            // `cargo test --benches` starts it without: it is then enough that it was built.
            if std::env::args().any(|a| a == "--bench") {
                all(options);
            }
        }
    }
}

fn all(options: &[&str]) {
    let mut options = options.iter();
    let (mut effort, mut page, mut parts) = (Effort::FULL, None, Vec::new());
    while let Some(option) = options.next() {
        match *option {
            "--quick" => effort = Effort::QUICK,
            "--write" => page = Some(options.next().expect("--write needs a file name")),
            part if PARTS.contains(&part) => parts.push(part),
            other => panic!("'{other}' is none of --quick, --write FILE, {}", PARTS.join(", ")),
        }
    }
    assert!(page.is_none() || parts.is_empty(), "a page is written of all parts only");
    let load = machine::Load::begin();
    let clips = clips::Clips::make();
    let mut report = Report::default();
    for part in PARTS.iter().filter(|p| parts.is_empty() || parts.contains(p)) {
        match *part {
            "queue" => measure::queue(&mut report),
            "identity" => measure::identity(&clips, &effort, &mut report),
            "network" => measure::with_network(&clips, &effort, &mut report),
            _ => measure::memory(&clips, &mut report),
        }
    }
    let text = report.markdown(&machine::describe(&load), &criterion::table());
    println!("\n{text}");
    if let Some(page) = page {
        report::write(Path::new(page), &text);
    }
}
