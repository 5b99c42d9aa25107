//! JPEGs become the pixels that libjpeg-turbo makes of them: Pillow, which decodes with it, wrote the PNG
//! beside each.

use std::path::Path;

use nst_stream::core::picture::{Picture, size};

use crate::common;

fn pixels(path: &Path) -> Vec<u8> {
    Picture::open(path).unwrap().frame.planes.bytes().to_vec()
}

#[test]
fn every_subsampling_and_a_grey_and_a_progressive_one_are_decoded_to_the_same_pixels() {
    for name in ["444", "422", "420", "coarse", "progressive", "grey"] {
        let stored = common::data(&format!("jpeg/{name}.png"));
        let ours = pixels(&common::data(&format!("jpeg/{name}.jpg")));
        let theirs = image::open(stored).unwrap().into_rgb8().into_raw();
        // Not assert_eq!, which would print all pixels.
        assert!(ours == theirs, "{name}");
    }
}

/// A JPEG with an EXIF block that says how it is to be turned.
fn turned(orientation: u8) -> Vec<u8> {
    let data = std::fs::read(common::data("jpeg/420.jpg")).unwrap();
    let mut exif = b"Exif\0\0MM\0*\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01\0".to_vec();
    exif.extend([orientation, 0, 0, 0, 0, 0, 0]);
    let length = u16::try_from(exif.len() + 2).unwrap().to_be_bytes();
    [&data[..2], &[0xff, 0xe1], &length, &exif, &data[2..]].concat()
}

#[test]
fn a_jpeg_is_turned_as_its_exif_block_says() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("turned.jpg");
    let upright = image::open(common::data("jpeg/420.png")).unwrap();
    for (orientation, expected) in
        [(1, upright.clone()), (3, upright.rotate180()), (6, upright.rotate90())]
    {
        std::fs::write(&path, turned(orientation)).unwrap();
        let expected = expected.into_rgb8();
        assert_eq!(size(&path).unwrap(), (expected.width() as usize, expected.height() as usize));
        assert!(pixels(&path) == expected.into_raw(), "{orientation}");
    }
}

#[test]
fn colours_for_print_and_damage_are_as_the_image_crate_has_them() {
    let print = common::data("jpeg/cmyk.jpg");
    assert!(pixels(&print) == image::open(&print).unwrap().into_rgb8().into_raw());
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("cut.jpg");
    let data = std::fs::read(common::data("jpeg/420.jpg")).unwrap();
    for kept in [20, 400, 1500] {
        std::fs::write(&path, &data[..kept]).unwrap();
        match (Picture::open(&path), image::open(&path)) {
            (Ok(ours), Ok(theirs)) => {
                assert!(ours.frame.planes.bytes().to_vec() == theirs.into_rgb8().into_raw());
            }
            (Err(ours), Err(theirs)) => {
                // In one line, whatever the decoder says.
                let (said, theirs) = (ours.to_string(), theirs.to_string());
                assert!(said.ends_with(theirs.trim()) && !said.contains('\n'), "{said}: {theirs}");
            }
            (ours, theirs) => panic!("{kept}: {:?}, {:?}", ours.is_ok(), theirs.is_ok()),
        }
    }
}

#[test]
fn a_profile_of_inks_stays_out_of_the_rgb_picture_and_that_of_rgb_comes_along() {
    let folder = tempfile::tempdir().unwrap();
    let data = std::fs::read(common::data("jpeg/420.jpg")).unwrap();
    let (input, output) = (folder.path().join("in.jpg"), folder.path().join("out.png"));
    for (space, kept) in [(b"CMYK", false), (b"GRAY", false), (b"RGB ", true)] {
        // A header, which alone says of what colours the profile is.
        let mut profile = vec![0; 128];
        profile[16..20].copy_from_slice(space);
        let segment = [&b"ICC_PROFILE\0\x01\x01"[..], &profile].concat();
        let length = u16::try_from(segment.len() + 2).unwrap().to_be_bytes();
        let whole = [&data[..2], &[0xff, 0xe2], &length, &segment, &data[2..]].concat();
        std::fs::write(&input, whole).unwrap();
        Picture::open(&input).unwrap().save(&output, &output).unwrap();
        let written = std::fs::read(&output).unwrap();
        let is_kept = written.windows(4).any(|name| name == b"iCCP");
        assert_eq!(is_kept, kept, "{}", String::from_utf8_lossy(space));
    }
}

#[test]
fn a_jpeg_that_is_cut_off_is_said_to_be() {
    let folder = tempfile::tempdir().unwrap();
    let data = std::fs::read(common::data("jpeg/420.jpg")).unwrap();
    let input = folder.path().join("cut.jpg");
    for (kept, is_said) in [(data.len(), false), (data.len() - 300, true)] {
        std::fs::write(&input, &data[..kept]).unwrap();
        let mut nst = common::nst();
        nst.current_dir(folder.path()).arg("-m").arg(common::data("reference-small.pth"));
        let out = common::output(nst.args(["-i", "cut.jpg", "-o", "out.png", "--overwrite"]));
        let said = String::from_utf8_lossy(&out.stderr);
        assert!(out.status.success(), "{said}");
        assert_eq!(said.contains("'cut.jpg' is cut off"), is_said, "{said}");
    }
}
