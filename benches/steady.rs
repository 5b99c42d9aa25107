//! What holding frames steady takes, at 640×360, beside the flow that it rests on.
//!
//!     cargo bench --bench steady
//!
//! `still`: noise alone changes; `pan`: all moves by part of a pixel; `cut`: every frame is another scene.
//! `--json`: for programs.

#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, missing_docs)]

use std::time::Instant;

use nst_stream::core::frame::{
    Bytes, Colorimetry, Frame, FrameInfo, Layout, Matrix, Planes, Range,
};
use nst_stream::core::stylizer::{StylizeError, Stylizer};
use nst_stream::flow::{FlowOptions, Pyramid, flow_both};
use nst_stream::steady::Steady;

const WIDTH: usize = 640;
const HEIGHT: usize = 360;
const FRAMES: usize = 40;
const OPTIONS: FlowOptions = FlowOptions { finest: 1, ..FlowOptions::LIVE };

fn noise(n: usize, seed: usize) -> u32 {
    let mut x = (n as u32).wrapping_mul(0x9e37_79b9) ^ (seed as u32).wrapping_mul(0x85eb_ca6b);
    x ^= x >> 15;
    x = x.wrapping_mul(0xc2b2_ae35);
    x ^ (x >> 13)
}

/// A frame of waves of several lengths and of noise.
fn scene(name: &str, number: usize) -> Frame {
    let (shift, seed) = match name {
        "still" => (0.0, 0),
        "pan" => (number as f32, 0),
        _ => (0.0, number),
    };
    let mut bytes = vec![128; Layout::I420.bytes(WIDTH, HEIGHT)];
    for (n, byte) in bytes.iter_mut().enumerate() {
        let (width, part) = if n < WIDTH * HEIGHT { (WIDTH, 1) } else { (WIDTH / 2, 2) };
        let x = (n % width * part) as f32 + 1.3 * shift + 70.0 * seed as f32;
        let y = (n / width * part) as f32 + 0.6 * shift + 90.0 * seed as f32;
        let waves = (x / 7.0 + (y / 19.0).sin() * 2.0).sin()
            + (y / 5.0 + (x / 23.0).cos() * 3.0).sin()
            + ((x + y) / 41.0).sin();
        *byte = (120.0 + 30.0 * waves + (noise(n, number) % 4) as f32) as u8;
    }
    let colorimetry = Colorimetry { matrix: Matrix::Bt709, range: Range::Limited };
    let info = FrameInfo { width: WIDTH, height: HEIGHT, colorimetry };
    let planes = Planes::new(Layout::I420, Bytes::from(bytes));
    Frame { info, planes, pts: None, duration: None }
}

/// Adds blocks that are new in each frame.
struct Paints(usize);

impl Stylizer for Paints {
    fn stylize(&mut self, batch: &mut [Frame]) -> Result<(), StylizeError> {
        for frame in batch {
            self.0 += 1;
            for (n, byte) in frame.planes.bytes_mut().iter_mut().enumerate() {
                *byte = byte.wrapping_add(noise(n / 8, self.0) as u8 & 31);
            }
        }
        Ok(())
    }
}

/// Milliseconds a frame: the median.
fn time(mut stylizer: impl Stylizer, frames: &[Frame]) -> f64 {
    let mut times = Vec::new();
    for frame in frames {
        let mut frame = frame.clone();
        let since = Instant::now();
        stylizer.stylize(std::slice::from_mut(&mut frame)).unwrap();
        times.push(since.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    times[times.len() / 2]
}

fn main() {
    let json = std::env::args().any(|arg| arg == "--json");
    for name in ["still", "pan", "cut"] {
        let frames: Vec<Frame> = (0..FRAMES).map(|n| scene(name, n)).collect();
        let painting = time(Paints(0), &frames);
        let held = time(Steady::new(Paints(0), 1.0, None), &frames) - painting;
        let pyramids: Vec<Pyramid> = frames
            .iter()
            .map(|f| {
                Pyramid::new(&f.planes.bytes()[..WIDTH * HEIGHT], WIDTH, HEIGHT, WIDTH, &OPTIONS)
            })
            .collect();
        let mut flows: Vec<f64> = pyramids
            .windows(2)
            .map(|pair| {
                let since = Instant::now();
                flow_both(&pair[0], &pair[1], &OPTIONS);
                since.elapsed().as_secs_f64() * 1e3
            })
            .collect();
        flows.sort_by(f64::total_cmp);
        let flow = flows[flows.len() / 2];
        if json {
            let line = serde_json::json!({
                "scene": name, "width": WIDTH, "height": HEIGHT, "steady_ms": held, "flow_ms": flow,
            });
            println!("{line}");
        } else {
            println!("{name}: {held:.1} ms a frame, of it {flow:.1} ms flow in both directions");
        }
    }
}
