//! Nothing waits for ever, however slow the network and however rare the subtitles.

use std::time::{Duration, Instant};

use nst_stream::core::encoding::{EncoderPreset, Encoding, HwAccel};
use nst_stream::core::frame::Frame;
use nst_stream::core::stop::StopSignal;
use nst_stream::core::stylizer::{StylizeError, Stylizer};

use super::common::carphone;
use super::*;

/// As a network that paints 25 frames in a second.
struct Slow;

impl Stylizer for Slow {
    fn stylize(&mut self, batch: &mut [Frame]) -> Result<(), StylizeError> {
        std::thread::sleep(Duration::from_millis(40) * batch.len() as u32);
        Ok(())
    }
}

/// The same, until it has painted 36 frames; then the run is interrupted.
struct Interrupts {
    painted: usize,
    stop: StopSignal,
}

impl Stylizer for Interrupts {
    fn stylize(&mut self, batch: &mut [Frame]) -> Result<(), StylizeError> {
        self.painted += batch.len();
        if self.painted >= 36 && !self.stop.is_set() {
            let _ = self.stop.interrupt();
        }
        Slow.stylize(batch)
    }
}

/// Two tracks of sound, one of which an MP4 cannot hold, and a subtitle at either end.
fn sparse(folder: &Path) -> PathBuf {
    let words = folder.join("words.srt");
    let cues =
        "1\n00:00:00,000 --> 00:00:00,300\nFirst\n\n2\n00:00:03,700 --> 00:00:03,900\nLast\n";
    std::fs::write(&words, cues).unwrap();
    let clip = carphone();
    let inputs = ["-i", clip.to_str().unwrap(), "-f", "lavfi", "-i", TONES];
    let words = ["-i", words.to_str().unwrap()];
    let maps = ["-map", "0:v", "-map", "1:a", "-map", "1:a", "-map", "2:s", "-c:v", "copy"];
    let codecs = ["-c:a:0", "aac", "-c:a:1", "flac", "-c:s", "srt"];
    make(folder, "sparse.mkv", &[&inputs[..], &words, &maps, &codecs].concat())
}

/// x264 with preset slower looks 60 frames ahead, with preset medium 40.
#[test]
fn a_slow_network_an_encoder_that_looks_ahead_and_sparse_subtitles_come_to_an_end() {
    let folder = tempfile::tempdir().unwrap();
    let input = sparse(folder.path());
    let presets = [EncoderPreset::Slower, EncoderPreset::Medium];
    for (name, preset) in ["out.mp4", "out.mkv"].into_iter().zip(presets) {
        let out = folder.path().join(name);
        let since = Instant::now();
        let encoding =
            Encoding { preset: Some(preset), hwaccel: HwAccel::Off, ..Encoding::default() };
        run_with(&VideoJob { encoding, ..VideoJob::new(&input, &out) }, Slow);
        assert!(since.elapsed() < Duration::from_secs(60), "{name}: {:?}", since.elapsed());
        assert_eq!(frame_times(&out).len(), 120, "{name}");
        for track in ["a:0", "a:1"] {
            let last = packets(&out, track).last().unwrap().clone();
            assert!(last.at > 3.9 && last.at < 4.1, "{name}: {track} ends at {}", last.at);
        }
        let words = packets(&out, "s:0");
        let words: Vec<_> = words.iter().filter(|packet| packet.size > 2).collect();
        assert_eq!(words.len(), 2, "{name}: {words:?}");
        assert!((words[1].at - 3.7).abs() < 0.03, "{name}: {words:?}");
    }
}

#[test]
fn an_early_end_cuts_every_track_where_the_picture_ends() {
    let folder = tempfile::tempdir().unwrap();
    let input = sparse(folder.path());
    for name in ["out.mp4", "out.mkv"] {
        let out = folder.path().join(name);
        let stop = StopSignal::default();
        let interrupts = Interrupts { painted: 0, stop: stop.clone() };
        let job = VideoJob::new(&input, &out);
        let made = route::route_until(&job, interrupts, &stop).0.unwrap();
        assert!(made.interrupted, "{name}");
        let end = frame_times(&out).last().unwrap() + 0.034;
        assert!(end < 2.5, "{name}: {end}");
        for track in ["a:0", "a:1"] {
            let last = packets(&out, track).last().unwrap().at;
            assert!(last < end && last > end - 0.2, "{name}: {track} at {last}, picture to {end}");
        }
        let words = packets(&out, "s:0");
        let words = words.iter().filter(|packet| packet.size > 2).count();
        // matroskamux has taken the last one by then: there it stays.
        assert!(words == 1 || name == "out.mkv" && words == 2, "{name}: {words}");
    }
}
