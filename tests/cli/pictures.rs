//! Still pictures.

use std::fs;
use std::path::Path;

use image::codecs::jpeg::JpegEncoder;
use image::{GrayImage, Luma, Rgb, RgbImage, Rgba, RgbaImage, imageops};

use super::common::psnr;
use super::{folder, works};

fn painted(folder: &Path, input: &str, output: &str, more: &[&str]) -> image::DynamicImage {
    works(folder, &[&["-m", "mosaic", "-i", input, "-o", output, "--overwrite"], more].concat());
    // By its content, not by its name.
    image::load_from_memory(&fs::read(folder.join(output)).unwrap()).unwrap()
}

fn cat(folder: &Path) -> RgbImage {
    image::open(folder.join("cat.png")).unwrap().into_rgb8()
}

#[test]
fn a_picture_of_odd_size_is_painted_to_the_pixel() {
    let folder = folder();
    let cat = cat(folder.path());
    assert_eq!(cat.dimensions(), (91, 61));
    let result = painted(folder.path(), "cat.png", "out.png", &[]).into_rgb8();
    assert_eq!(result.dimensions(), (91, 61));
    let far = psnr(&cat, &result);
    assert!(far < 20.0, "it is painted: {far} dB");
    // With its own colours, which are told apart more easily than a style's, and in strokes that
    // are finer than this small picture's shapes.
    let colors = ["-m", "starry-night", "-i", "cat.png", "-o", "colors.png", "--preserve-color"];
    works(folder.path(), &colors);
    let result = image::open(folder.path().join("colors.png")).unwrap().into_rgb8();
    // And it is still this cat, not turned and not shifted.
    let blurred = |picture: &RgbImage| imageops::blur(picture, 6.0);
    let (before, after) = (blurred(&cat), blurred(&result));
    let (here, turned) = (psnr(&before, &after), psnr(&imageops::rotate180(&before), &after));
    assert!(here > turned + 1.0, "upright {here} dB, turned {turned} dB");
}

#[test]
fn the_smallest_and_the_thinnest_pictures_are_painted() {
    let folder = folder();
    let cat = cat(folder.path());
    let smaller = &["--scale", "0.3", "--preserve-color"][..];
    for (width, height, more) in
        [(1, 1, &[][..]), (1, 1, smaller), (1, 7, &[]), (5, 1, &[]), (64, 3, smaller)]
    {
        let part = imageops::crop_imm(&cat, 20, 0, width, height).to_image();
        part.save(folder.path().join("part.png")).unwrap();
        let result = painted(folder.path(), "part.png", "out.png", more);
        assert_eq!((result.width(), result.height()), (width, height), "{more:?}");
    }
}

#[test]
fn a_picture_at_strength_0_is_the_input_and_between_0_and_1_it_lies_between() {
    let folder = folder();
    let cat = cat(folder.path());
    let at = |strength: &str| {
        painted(folder.path(), "cat.png", "out.png", &["--strength", strength]).into_rgb8()
    };
    let [none, half, full] = ["0", "0.5", "1"].map(at);
    assert!(none == cat, "nothing is changed");
    for ((before, half), full) in cat.iter().zip(half.iter()).zip(full.iter()) {
        let middle = (f64::from(*before) + f64::from(*full)) / 2.0;
        assert!((f64::from(*half) - middle).abs() <= 1.5, "{before}, {half}, {full}");
    }
}

#[test]
fn alpha_is_kept_exactly_in_a_png_and_laid_on_white_in_a_jpeg() {
    let folder = folder();
    let cat = cat(folder.path());
    let with_alpha = RgbaImage::from_fn(91, 61, |x, y| {
        let Rgb([r, g, b]) = *cat.get_pixel(x, y);
        // Every opacity, and clear and opaque corners.
        let alpha = if x < 10 && y < 20 { 0 } else { (x * 7 + y * 3 + 1) as u8 };
        Rgba([r, g, b, alpha])
    });
    with_alpha.save(folder.path().join("alpha.png")).unwrap();
    let result = painted(folder.path(), "alpha.png", "out.png", &[]);
    assert!(result.color().has_alpha());
    let result = result.into_rgba8();
    let alpha = |picture: &RgbaImage| picture.pixels().map(|p| p.0[3]).collect::<Vec<_>>();
    assert!(alpha(&result) == alpha(&with_alpha), "alpha has changed");
    let colors = |picture: &RgbaImage| {
        picture.pixels().flat_map(|p| [p.0[0], p.0[1], p.0[2]]).collect::<Vec<_>>()
    };
    assert!(psnr(&colors(&result), &cat) < 20.0, "the colours are painted");

    let flat = painted(folder.path(), "alpha.png", "out.jpg", &[]);
    assert!(!flat.color().has_alpha());
    let flat = flat.into_rgb8();
    // In the middle of the clear corner, a JPEG block away from its edge.
    assert!(flat.get_pixel(2, 4).0.iter().all(|v| *v > 245), "{:?}", flat.get_pixel(2, 4));
}

