//! Available memory. The system kills a process that takes too much, without a message, so it is checked
//! first.

use std::path::{Component, Path, PathBuf};

/// Memory that the process can still get, in bytes: the machine's, or less if a control group (a container, a
/// service) or one that encloses it has a limit. None if the system does not say.
pub fn free() -> Option<f64> {
    free_below(Path::new("/"))
}

/// The same for a system whose /proc and /sys lie in this folder (for tests).
fn free_below(root: &Path) -> Option<f64> {
    let proc = |name: &str| read(root.join("proc").join(name));
    let machine = available(&proc("meminfo")?)?;
    let (groups, mounts) = (proc("self/cgroup").unwrap_or_default(), proc("self/mountinfo"));
    let mounts = mounts.unwrap_or_default();
    let rooms = mounts.lines().filter_map(Hierarchy::of_mount).flat_map(|hierarchy| {
        let group = hierarchy.group(&groups);
        group.into_iter().flat_map(move |group| hierarchy.rooms(root, &group))
    });
    Some(rooms.fold(machine, f64::min))
}

/// A mounted hierarchy of control groups that limits memory.
#[derive(Debug)]
struct Hierarchy {
    /// Of version 2, which has all controllers in one tree.
    unified: bool,
    /// The group that is mounted there.
    top: PathBuf,
    /// The mount point.
    point: PathBuf,
}

impl Hierarchy {
    /// From a line of /proc/self/mountinfo: `30 23 0:26 /top /point options … - type source options`.
    fn of_mount(line: &str) -> Option<Self> {
        let (mount, kind) = line.split_once(" - ")?;
        let mut kind = kind.split(' ');
        let unified = match kind.next()? {
            "cgroup2" => true,
            "cgroup" if kind.nth(1)?.split(',').any(|option| option == "memory") => false,
            _ => return None,
        };
        let mut mount = mount.split(' ').skip(3);
        Some(Hierarchy { unified, top: mount.next()?.into(), point: mount.next()?.into() })
    }

    /// The process's group in it, from /proc/self/cgroup: `0::/group`, or `4:memory:/group`.
    fn group(&self, groups: &str) -> Option<PathBuf> {
        groups.lines().find_map(|line| {
            let (number, rest) = line.split_once(':')?;
            let (controllers, group) = rest.split_once(':')?;
            let ours = match self.unified {
                true => number == "0" && controllers.is_empty(),
                false => controllers.split(',').any(|controller| controller == "memory"),
            };
            ours.then(|| group.into())
        })
    }

    /// Free memory in the group and in each enclosing one, as far as they are mounted and have a limit.
    fn rooms(&self, root: &Path, group: &Path) -> Vec<f64> {
        // In a container, its own group may appear as the root, whatever the kernel calls it.
        let below = group.strip_prefix(&self.top).unwrap_or(Path::new(""));
        let below: PathBuf =
            below.components().filter(|part| matches!(part, Component::Normal(_))).collect();
        let point = root.join(self.point.strip_prefix("/").unwrap_or(&self.point));
        below.ancestors().filter_map(|group| self.room(&point.join(group))).collect()
    }

    fn room(&self, folder: &Path) -> Option<f64> {
        let (limit, used, files) = match self.unified {
            true => ("memory.max", "memory.current", "inactive_file "),
            false => ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_inactive_file "),
        };
        let number = |name| read(folder.join(name))?.trim().parse::<f64>().ok();
        // The page cache is freed when memory is needed, so it does not count as used.
        let files = read(folder.join("memory.stat")).and_then(|stat| field(&stat, files));
        Some(number(limit)? - number(used)? + files.unwrap_or(0.0))
    }
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

    /// Room in a system with these files; those of a machine are there already.
    fn room(files: &[(&str, &str)]) -> f64 {
        let root = tempfile::tempdir().unwrap();
        let machine = [("proc/meminfo", "MemAvailable: 8000 kB\n")];
        for (name, text) in machine.iter().chain(files) {
            let path = root.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        free_below(root.path()).unwrap() / 1000.0
    }

    const V2: (&str, &str) = (
        "proc/self/mountinfo",
        "22 1 8:1 / / rw - ext4 /dev/sda1 rw\n\
         30 23 0:26 / /sys/fs/cgroup rw,nosuid shared:9 - cgroup2 cgroup2 rw\n",
    );
    const V1: (&str, &str) = (
        "proc/self/mountinfo",
        "31 30 0:27 / /sys/fs/cgroup/cpu rw - cgroup cgroup rw,cpu,cpuacct\n\
         32 30 0:28 / /sys/fs/cgroup/memory rw - cgroup cgroup rw,memory\n",
    );

    #[test]
    fn without_limits_the_machine_counts() {
        assert_eq!(room(&[]), 8192.0);
        let max = ("sys/fs/cgroup/a/memory.max", "max\n");
        assert_eq!(room(&[V2, ("proc/self/cgroup", "0::/a\n"), max]), 8192.0);
    }

    #[test]
    fn a_limit_around_the_process_own_group_counts_too() {
        let group = ("proc/self/cgroup", "0::/outer/inner\n");
        let outer = [
            ("sys/fs/cgroup/outer/memory.max", "5000000\n"),
            ("sys/fs/cgroup/outer/memory.current", "2000000\n"),
            ("sys/fs/cgroup/outer/memory.stat", "anon 5\ninactive_file 500000\n"),
        ];
        let inner = [
            ("sys/fs/cgroup/outer/inner/memory.max", "max\n"),
            ("sys/fs/cgroup/outer/inner/memory.current", "1000000\n"),
        ];
        assert_eq!(room(&[&[V2, group][..], &outer, &inner].concat()), 3500.0);
    }

    #[test]
    fn limits_of_control_groups_version_1_are_seen() {
        let groups = ("proc/self/cgroup", "5:cpu,cpuacct:/x\n4:memory:/docker/1\n0::/\n");
        let own = [
            ("sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "3000000\n"),
            ("sys/fs/cgroup/memory/docker/1/memory.usage_in_bytes", "1000000\n"),
            ("sys/fs/cgroup/memory/docker/1/memory.stat", "total_inactive_file 100000\n"),
        ];
        assert_eq!(room(&[&[V1, groups][..], &own].concat()), 2100.0);
        // No limit is a very large one there.
        let none = ("sys/fs/cgroup/memory/docker/1/memory.limit_in_bytes", "9223372036854771712\n");
        assert_eq!(room(&[&[V1, groups][..], &own, &[none]].concat()), 8192.0);
    }

    #[test]
    fn a_container_that_sees_only_its_own_group_finds_its_limit() {
        // The kernel's name of the group leads nowhere in here; what is mounted is the group.
        let groups = ("proc/self/cgroup", "4:memory:/docker/1\n");
        let mount = (
            "proc/self/mountinfo",
            "32 30 0:28 /docker/1 /sys/fs/cgroup/memory ro - cgroup cgroup rw,memory\n",
        );
        let own = [
            ("sys/fs/cgroup/memory/memory.limit_in_bytes", "3000000\n"),
            ("sys/fs/cgroup/memory/memory.usage_in_bytes", "1000000\n"),
        ];
        assert_eq!(room(&[&[mount, groups][..], &own].concat()), 2000.0);
        let group = ("proc/self/cgroup", "0::/../../elsewhere\n");
        let own = [
            ("sys/fs/cgroup/memory.max", "3000000\n"),
            ("sys/fs/cgroup/memory.current", "1000000\n"),
        ];
        assert_eq!(room(&[&[V2, group][..], &own].concat()), 2000.0);
    }
}
