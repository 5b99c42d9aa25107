//! Frames to RGB and back at 1280×720, on the CPU.

#![allow(clippy::unwrap_used, missing_docs)]

use criterion::{Criterion, criterion_group, criterion_main};
use nst_stream::core::frame::{Colorimetry, Frame, FrameInfo, Layout, Matrix, Planes, Range};
use nst_stream::engine::color::Converter;
use nst_stream::engine::device::{self, Device};

fn color(c: &mut Criterion) {
    device::prepare();
    device::set_threads(None);
    let colorimetry = Colorimetry { matrix: Matrix::Bt709, range: Range::Limited };
    let info = FrameInfo { width: 1280, height: 720, colorimetry };
    let mut group = c.benchmark_group("color 1280x720");
    for layout in [Layout::I420, Layout::Y444, Layout::Rgb] {
        let bytes: Vec<u8> = (0..layout.bytes(1280, 720)).map(|i| (i * 31 % 251) as u8).collect();
        let planes = Planes::new(layout, bytes.into());
        let mut frames = [Frame { info, planes, pts: None, duration: None }];
        let converter = Converter::new(info, layout, Device::CPU).unwrap();
        let samples = converter.upload(&frames).unwrap();
        let rgb = converter.to_rgb(&samples).unwrap();
        let back = converter.from_rgb(&rgb).unwrap();
        group.bench_function(format!("{layout:?} upload"), |b| {
            b.iter(|| converter.upload(&frames).unwrap());
        });
        group.bench_function(format!("{layout:?} to RGB"), |b| {
            b.iter(|| converter.to_rgb(&samples).unwrap());
        });
        group.bench_function(format!("{layout:?} from RGB"), |b| {
            b.iter(|| converter.from_rgb(&rgb).unwrap());
        });
        group.bench_function(format!("{layout:?} download"), |b| {
            b.iter(|| converter.download(&back, &mut frames).unwrap());
        });
        group.bench_function(format!("{layout:?} from RGB into the frame"), |b| {
            b.iter(|| converter.store(&rgb, &mut frames).unwrap());
        });
    }
    group.finish();
}

criterion_group!(benches, color);
criterion_main!(benches);
