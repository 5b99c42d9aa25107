//! Engines that run parts on many machines: their files in packaging/.

use super::*;

fn script(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts").join(name)
}

fn check_kubernetes(only: &str) {
    let mut check = Command::new("python3");
    check.arg(script("check_kubernetes.py")).args(["--only", only]);
    println!("{}", succeed(check.args(["--program", env!("CARGO_BIN_EXE_nst-stream")])));
}

#[test]
fn the_manifests_are_valid_for_a_current_kubernetes() {
    check_kubernetes("manifests");
}

#[test]
fn the_jobs_of_kubernetes_make_the_film_of_a_single_run() {
    check_kubernetes("film");
}

#[test]
fn the_live_feed_of_kubernetes_has_its_probes_metrics_and_picture() {
    check_kubernetes("live");
}

#[test]
#[ignore = "needs root and Debian's packages of Slurm: make test-slurm"]
fn slurm_paints_parts_queues_a_killed_one_again_and_joins_them() {
    let mut test = Command::new(script("test_slurm.sh"));
    println!("{}", succeed(test.arg(env!("CARGO_BIN_EXE_nst-stream"))));
}
