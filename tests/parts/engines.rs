//! Engines that run parts on many machines: their files in packaging/.

use super::*;

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name)
}

#[test]
#[ignore = "needs root and Debian's packages of Slurm: make test-slurm"]
fn slurm_paints_parts_queues_a_killed_one_again_and_joins_them() {
    let mut test = Command::new(script("test_slurm.sh"));
    println!("{}", succeed(test.arg(env!("CARGO_BIN_EXE_nst-stream"))));
}
