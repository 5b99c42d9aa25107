//! How much memory there is. The system ends a process that takes too much without a word, so it is
//! asked before.

use std::path::Path;

/// Memory that the process could still get, bytes: of the machine, or of its control group
/// (a container) where that is less. None when the system does not say.
pub fn free() -> Option<f64> {
    let machine = available(&read("/proc/meminfo")?)?;
    let group = || {
        let group = Path::new("/sys/fs/cgroup");
        let number = |name| read(group.join(name))?.trim().parse::<f64>().ok();
        // What files take is given back when it is needed.
        let files = field(&read(group.join("memory.stat"))?, "inactive_file ").unwrap_or(0.0);
        Some(number("memory.max")? - number("memory.current")? + files)
    };
    Some(group().map_or(machine, |group: f64| group.min(machine)))
}

fn read(path: impl AsRef<Path>) -> Option<String> {
    std::fs::read_to_string(path).ok()
}

/// "MemAvailable" of /proc/meminfo, bytes.
fn available(info: &str) -> Option<f64> {
    field(info, "MemAvailable:").map(|kilobytes| kilobytes * 1024.0)
}

/// The number behind a name at the beginning of a line.
fn field(text: &str, name: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix(name))?;
    line.split_whitespace().next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_systems_numbers_are_understood() {
        let info = "MemTotal:       24689252 kB\nMemAvailable:   20000000 kB\n";
        assert_eq!(available(info), Some(20_480_000_000.0));
        assert_eq!(field("anon 5\ninactive_file 7\n", "inactive_file "), Some(7.0));
        assert_eq!(available("nothing"), None);
        assert!(free().is_some_and(|bytes| bytes > 1e8));
    }
}
