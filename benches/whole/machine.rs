//! What was measured on, and with what.

use std::process::Command;
use std::time::Instant;

use nst_stream::engine::precision::PrecisionChoice;
use nst_stream::engine::{device, report};

use crate::process::all_cpu;

/// How busy the machine is with other things.
pub struct Load {
    since: Instant,
    busy: f64,
    own: f64,
}

impl Load {
    pub fn begin() -> Self {
        Load { since: Instant::now(), busy: busy_seconds(), own: all_cpu() }
    }

    /// The share of all cores that others had since, in percent.
    fn others(&self) -> f64 {
        let others = (busy_seconds() - self.busy) - (all_cpu() - self.own);
        let cores = device::default_threads() as f64;
        100.0 * (others / (self.since.elapsed().as_secs_f64() * cores)).max(0.0)
    }
}

/// CPU seconds that were spent on anything since the machine started, also those that a hypervisor
/// gave to other machines.
fn busy_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/stat").unwrap();
    let fields: Vec<f64> =
        stat.lines().next().unwrap().split_whitespace().filter_map(|f| f.parse().ok()).collect();
    // user nice system idle iowait irq softirq steal
    [0, 1, 2, 5, 6, 7].iter().filter_map(|f| fields.get(*f)).sum::<f64>() / 100.0
}

/// A table of the machine and the versions.
pub fn describe(load: &Load) -> String {
    let read = |path: &str| std::fs::read_to_string(path).unwrap_or_default();
    let field = |text: &str, name: &str, mark: char| {
        let mut lines = text.lines().filter_map(|line| line.split_once(mark));
        let value = lines.find(|(n, _)| n.trim() == name).map(|(_, value)| value.trim().to_owned());
        value.unwrap_or_default().trim_matches('"').to_owned()
    };
    let cpuinfo = read("/proc/cpuinfo");
    let flags = field(&cpuinfo, "flags", ':');
    let vectors = ["amx_tile", "avx512_bf16", "avx512f", "avx2"];
    let vectors = vectors.iter().find(|v| flags.split(' ').any(|f| f == **v)).unwrap_or(&"no AVX2");
    let memory = field(&read("/proc/meminfo"), "MemTotal", ':');
    let memory = memory.split(' ').next().and_then(|kb| kb.parse::<f64>().ok()).unwrap_or_default();
    let engine = report::report();
    let precision =
        PrecisionChoice::Auto.resolve(device::Device::CPU).map(|(p, _)| p.to_string()).unwrap();
    let rows = [
        ("Date", said("date", &["-u", "+%Y-%m-%d"])),
        ("Commit", said("git", &["describe", "--always", "--dirty"])),
        (
            "CPU",
            format!("{}, {} cores, {vectors}", field(&cpuinfo, "model name", ':'), engine.threads),
        ),
        ("Memory", format!("{:.0} GiB", memory / 1024.0 / 1024.0)),
        (
            "System",
            format!(
                "{}, Linux {}",
                field(&read("/etc/os-release"), "PRETTY_NAME", '='),
                read("/proc/sys/kernel/osrelease").trim()
            ),
        ),
        ("libtorch", format!("{}, {precision} on the CPU", engine.libtorch)),
        ("GStreamer", gstreamer::version_string().trim_start_matches("GStreamer ").to_owned()),
        ("rustc", said("rustc", &["--version"]).trim_start_matches("rustc ").to_owned()),
        ("Other work while it ran", format!("{:.1} % of all cores", load.others())),
    ];
    let rows = rows.iter().map(|(what, is)| format!("| {what} | {is} |\n"));
    format!("| | |\n|---|---|\n{}", rows.collect::<String>())
}

/// What a program prints; nothing where it is missing.
fn said(program: &str, args: &[&str]) -> String {
    let out = Command::new(program).args(args).output().ok();
    let text = out.map(|out| String::from_utf8_lossy(&out.stdout).trim().to_owned());
    text.filter(|t| !t.is_empty()).unwrap_or_else(|| "unknown".to_owned())
}
