//! Which loudspeakers the channels of decoded sound belong to, and what an encoder takes of them.
//!
//! Left to itself, audioconvert (GStreamer 1.22 to 1.26) makes one channel of four for Opus, and fails
//! where a demuxer does not know the positions (channel mask 0: qtdemux, mxfdemux).

use gst::prelude::*;
use gstreamer as gst;

use super::super::workarounds::{change_caps, usual_positions};

const LEFT: u64 = 1 << 0;
const RIGHT: u64 = 1 << 1;
const CENTER: u64 = 1 << 2;
const LFE: u64 = 1 << 3;
const REAR: u64 = 1 << 4 | 1 << 5;
const REAR_CENTER: u64 = 1 << 8;
// Bit 9 is a second LFE; in WAVE files and QuickTime it is the left side.
const SIDE: u64 = 1 << 10 | 1 << 11;

/// What Opus holds (its mapping family 1), the smallest first.
const OPUS: [u64; 8] = [
    CENTER,
    LEFT | RIGHT,
    LEFT | RIGHT | CENTER,
    LEFT | RIGHT | REAR,
    LEFT | RIGHT | CENTER | REAR,
    LEFT | RIGHT | CENTER | LFE | REAR,
    LEFT | RIGHT | CENTER | LFE | REAR_CENTER | SIDE,
    LEFT | RIGHT | CENTER | LFE | REAR | SIDE,
];

/// What avenc_aac takes.
const AAC: [u64; 6] = [
    CENTER,
    LEFT | RIGHT,
    LEFT | RIGHT | CENTER,
    LEFT | RIGHT | CENTER | REAR_CENTER,
    LEFT | RIGHT | CENTER | REAR,
    LEFT | RIGHT | CENTER | LFE | REAR,
];

/// Assigns positions to decoded sound of more than two channels whose positions are unknown. Returns whether
/// it changed the caps.
fn position(format: &mut gst::StructureRef) -> bool {
    let channels = format.get::<i32>("channels").unwrap_or(0);
    let mask = format.get::<gst::Bitmask>("channel-mask").map_or(0, |mask| mask.0);
    if format.name() != "audio/x-raw" || channels < 3 || mask != 0 {
        return false;
    }
    let usual = usual_positions(channels);
    if let Some(mask) = usual {
        format.set("channel-mask", gst::Bitmask(mask));
    }
    usual.is_some()
}

/// Configures `mix` (audioconvert) and `layout` (the capsfilter behind it) so that an encoder gets a channel
/// layout it supports: the same one if possible, otherwise the smallest one that has a position for every
/// channel.
pub(super) fn arrange(mix: &gst::Element, layout: &gst::Element, opus: bool) {
    let Some(pad) = mix.static_pad("sink") else { return };
    let (mix, layout) = (mix.downgrade(), layout.downgrade());
    let taken: &'static [u64] = if opus { &OPUS } else { &AAC };
    pad.add_probe(gst::PadProbeType::EVENT_DOWNSTREAM, move |_, info| {
        let (Some(mix), Some(layout)) = (mix.upgrade(), layout.upgrade()) else {
            return gst::PadProbeReturn::Ok;
        };
        change_caps(info, |format| {
            let changed = position(format);
            let mask = format.get::<gst::Bitmask>("channel-mask").map_or(0, |mask| mask.0);
            let channels = format.get::<i32>("channels").unwrap_or(0);
            let Some((target, matrix)) = plan(mask, channels, taken) else {
                if channels > 6 && !opus {
                    // audioconvert mixes them.
                    let caps = gst::Caps::builder("audio/x-raw").field("channels", 6);
                    let caps = caps.field("channel-mask", gst::Bitmask(AAC[5]));
                    layout.set_property("caps", caps.build());
                }
                return changed;
            };
            let caps = gst::Caps::builder("audio/x-raw")
                .field("channels", i32::try_from(target.count_ones()).unwrap_or(2))
                .field("channel-mask", gst::Bitmask(target));
            layout.set_property("caps", caps.build());
            match matrix {
                // Nothing but the name of a loudspeaker changes, if anything.
                None => format.set("channel-mask", gst::Bitmask(target)),
                Some(matrix) => {
                    let rows = matrix.iter().map(|row| gst::Array::new(row).to_send_value());
                    mix.set_property("mix-matrix", gst::Array::new(rows));
                }
            }
            true
        })
    });
}

