//! The whole program against what it stands on: GStreamer alone and the network alone.
//!
//! `make bench` runs this after the criterion benches and has it write `BENCHMARKS.md`. What is
//! compared runs in turns, so that other work on the machine hits both sides.
//!
//! `cargo bench --bench whole -- [--quick] [--write BENCHMARKS.md] [queue|identity|network|memory|delay|browser]…`

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

mod browser;
#[allow(dead_code)]
#[path = "../../tests/live/camera.rs"]
mod camera;
mod clips;
mod criterion;
mod delay;
#[allow(dead_code)]
#[path = "../../tests/browser/driver.rs"]
mod driver;
mod inner;
mod machine;
mod measure;
mod process;
mod report;
#[path = "../../tests/live/timecode.rs"]
mod timecode;

use std::path::Path;

use measure::Effort;
use report::Report;

const PARTS: [&str; 6] = ["queue", "identity", "network", "memory", "delay", "browser"];

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
    let is_live = |part: &&str| ["delay", "browser"].contains(part);
    let (whole, only_live) = (parts.is_empty(), !parts.is_empty() && parts.iter().all(is_live));
    let both_live = only_live && parts.len() == 2;
    assert!(
        page.is_none() || whole || both_live,
        "a page is written of all parts, or of delay and browser alone"
    );
    let load = machine::Load::begin();
    let clips = clips::Clips::make();
    let (mut report, mut delays) = (Report::default(), Report::default());
    for part in PARTS.iter().filter(|p| parts.is_empty() || parts.contains(p)) {
        match *part {
            "queue" => measure::queue(&mut report),
            "identity" => measure::identity(&clips, &effort, &mut report),
            "network" => measure::with_network(&clips, &effort, &mut report),
            "memory" => measure::memory(&clips, &mut report),
            "delay" => delay::live(&effort, &mut delays),
            _ => browser::shown(&effort, &mut delays),
        }
    }
    let machine = machine::describe(&load);
    let live = format!("{machine}\n{}", delays.table());
    let text = report.markdown(&machine, &criterion::table());
    if !only_live {
        println!("\n{text}");
    }
    if whole || parts.iter().any(is_live) {
        println!("\n{live}");
    }
    let Some(page) = page.map(Path::new) else { return };
    report::write(page, "delay", &live);
    if whole {
        report::write(page, "all", &text);
    }
}
