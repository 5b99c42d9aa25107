//! A frame handed from one thread to another: through our queue, and through a channel of the
//! standard library that holds as many.

#![allow(clippy::unwrap_used, missing_docs)]

use std::sync::mpsc::sync_channel;
use std::thread;
use std::time::{Duration, Instant};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use nst_stream::core::frame::{Bytes, Colorimetry, Frame, FrameInfo, Matrix, Planes, Range};
use nst_stream::core::queue::bounded;

/// What `stream` uses for batches of one.
const DEPTH: usize = 3;

/// A frame moves without its samples, so an empty one costs as much as any.
fn frame() -> Frame {
    let colorimetry = Colorimetry { matrix: Matrix::Bt709, range: Range::Limited };
    let info = FrameInfo { width: 0, height: 0, colorimetry };
    Frame { info, planes: Planes::I420(Bytes::from(Vec::new())), pts: None, duration: None }
}

/// Times `frames` hand-overs from a thread that runs `take` to the end.
fn timed(give: impl FnOnce() + Send, take: impl FnOnce()) -> Duration {
    let since = Instant::now();
    thread::scope(|scope| {
        scope.spawn(give);
        take();
    });
    since.elapsed()
}

/// Neither side ever has anything else to do.
fn steady(c: &mut Criterion) {
    let mut group = c.benchmark_group("queue, one frame after another");
    group.throughput(Throughput::Elements(1));
    group.bench_function("nst-stream", |b| {
        b.iter_custom(|frames| {
            let (mut producer, mut consumer) = bounded(DEPTH);
            timed(
                move || (0..frames).for_each(|_| producer.push(frame()).unwrap()),
                move || while consumer.pop().is_some() {},
            )
        });
    });
    group.bench_function("sync_channel", |b| {
        b.iter_custom(|frames| {
            let (sender, receiver) = sync_channel(DEPTH);
            timed(
                move || (0..frames).for_each(|_| sender.send(frame()).unwrap()),
                move || while receiver.recv().is_ok() {},
            )
        });
    });
    group.finish();
}

/// There and back: each side sleeps until the other wakes it, as around a slow network.
fn sleeping(c: &mut Criterion) {
    let mut group = c.benchmark_group("queue, there and back");
    group.bench_function("nst-stream", |b| {
        b.iter_custom(|frames| {
            let (mut there, mut taken) = bounded(DEPTH);
            let (mut back, mut returned) = bounded(DEPTH);
            timed(
                move || {
                    while let Some(frame) = taken.pop() {
                        back.push(frame).unwrap();
                    }
                },
                move || {
                    for _ in 0..frames {
                        there.push(frame()).unwrap();
                        returned.pop().unwrap();
                    }
                },
            )
        });
    });
    group.bench_function("sync_channel", |b| {
        b.iter_custom(|frames| {
            let (there, taken) = sync_channel(DEPTH);
            let (back, returned) = sync_channel(DEPTH);
            timed(
                move || {
                    while let Ok(frame) = taken.recv() {
                        back.send(frame).unwrap();
                    }
                },
                move || {
                    for _ in 0..frames {
                        there.send(frame()).unwrap();
                        returned.recv().unwrap();
                    }
                },
            )
        });
    });
    group.finish();
}

criterion_group!(benches, steady, sleeping);
criterion_main!(benches);