/// Number of channels that an encoder gets for a track with these caps, if it is more than the track has.
pub(super) fn more_channels(caps: &gst::CapsRef, opus: bool) -> Option<u32> {
    let mut format = caps.structure(0)?.to_owned();
    position(&mut format);
    let mask = format.get::<gst::Bitmask>("channel-mask").ok()?.0;
    let channels = format.get::<i32>("channels").ok()?;
    let (target, _) = plan(mask, channels, if opus { &OPUS } else { &AAC })?;
    Some(target.count_ones()).filter(|count| *count > channels.unsigned_abs())
}

/// The output layout for channels with this mask and, if channels must move, the mixing matrix (rows: output
/// channels, columns: input channels). None if audioconvert's own choice is right.
fn plan(mask: u64, channels: i32, taken: &[u64]) -> Option<(u64, Option<Vec<Vec<f32>>>)> {
    if channels < 3 || i64::from(mask.count_ones()) != i64::from(channels) {
        return None;
    }
    let sides_behind = if mask & REAR == 0 { mask & !SIDE | (mask & SIDE) >> 6 } else { mask };
    let holds =
        |target: u64, bit: u64| target & bit != 0 || bit == REAR_CENTER && target & REAR == REAR;
    let fitting = |mask: u64| {
        let fits = |target: &&u64| bits(mask).all(|bit| holds(**target, bit));
        taken.iter().find(fits).map(|target| (mask, *target))
    };
    // Prefer the smaller layout: 5.1 with the side channels as rear ones, not 6.1 with a silent channel.
    let both = [mask, sides_behind].into_iter().filter_map(fitting);
    let (mask, target) = both.min_by_key(|(_, target)| target.count_ones())?;
    if mask == target {
        return Some((target, None));
    }
    let share = |out: u64, input: u64| match out {
        _ if out == input => 1.0,
        _ if input == REAR_CENTER && target & REAR_CENTER == 0 && out & REAR != 0 => {
            std::f32::consts::FRAC_1_SQRT_2
        }
        _ => 0.0,
    };
    let row = |out| bits(mask).map(|input| share(out, input)).collect();
    Some((target, Some(bits(target).map(row).collect())))
}

/// The bits of a mask, in the order of channels.
fn bits(mask: u64) -> impl Iterator<Item = u64> {
    (0..64).map(|n| 1 << n).filter(move |bit| mask & bit != 0)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn every_channel_has_a_place_in_what_the_encoder_takes() {
        for (mask, channels, taken, wanted) in [
            (0x107, 4, &OPUS[..], Some(0x37)),
            (0x107, 4, &AAC[..], Some(0x107)),
            (0x33, 4, &OPUS[..], Some(0x33)),
            (0x33, 4, &AAC[..], Some(0x37)),
            (0xc0f, 6, &AAC[..], Some(0x3f)),
            (0xc0f, 6, &OPUS[..], Some(0x3f)),
            (0xb, 3, &OPUS[..], Some(0x3f)),
            (0xc3f, 8, &OPUS[..], Some(0xc3f)),
            (0xc3f, 8, &AAC[..], None),
            (0x3, 2, &AAC[..], None),
            (0, 6, &AAC[..], None),
        ] {
            assert_eq!(plan(mask, channels, taken).map(|(mask, _)| mask), wanted, "{mask:x}");
        }
        // Side channels become rear ones, sample by sample.
        assert_eq!(plan(0xc0f, 6, &AAC), Some((0x3f, None)));
        let (_, matrix) = plan(0x107, 4, &OPUS).unwrap();
        let matrix = matrix.unwrap();
        assert_eq!(matrix[..3], [[1., 0., 0., 0.], [0., 1., 0., 0.], [0., 0., 1., 0.]]);
        assert!(
            matrix[3..].iter().all(|row| row[..3] == [0.; 3]
                && (row[3] - std::f32::consts::FRAC_1_SQRT_2).abs() < 1e-4)
        );
    }

    #[test]
    fn sound_without_positions_gets_the_usual_ones() {
        gst::init().unwrap();
        for (channels, mask, wanted) in [(6, 0, 0x3f), (4, 0x33, 0x33), (2, 0, 0), (12, 0, 0)] {
            let mut caps = gst::Caps::builder("audio/x-raw")
                .field("channels", channels)
                .field("channel-mask", gst::Bitmask(mask))
                .build();
            let format = caps.make_mut().structure_mut(0).unwrap();
            position(format);
            assert_eq!(format.get::<gst::Bitmask>("channel-mask").unwrap().0, wanted);
        }
    }
}
