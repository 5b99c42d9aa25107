//! Metrics in Prometheus' text format.

use prometheus::core::Collector;
use prometheus::process_collector::ProcessCollector;
use prometheus::proto::{
    Bucket, Counter, Gauge, Histogram, LabelPair, Metric, MetricFamily, MetricType,
};
use prometheus::{Result, TextEncoder};

use super::settings::Settings;
use super::shared::Shared;
use crate::core::histogram::{BOUNDS, HistogramCounts};
use crate::engine::device::GpuMemory;
use crate::stream::OutputState;

/// Labels of a sample, and its value.
type Sample<T> = (Vec<(&'static str, String)>, T);

fn labelled(labels: Vec<(&'static str, String)>) -> Metric {
    let mut metric = Metric::default();
    let pairs = labels.into_iter().map(|(name, value)| {
        let mut pair = LabelPair::default();
        pair.set_name(name.to_owned());
        pair.set_value(value);
        pair
    });
    metric.set_label(pairs.collect::<Vec<_>>());
    metric
}

fn family(name: &str, help: &str, kind: MetricType, metrics: Vec<Metric>) -> MetricFamily {
    let mut family = MetricFamily::default();
    family.set_name(name.to_owned());
    family.set_help(help.to_owned());
    family.set_field_type(kind);
    family.set_metric(metrics);
    family
}

fn counters(name: &str, help: &str, samples: Vec<Sample<f64>>) -> MetricFamily {
    let metric = |(labels, value)| {
        let (mut metric, mut counter) = (labelled(labels), Counter::default());
        counter.set_value(value);
        metric.set_counter(counter);
        metric
    };
    family(name, help, MetricType::COUNTER, samples.into_iter().map(metric).collect())
}

fn gauges(name: &str, help: &str, samples: Vec<Sample<f64>>) -> MetricFamily {
    let metric = |(labels, value)| {
        let (mut metric, mut gauge) = (labelled(labels), Gauge::default());
        gauge.set_value(value);
        metric.set_gauge(gauge);
        metric
    };
    family(name, help, MetricType::GAUGE, samples.into_iter().map(metric).collect())
}

fn histograms(name: &str, help: &str, samples: Vec<Sample<HistogramCounts>>) -> MetricFamily {
    let metric = |(labels, counts): Sample<HistogramCounts>| {
        let (mut metric, mut histogram) = (labelled(labels), Histogram::default());
        let bucket = |(bound, count): (&f64, &u64)| {
            let mut bucket = Bucket::default();
            bucket.set_upper_bound(*bound);
            bucket.set_cumulative_count(*count);
            bucket
        };
        let buckets = BOUNDS.iter().zip(&counts.within).map(bucket);
        histogram.set_bucket(buckets.collect::<Vec<_>>());
        histogram.set_sample_count(counts.count);
        histogram.set_sample_sum(counts.sum);
        metric.set_histogram(histogram);
        metric
    };
    family(name, help, MetricType::HISTOGRAM, samples.into_iter().map(metric).collect())
}

/// All metrics.
///
/// # Errors
/// When they cannot be written.
pub(super) fn text(shared: &Shared) -> Result<String> {
    let mut families = of_run(shared);
    families.extend(ProcessCollector::for_self().collect());
    TextEncoder::new().encode_to_string(&families)
}

fn of_run(shared: &Shared) -> Vec<MetricFamily> {
    let (monitor, settings) = (&shared.controls.monitor, Settings::of(&shared.controls));
    let ready = f64::from(u8::from(shared.unready().is_none()));
    let none = Vec::new;
    let one = |value: f64| vec![(none(), value)];
    let stages = monitor.stages();
    let stage = |name: &str, counts| (vec![("stage", name.to_owned())], counts);
    let known = shared.known();
    let status = known.status.as_ref();
    let outputs = status.map_or(&[][..], |status| &status.outputs);
    let each = |of: fn(&crate::stream::OutputStatus) -> f64| -> Vec<Sample<f64>> {
        let sample = |output: &crate::stream::OutputStatus| {
            (vec![("output", output.name.clone())], of(output))
        };
        outputs.iter().map(sample).collect()
    };
    let of = |value: fn(&crate::stream::LiveStatus) -> f64| one(status.map_or(0.0, value));
    let mut families = vec![
        gauges(
            "nst_stream_info",
            "Version of the program, and the model that paints.",
            vec![(
                vec![("version", env!("CARGO_PKG_VERSION").to_owned()), ("model", settings.model)],
                1.0,
            )],
        ),
        gauges("nst_stream_ready", "1 while frames flow.", one(ready)),
        counters(
            "nst_stream_frames_captured_total",
            "Frames that came from the source.",
            of(|s| s.captured as f64),
        ),
        counters(
            "nst_stream_frames_painted_total",
            "Frames that the network painted.",
            // Of the same instant as the others.
            one(known.newest.map_or(0, |rates| rates.painted) as f64),
        ),
        counters(
            "nst_stream_frames_dropped_total",
            "Frames that were not painted, because a newer one came.",
            of(|s| s.dropped as f64),
        ),
        counters(
            "nst_stream_frames_sent_total",
            "Frames that were handed to the outputs, repeated ones included.",
            of(|s| s.sent as f64),
        ),
        gauges(
            "nst_stream_queue_frames",
            "Frames that have come and are neither painted nor dropped yet.",
            of(|s| s.waiting as f64),
        ),
        counters(
            "nst_stream_source_losses_total",
            "How often the source was lost.",
            of(|s| s.losses.count as f64),
        ),
        counters(
            "nst_stream_source_lost_seconds_total",
            "How long the source was lost.",
            of(|s| s.losses.total.as_secs_f64()),
        ),
        gauges(
            "nst_stream_source_lost",
            "1 while the source is lost.",
            of(|s| f64::from(u8::from(s.losses.now.is_some()))),
        ),
        histograms(
            "nst_stream_stage_seconds",
            "Time that frames take in each stage.",
            vec![
                stage("capture", stages.capture.counts()),
                stage("network", stages.network.counts()),
                stage("output", stages.output.counts()),
            ],
        ),
        histograms(
            "nst_stream_delay_seconds",
            "Time from the capture of a frame until an output's encoder has it ready.",
            vec![(none(), stages.total.counts())],
        ),
        gauges("nst_stream_strength", "How much of the style is applied.", one(settings.strength)),
        gauges(
            "nst_stream_scale",
            "Fraction of the frame size at which the network paints.",
            one(settings.scale),
        ),
        gauges(
            "nst_stream_recording",
            "1 while a recording goes on that was begun meanwhile.",
            of(|s| f64::from(u8::from(s.recording.is_some()))),
        ),
        counters(
            "nst_stream_snapshots_total",
            "Snapshots saved over HTTP.",
            one(shared.snapshots.load(std::sync::atomic::Ordering::Relaxed) as f64),
        ),
        counters(
            "nst_stream_http_requests_total",
            "Requests over HTTP.",
            one(shared.requests.load(std::sync::atomic::Ordering::Relaxed) as f64),
        ),
    ];
    if !outputs.is_empty() {
        families.extend([
            counters(
                "nst_stream_output_frames_total",
                "Frames that an output took.",
                each(|o| o.frames as f64),
            ),
            counters(
                "nst_stream_output_dropped_total",
                "Frames that an output did not take in time.",
                each(|o| o.dropped as f64),
            ),
            counters(
                "nst_stream_output_losses_total",
                "How often an output was lost.",
                each(|o| o.losses as f64),
            ),
            gauges(
                "nst_stream_output_up",
                "1 while an output takes frames.",
                each(|o| f64::from(u8::from(o.state == OutputState::Open))),
            ),
        ]);
    }
    let clients: Vec<_> = outputs
        .iter()
        .filter_map(|o| Some((vec![("output", o.name.clone())], o.clients? as f64)))
        .collect();
    if !clients.is_empty() {
        families.push(gauges("nst_stream_output_clients", "Clients of a server.", clients));
    }
    if let Some(webrtc) = &shared.controls.webrtc {
        let viewers = one(webrtc.viewers() as f64);
        families.push(gauges("nst_stream_viewers", "Browsers that watch by WebRTC.", viewers));
    }
    if let Some(device) = monitor.device()
        && let Some(memory) = GpuMemory::of(device)
    {
        families.extend(of_gpu(&device.to_string(), memory));
    }
    families
}

fn of_gpu(device: &str, memory: GpuMemory) -> [MetricFamily; 2] {
    let of = |bytes: usize| vec![(vec![("device", device.to_owned())], bytes as f64)];
    [
        gauges(
            "nst_stream_gpu_memory_used_bytes",
            "Memory of the GPU that the network runs on which all programs use.",
            of(memory.used),
        ),
        gauges(
            "nst_stream_gpu_memory_size_bytes",
            "Memory that the GPU has which the network runs on.",
            of(memory.size),
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::device::Device;

    #[test]
    fn a_gpus_memory_is_shown_as_the_dashboard_asks_for_it_and_a_cpu_has_none() {
        let memory = GpuMemory { used: 3 << 30, size: 8 << 30 };
        let text = TextEncoder::new().encode_to_string(&of_gpu("cuda:0", memory)).unwrap();
        let values: Vec<_> = text.lines().filter(|line| !line.starts_with('#')).collect();
        let expected = [
            "nst_stream_gpu_memory_used_bytes{device=\"cuda:0\"} 3221225472",
            "nst_stream_gpu_memory_size_bytes{device=\"cuda:0\"} 8589934592",
        ];
        assert_eq!(values, expected);
        let dashboard = include_str!("../../packaging/grafana/nst-stream.json");
        for value in values {
            let name = value.split('{').next().unwrap();
            assert!(dashboard.contains(&format!("{name}{{instance")), "{name}");
        }
        assert_eq!(GpuMemory::of(Device::CPU), None);
    }
}
