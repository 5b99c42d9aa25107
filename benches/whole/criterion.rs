//! What the criterion benches found when they last ran.

use std::path::{Path, PathBuf};
use std::time::Duration;

use serde_json::Value;

/// Older results belong to another run.
const FRESH: Duration = Duration::from_secs(2 * 60 * 60);

struct Found {
    group: String,
    function: String,
    median_ns: f64,
}

fn folder() -> PathBuf {
    let target = std::env::var_os("CARGO_TARGET_DIR").map(PathBuf::from);
    target.unwrap_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("target")).join("criterion")
}

/// All fresh results, by group and function.
fn all() -> Vec<Found> {
    let mut found = Vec::new();
    let mut folders = vec![folder()];
    while let Some(folder) = folders.pop() {
        let entries = std::fs::read_dir(&folder).into_iter().flatten().flatten().map(|e| e.path());
        folders.extend(entries.filter(|path| path.is_dir()));
        found.extend(read(&folder).filter(|_| folder.ends_with("new")));
    }
    found.sort_by(|a, b| (&a.group, &a.function).cmp(&(&b.group, &b.function)));
    found
}

fn read(folder: &Path) -> Option<Found> {
    let file = folder.join("estimates.json");
    let age = file.metadata().ok()?.modified().ok()?.elapsed().unwrap_or_default();
    let json = |file: &Path| -> Option<Value> {
        serde_json::from_str(&std::fs::read_to_string(file).ok()?).ok()
    };
    let (estimates, about) = (json(&file)?, json(&folder.join("benchmark.json"))?);
    let text = |key: &str| about[key].as_str().unwrap_or_default().to_owned();
    let median_ns = estimates["median"]["point_estimate"].as_f64()?;
    let function = match (text("function_id"), text("value_str")) {
        (function, value) if value.is_empty() => function,
        (function, value) if function.is_empty() => value,
        (function, value) => format!("{function} {value}"),
    };
    (age < FRESH).then(|| Found { group: text("group_id"), function, median_ns })
}

/// Nanoseconds of one iteration, if this was measured of late.
pub fn median_ns(group: &str, function: &str) -> Option<f64> {
    let mut found = all().into_iter();
    found.find(|f| f.group == group && f.function == function).map(|f| f.median_ns)
}

/// A table of all of them.
pub fn table() -> String {
    let rows = all().into_iter().map(|f| {
        let time = match f.median_ns {
            ns if ns < 1e3 => format!("{ns:.0} ns"),
            ns if ns < 1e6 => format!("{:.2} µs", ns / 1e3),
            ns if ns < 1e9 => format!("{:.2} ms", ns / 1e6),
            ns => format!("{:.2} s", ns / 1e9),
        };
        format!("| {} | {} | {time} |\n", f.group, f.function)
    });
    format!("| Bench | | Median |\n|---|---|---|\n{}", rows.collect::<String>())
}
