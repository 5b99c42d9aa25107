//! Runs other programs and says what they cost.

use std::process::{Command, Stdio};
use std::time::{Duration, Instant};

/// What a process cost, its start and end included.
#[derive(Debug, Clone)]
pub struct Cost {
    /// Seconds on the clock.
    pub wall: f64,
    /// Seconds of all cores, in the program and in the kernel for it.
    pub cpu: f64,
    /// Most memory it had at once, in MiB.
    pub peak: f64,
    pub stdout: String,
}

/// Runs to the end, which must be a success.
pub fn run(command: &mut Command) -> Cost {
    eprint!("  {}", name(command));
    command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
    let before = children_cpu();
    let since = Instant::now();
    let mut child = command.spawn().unwrap_or_else(|e| panic!("cannot run {command:?}: {e}"));
    // A child's `ru_maxrss` also counts this process, which it was before `exec`; so the child's
    // own high-water mark is read while it runs.
    let status = format!("/proc/{}/status", child.id());
    let mut peak = 0.0;
    while child.try_wait().unwrap().is_none() {
        peak = high_water(&status).unwrap_or(peak);
        std::thread::sleep(Duration::from_millis(5));
    }
    let wall = since.elapsed().as_secs_f64();
    let out = child.wait_with_output().unwrap();
    let stderr = String::from_utf8_lossy(&out.stderr);
    assert!(out.status.success(), "{command:?}: {}\n{stderr}", out.status);
    let cpu = children_cpu() - before;
    eprintln!(": {wall:.2} s, {cpu:.2} s of CPU, {peak:.0} MiB");
    Cost { wall, cpu, peak, stdout: String::from_utf8(out.stdout).unwrap() }
}

/// Program and what it works on, for the log.
fn name(command: &Command) -> String {
    let program = std::path::Path::new(command.get_program()).file_name().unwrap();
    let mut name = program.to_string_lossy().split('-').next().unwrap().to_owned();
    for arg in command.get_args() {
        let arg = arg.to_string_lossy();
        let arg = arg.strip_prefix("location=").unwrap_or(&arg);
        if arg.ends_with(".mp4") || arg == "identity" || arg == "network" {
            let file = std::path::Path::new(arg).file_name().unwrap();
            name += &format!(" {}", file.to_string_lossy());
        }
    }
    name
}

/// CPU seconds of all children that have ended.
fn children_cpu() -> f64 {
    self_stat(&[15, 16])
}

/// CPU seconds of this process and of its children that have ended.
pub fn all_cpu() -> f64 {
    self_stat(&[13, 14, 15, 16])
}

/// Sum of fields of /proc/self/stat (counted from 0), which are in hundredths of a second.
fn self_stat(fields: &[usize]) -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    // The second field is the program's name in brackets, which may hold spaces.
    let rest: Vec<&str> = stat[stat.rfind(')').unwrap() + 2..].split(' ').collect();
    fields.iter().map(|f| rest[f - 2].parse::<f64>().unwrap() / 100.0).sum()
}

/// Most memory that a process has had so far, in MiB.
fn high_water(status: &str) -> Option<f64> {
    let text = std::fs::read_to_string(status).ok()?;
    let line = text.lines().find_map(|l| l.strip_prefix("VmHWM:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<f64>().ok()? / 1024.0)
}
