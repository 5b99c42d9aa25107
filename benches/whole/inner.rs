//! What is measured as a process of its own, but is no command of the program.

use std::path::Path;
use std::time::Instant;

use nst_stream::core::stop::StopSignal;
use nst_stream::core::stylizer::Identity;
use nst_stream::engine::device::{self, Device};
use nst_stream::engine::model::Model;
use nst_stream::engine::precision::PrecisionChoice;
use nst_stream::stream::{Observer, Progress, RunContext, VideoJob, stylize_video};
use tch::{Kind, Tensor};

struct Silent;

impl Observer for Silent {
    fn note(&mut self, text: &str) {
        eprintln!("{text}");
    }
    fn progress(&mut self, _progress: &Progress) {}
}

/// The frame path of the program with nothing in the place of the network.
pub fn identity(input: &Path, output: &Path) {
    // As the program does: it also says how memory is kept.
    device::prepare();
    let job = VideoJob::new(input, output);
    let mut silent = Silent;
    let mut context = RunContext::new(&StopSignal::default(), &mut silent);
    let summary = stylize_video(&job, Box::new(Identity), &mut context).unwrap();
    println!("{}", serde_json::to_string(&summary).unwrap());
}

/// The network alone on a picture that is a float tensor already, with all cores. Prints the
/// milliseconds of each pass.
pub fn network(width: i64, height: i64, passes: usize) {
    device::prepare();
    device::set_threads(None);
    let (precision, _) = PrecisionChoice::Auto.resolve(Device::CPU).unwrap();
    let model = Model::open(super::clips::MODEL, false, Device::CPU, precision).unwrap();
    let picture = Tensor::rand([1, 3, height, width], (Kind::Float, tch::Device::Cpu)) * 255.0;
    // The first passes find memory and choose algorithms.
    for _ in 0..2 {
        let _ = model.forward(&picture).unwrap();
    }
    for _ in 0..passes {
        let since = Instant::now();
        let _ = model.forward(&picture).unwrap();
        println!("{}", since.elapsed().as_secs_f64() * 1e3);
    }
}
