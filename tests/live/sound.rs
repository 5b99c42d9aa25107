//! The sound of a camera in files that are written while live.

use std::path::Path;
use std::process::Command;

use crate::camera::Camera;
use crate::common::*;
use crate::program::Live;

/// Endings of files, and the codec that their sound has.
type Files = [(&'static str, &'static str)];

/// The codecs that cameras send, by name, and what each becomes in files of these endings.
const CODECS: [(&str, &str, &Files); 7] = [
    (
        "G.711 A-law",
        "audio/x-raw,rate=8000,channels=1 ! alawenc ! rtppcmapay",
        &[("mkv", "pcm_alaw"), ("mp4", "aac"), ("webm", "opus")],
    ),
    (
        "G.711 µ-law",
        "audio/x-raw,rate=8000,channels=1 ! mulawenc ! rtppcmupay",
        &[("mkv", "pcm_mulaw"), ("mov", "pcm_mulaw")],
    ),
    (
        "G.722",
        "audio/x-raw,rate=16000,channels=1 ! avenc_g722 ! rtpg722pay",
        &[("mkv", "adpcm_g722"), ("mp4", "aac")],
    ),
    ("AAC", "avenc_aac ! aacparse ! rtpmp4gpay", &[("mkv", "aac"), ("webm", "opus")]),
    ("Opus", "audio/x-raw,rate=48000 ! opusenc ! rtpopuspay", &[("mkv", "opus")]),
    ("MP2", "audio/x-raw,rate=48000 ! avenc_mp2 ! mpegaudioparse ! rtpmpapay", &[("mkv", "mp2")]),
    (
        "PCM",
        "audioconvert ! audio/x-raw,format=S16BE,rate=44100,channels=2 ! rtpL16pay",
        &[("mkv", "pcm_s16be"), ("mp4", "aac")],
    ),
];

#[test]
fn a_live_file_has_all_of_the_sound_whatever_its_codec() {
    let folder = tempfile::tempdir().unwrap();
    let folder = folder.path();
    let wrong: Vec<String> = std::thread::scope(|scope| {
        let run = |(number, codec)| scope.spawn(move || recorded(folder, number, codec));
        let runs: Vec<_> = CODECS.into_iter().enumerate().map(run).collect();
        runs.into_iter().flat_map(|run| run.join().unwrap()).collect()
    });
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

/// Records a camera of this codec; what is wrong with the files.
fn recorded(
    folder: &Path,
    number: usize,
    (name, elements, files): (&str, &str, &[(&str, &str)]),
) -> Vec<String> {
    let camera = Camera::with_sound_by(elements);
    let path = |ending: &str| folder.join(format!("{number}.{ending}"));
    let mut args = vec!["-i".to_owned(), camera.url(), "--strength".to_owned(), "0".to_owned()];
    for (ending, _) in files {
        args.extend(["-o".to_owned(), path(ending).to_str().unwrap().to_owned()]);
    }
    let live = Live::start(&args.iter().map(String::as_str).collect::<Vec<_>>());
    camera.wait_for_frames(150, || live.said());
    let ended = live.interrupt();
    if ended.code != Some(130) {
        return vec![format!("{name}: {:?} {}", ended.code, ended.stderr)];
    }
    let check = |(ending, codec): &(&str, &str)| {
        let path = path(ending);
        let is = stream_field(&path, "a:0", "codec_name");
        let times = frame_times(&path);
        let picture = times.last().unwrap() - times.first().unwrap();
        let sound = seconds_of_sound(&path);
        println!("{name} in {ending}: {is}, {sound:.2} s for {picture:.2} s of picture");
        // A little is on its way when the camera is left; lost packets were a third.
        let whole = picture > 2.0 && (sound - picture).abs() < 0.8;
        (!whole || is != *codec).then(|| {
            format!("{name} in {ending}: {is}, {sound:.2} s for {picture:.2} s: {}", ended.stderr)
        })
    };
    files.iter().filter_map(check).collect()
}

/// How long the sound is that a decoder makes of it, in samples; gaps do not count.
fn seconds_of_sound(path: &Path) -> f64 {
    let mut ffmpeg = Command::new("ffmpeg");
    ffmpeg.args(["-v", "error", "-nostdin", "-i"]).arg(path);
    ffmpeg.args(["-map", "0:a:0", "-ac", "1", "-ar", "8000", "-f", "s16le", "-"]);
    output(&mut ffmpeg).stdout.len() as f64 / 2.0 / 8000.0
}
