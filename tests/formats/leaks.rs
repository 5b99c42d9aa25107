//! A run leaves nothing behind.

use super::*;

fn count(folder: &str) -> usize {
    std::fs::read_dir(folder).unwrap().count()
}

/// Resident memory, MiB.
fn resident() -> f64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|l| l.starts_with("VmRSS:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<f64>().unwrap() / 1024.0
}

/// With one heap (MALLOC_ARENA_MAX=1), as `make test` has it: in several, what is free is scattered.
/// Other tests of this process run beside it and come and go, so it is run alone: see `make test`.
#[test]
#[ignore = "counts the threads and descriptors of the whole process: run it alone"]
fn fifty_conversions_in_one_process_leave_no_threads_descriptors_or_memory() {
    let folder = tempfile::tempdir().unwrap();
    let bunny = bunny();
    let args = ["-t", "0.4", "-i", bunny.to_str().unwrap(), "-vf", "scale=160:90", "-c:a", "copy"];
    let clip = made(&folder, "in.mp4", &args);
    let garbage = folder.path().join("garbage.mp4");
    std::fs::write(&garbage, vec![7; 5000]).unwrap();
    let mut after = Vec::new();
    for n in 0..60 {
        let output = folder.path().join(["out.mp4", "out.mkv"][n % 2]);
        if n % 5 == 4 {
            // Failures must clean up as well.
            assert!(convert(&garbage, &output, QUICK).0.is_err());
        } else {
            converted(&clip, &output, QUICK);
        }
        after.push((count("/proc/self/task"), count("/proc/self/fd"), resident()));
    }
    let (warm, last) = (after[9], after[59]);
    println!("after 10 and 60 conversions: {warm:?} {last:?}");
    // GStreamer keeps a pool of threads, which end when idle for a while.
    assert!(last.0 <= warm.0 + 2, "threads: {warm:?} {last:?}");
    assert_eq!(last.1, warm.1, "descriptors: {warm:?} {last:?}");
    assert!(last.2 < warm.2 + 12.0, "memory: {warm:?} {last:?}");
}