#[test]
fn a_grey_picture_is_painted_in_colour() {
    let folder = folder();
    let grey = GrayImage::from_fn(40, 30, |x, y| Luma([(x * 5 + y) as u8]));
    grey.save(folder.path().join("grey.png")).unwrap();
    let result = painted(folder.path(), "grey.png", "out.png", &[]).into_rgb8();
    let coloured = result.pixels().filter(|p| p.0[0].abs_diff(p.0[2]) > 20).count();
    assert!(coloured > 100, "{coloured} coloured pixels");
}

#[test]
fn an_output_called_jpg_is_a_jpeg_in_any_case_of_its_ending() {
    let folder = folder();
    let png = painted(folder.path(), "cat.png", "out.png", &[]).into_rgb8();
    for name in ["out.jpeg", "OUT.JPG"] {
        let jpeg = painted(folder.path(), "cat.png", name, &[]).into_rgb8();
        let bytes = fs::read(folder.path().join(name)).unwrap();
        assert_eq!(bytes[..3], [0xFF, 0xD8, 0xFF], "{name}");
        let close = psnr(&png, &jpeg);
        assert!(close > 30.0, "{name}: {close} dB");
    }
}

/// A JPEG whose EXIF segment says `orientation`, written byte by byte.
fn jpeg_with_orientation(picture: &RgbImage, orientation: u8) -> Vec<u8> {
    let mut jpeg = Vec::new();
    JpegEncoder::new_with_quality(&mut jpeg, 95).encode_image(picture).unwrap();
    // Big-endian TIFF: header, one directory of one entry (tag 0x112, SHORT, one value).
    let mut exif = b"Exif\0\0MM\0\x2A\0\0\0\x08\0\x01\x01\x12\0\x03\0\0\0\x01".to_vec();
    exif.extend([0, orientation, 0, 0, 0, 0, 0, 0]);
    let mut segment = vec![0xFF, 0xE1];
    segment.extend(((exif.len() + 2) as u16).to_be_bytes());
    segment.extend(exif);
    // After the start-of-image marker.
    jpeg.splice(2..2, segment);
    jpeg
}

#[test]
fn the_orientation_a_camera_noted_is_applied() {
    let folder = folder();
    let cat = cat(folder.path());
    let upright = jpeg_with_orientation(&cat, 1);
    fs::write(folder.path().join("phone.jpg"), &upright).unwrap();
    let pixels = painted(folder.path(), "phone.jpg", "out.png", &["--strength", "0"]).into_rgb8();
    // Another decoder differs by levels; only a picture that lies as it should is this near.
    let near = psnr(&pixels, &image::load_from_memory(&upright).unwrap().into_rgb8());
    assert!(near > 40.0, "{near} dB");
    for (orientation, expected) in [
        (1, pixels.clone()),
        (3, imageops::rotate180(&pixels)),
        (6, imageops::rotate90(&pixels)),
        (8, imageops::rotate270(&pixels)),
    ] {
        let jpeg = jpeg_with_orientation(&cat, orientation);
        fs::write(folder.path().join("phone.jpg"), jpeg).unwrap();
        let result = painted(folder.path(), "phone.jpg", "out.png", &["--strength", "0"]);
        assert!(result.into_rgb8() == expected, "orientation {orientation}");
    }
    // The picture that is painted is the upright one, and its file asks for no further turn.
    let jpeg = jpeg_with_orientation(&cat, 6);
    fs::write(folder.path().join("phone.jpg"), jpeg).unwrap();
    let result = painted(folder.path(), "phone.jpg", "out.jpg", &[]);
    assert_eq!((result.width(), result.height()), (61, 91));
    let bytes = fs::read(folder.path().join("out.jpg")).unwrap();
    assert!(!bytes.windows(4).any(|w| w == b"Exif"));
}

#[test]
fn preserved_colours_leave_only_the_brightness_painted() {
    let folder = folder();
    let cat = cat(folder.path());
    let result = painted(folder.path(), "cat.png", "out.png", &["--preserve-color"]).into_rgb8();
    let chroma = |p: &Rgb<u8>| {
        let [r, g, b] = p.0.map(f64::from);
        (
            128.0 - 0.168_736 * r - 0.331_264 * g + 0.5 * b,
            128.0 + 0.5 * r - 0.418_688 * g - 0.081_312 * b,
        )
    };
    let luma = |p: &Rgb<u8>| {
        0.299 * f64::from(p.0[0]) + 0.587 * f64::from(p.0[1]) + 0.114 * f64::from(p.0[2])
    };
    let (mut compared, mut changed) = (0, 0.0);
    for (before, after) in cat.pixels().zip(result.pixels()) {
        changed += (luma(before) - luma(after)).abs();
        // At the edge of the RGB cube colours must give way.
        if after.0.iter().all(|v| (1..=254).contains(v)) {
            compared += 1;
            let ((cb, cr), (cb2, cr2)) = (chroma(before), chroma(after));
            assert!((cb - cb2).abs() < 1.5 && (cr - cr2).abs() < 1.5, "{before:?} → {after:?}");
        }
    }
    assert!(compared > cat.pixels().len() / 2, "{compared} pixels inside the cube");
    let changed = changed / cat.pixels().len() as f64;
    assert!(changed > 10.0, "brightness is painted: {changed}");
}
