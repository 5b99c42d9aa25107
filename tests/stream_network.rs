//! The program's output is what the network makes of the decoded frames, but for the encoder's
//! loss.
//!
//! The frames come from ffmpeg and the network from the library, so that decoding, order, colour
//! conversion and encoding of the program are judged by something other than themselves.
#![cfg(feature = "media")]
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic)]

mod common;

use common::*;
use nst_stream::core::frame::{Colorimetry, Frame, FrameInfo, Matrix, Planes, Range};
use nst_stream::core::stylizer::Stylizer;
use nst_stream::engine::device::Device;
use nst_stream::engine::model::Model;
use nst_stream::engine::precision::Precision;
use nst_stream::engine::stylizer::NetworkStylizer;

/// At quantizer 20 x264 keeps this style's fine, high-contrast strokes at 32 to 36 dB in luma and 33
/// to 37 dB in chroma. A frame shifted by one is at most 26 dB like its neighbour, an unpainted one
/// 14 dB: the end of the test shows that the bound refuses both.
const BOUND: f64 = 29.0;

/// A frame of the clip as the program decodes it; the clip names no colorimetry, which at this size
/// means BT.601 in the limited range.
fn frame(yuv: &Yuv) -> Frame {
    let colorimetry = Colorimetry { matrix: Matrix::Bt601, range: Range::Limited };
    let bytes = [&yuv.y[..], &yuv.u, &yuv.v].concat();
    Frame {
        info: FrameInfo { width: 176, height: 144, colorimetry },
        planes: Planes::I420(bytes.into()),
        pts: None,
        duration: None,
    }
}

fn planes(frame: &Frame) -> Yuv {
    let bytes = frame.planes.bytes();
    let (y, chroma) = bytes.split_at(176 * 144);
    let (u, v) = chroma.split_at(88 * 72);
    Yuv { y: y.to_vec(), u: u.to_vec(), v: v.to_vec() }
}

#[test]
fn the_output_is_the_network_applied_to_the_decoded_frames() {
    let folder = tempfile::tempdir().unwrap();
    let output = folder.path().join("out.mkv");
    let mut command = nst();
    command.args(["-m", "mosaic", "--precision", "fp32", "--device", "cpu", "--duration", "0.5"]);
    command.args(["--steady", "0"]);
    succeed(command.arg("-i").arg(carphone()).arg("-o").arg(&output));

    let decoded = &yuv_frames(&carphone())[..15];
    let model = Model::open("mosaic", false, Device::CPU, Precision::Fp32).unwrap();
    let mut network = NetworkStylizer::new(model);
    let expected: Vec<Yuv> = decoded
        .iter()
        .map(|yuv| {
            let mut frame = frame(yuv);
            network.stylize(std::slice::from_mut(&mut frame)).unwrap();
            planes(&frame)
        })
        .collect();
    let written = yuv_frames(&output);
    assert_eq!(written.len(), 15);

    let (mut shifted, mut plain) = (f64::MIN, f64::MIN);
    for (n, (expected, written)) in expected.iter().zip(&written).enumerate() {
        let luma = psnr(&expected.y, &written.y);
        let chroma = psnr(&expected.u, &written.u).min(psnr(&expected.v, &written.v));
        println!("frame {n}: luma {luma:.1} dB, chroma {chroma:.1} dB");
        assert!(luma > BOUND, "frame {n}: luma {luma} dB");
        assert!(chroma > BOUND, "frame {n}: chroma {chroma} dB");
        plain = plain.max(psnr(&decoded[n].y, &written.y));
    }
    // The bound is one that a frame out of order and a frame not painted fail.
    for (next, written) in expected[1..].iter().zip(&written) {
        shifted = shifted.max(psnr(&next.y, &written.y));
    }
    println!("at most {shifted:.1} dB shifted by one frame, {plain:.1} dB unpainted");
    assert!(shifted < BOUND, "{shifted} dB");
    assert!(plain < BOUND, "{plain} dB");
}
