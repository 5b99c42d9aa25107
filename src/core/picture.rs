//! Still pictures: files ↔ RGB frames, through the `image` crate; the pixels of a JPEG through
//! libjpeg-turbo.

use std::fs::File;
use std::io::{BufReader, BufWriter, Cursor, Write};
use std::path::{Path, PathBuf};

use image::codecs::jpeg::JpegEncoder;
use image::codecs::png::PngEncoder;
use image::{
    DynamicImage, ExtendedColorType, GrayImage, ImageDecoder, ImageEncoder, ImageFormat,
    ImageReader, RgbImage,
};

use crate::core::frame::{Colorimetry, Frame, FrameInfo, Matrix, Planes, Range};

/// Why a picture could not be read or written.
#[derive(Debug, thiserror::Error)]
pub enum PictureError {
    /// The file cannot be opened or read.
    #[error("cannot read '{}': {error}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: std::io::Error,
    },
    /// The data is damaged or of a kind that is not supported.
    #[error("cannot decode '{}': {}", path.display(), in_a_line(error))]
    Decode {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: image::ImageError,
    },
    /// The file cannot be written.
    #[error("cannot write '{}': {error}", path.display())]
    Write {
        /// Which file.
        path: PathBuf,
        /// Why.
        error: image::ImageError,
    },
}

/// Some decoders end their words with a new line.
fn in_a_line(error: &image::ImageError) -> String {
    error.to_string().split_whitespace().collect::<Vec<_>>().join(" ")
}

/// A still picture: its colours as an RGB frame, its opacity and its colour profile.
#[derive(Debug, Clone, PartialEq)]
pub struct Picture {
    /// Width × height, RGB, 8 bits.
    pub frame: Frame,
    /// Alpha of each pixel, 8 bits, row by row, when the file had any.
    pub alpha: Option<Vec<u8>>,
    /// ICC profile, when the file had one.
    pub icc: Option<Vec<u8>>,
}

/// The picture format of a file name, if it can be written.
pub fn format_for_output(path: &Path) -> Option<ImageFormat> {
    match path.extension()?.to_str()?.to_ascii_lowercase().as_str() {
        "png" => Some(ImageFormat::Png),
        "jpg" | "jpeg" => Some(ImageFormat::Jpeg),
        _ => None,
    }
}

/// Whether a file begins like a picture format that can be read.
pub fn is_picture(path: &Path) -> bool {
    // What is read of a named pipe is gone, and there may be nobody who writes into it yet.
    if !path.is_file() {
        return false;
    }
    let reader = ImageReader::open(path).and_then(ImageReader::with_guessed_format);
    // An extension alone is no proof, so a reader whose content was not recognised is asked again.
    reader.is_ok_and(|r| {
        let mut head = [0u8; 32];
        use std::io::Read;
        let n = r.into_inner().read(&mut head).unwrap_or(0);
        image::guess_format(&head[..n]).is_ok_and(|format| format.reading_enabled())
    })
}

/// Width and height of a picture file as shown (EXIF orientation applied), from its header alone.
///
/// # Errors
/// As [`Picture::open`], as far as the header tells.
pub fn size(path: &Path) -> Result<(usize, usize), PictureError> {
    let decode = |error| PictureError::Decode { path: path.to_owned(), error };
    let mut decoder = reader(path)?.into_decoder().map_err(decode)?;
    let orientation = decoder.orientation().map_err(decode)?;
    let (width, height) = decoder.dimensions();
    // The last of the eight swap the sides.
    let (width, height) = if orientation.to_exif() > 4 { (height, width) } else { (width, height) };
    Ok((width as usize, height as usize))
}

/// Number of pixels of a picture, from its header alone; none if that cannot be read.
pub fn pixels(data: &[u8]) -> Option<u64> {
    let reader = ImageReader::new(Cursor::new(data)).with_guessed_format().ok()?;
    let (width, height) = reader.into_dimensions().ok()?;
    Some(u64::from(width) * u64::from(height))
}

fn reader(path: &Path) -> Result<ImageReader<BufReader<File>>, PictureError> {
    let read = |error| PictureError::Read { path: path.to_owned(), error };
    let mut reader = ImageReader::open(path).map_err(read)?.with_guessed_format().map_err(read)?;
    reader.limits(limits());
    Ok(reader)
}

fn limits() -> image::Limits {
    let mut limits = image::Limits::default();
    limits.max_alloc = Some(4 << 30);
    limits
}

/// Decodes a JPEG with libjpeg-turbo, as PyTorch, Pillow, OpenCV and browsers do; the `image` crate's decoder
/// differs by up to 4 levels, which networks amplify. None for what libjpeg-turbo cannot decode to grey or RGB
/// without a warning (CMYK, damage): the `image` crate then decodes it, or reports the error.
fn jpeg_pixels(data: &[u8]) -> Option<DynamicImage> {
    let header = turbojpeg::read_header(data).ok()?;
    let (width, height) = (u32::try_from(header.width).ok()?, u32::try_from(header.height).ok()?);
    match header.colorspace {
        turbojpeg::Colorspace::Gray => {
            let grey = turbojpeg::decompress(data, turbojpeg::PixelFormat::GRAY).ok()?;
            GrayImage::from_raw(width, height, grey.pixels).map(DynamicImage::ImageLuma8)
        }
        turbojpeg::Colorspace::YCbCr | turbojpeg::Colorspace::RGB => {
            let rgb = turbojpeg::decompress(data, turbojpeg::PixelFormat::RGB).ok()?;
            RgbImage::from_raw(width, height, rgb.pixels).map(DynamicImage::ImageRgb8)
        }
        _ => None,
    }
}

impl Picture {
    /// A picture from an RGB frame, opaque and without a profile.
    pub fn from_frame(frame: Frame) -> Self {
        Picture { frame, alpha: None, icc: None }
    }

    /// Reads a picture file and applies its EXIF orientation.
    ///
    /// # Errors
    /// [`PictureError`].
    pub fn open(path: &Path) -> Result<Self, PictureError> {
        let data = std::fs::read(path)
            .map_err(|error| PictureError::Read { path: path.to_owned(), error })?;
        Self::decode(&data, path)
    }

    /// Reads a picture from what a file of this name holds, and applies its EXIF orientation.
    ///
    /// # Errors
    /// [`PictureError`].
    pub fn decode(data: &[u8], name: &Path) -> Result<Self, PictureError> {
        let decode = |error| PictureError::Decode { path: name.to_owned(), error };
        let mut reader = ImageReader::new(Cursor::new(data));
        ImageFormat::from_path(name).ok().into_iter().for_each(|format| reader.set_format(format));
        let mut reader = reader.with_guessed_format().map_err(|error| decode(error.into()))?;
        reader.limits(limits());
        let is_jpeg = reader.format() == Some(ImageFormat::Jpeg);
        let mut decoder = reader.into_decoder().map_err(decode)?;
        let orientation = decoder.orientation().map_err(decode)?;
        let icc = decoder.icc_profile().map_err(decode)?;
        let turbo = if is_jpeg { jpeg_pixels(data) } else { None };
        let mut picture = match turbo.filter(|p| (p.width(), p.height()) == decoder.dimensions()) {
            Some(picture) => picture,
            None => DynamicImage::from_decoder(decoder).map_err(decode)?,
        };
        picture.apply_orientation(orientation);
        // A profile of grey values or of inks would not fit the RGB picture that comes out.
        let icc = icc.filter(|icc| icc.get(16..20) == Some(b"RGB "));

        let (width, height) = (picture.width() as usize, picture.height() as usize);
        let alpha = picture.color().has_alpha().then(|| {
            let rgba = picture.to_rgba8();
            rgba.pixels().map(|p| p.0[3]).collect()
        });
        let rgb = picture.into_rgb8().into_raw();
        Ok(Picture { frame: rgb_frame(width, height, rgb), alpha, icc })
    }

    /// The picture on white, without alpha.
    #[must_use]
    pub fn on_white(mut self) -> Self {
        if let Some(alpha) = self.alpha.take() {
            let flat = on_white(self.frame.planes.bytes(), &alpha);
            self.frame.planes = Planes::Rgb(flat.into());
        }
        self
    }

    /// Writes the picture to `path`, in the format of `name` (the file's final name). PNG keeps alpha; in a JPEG
    /// the picture is on white.
    ///
    /// # Errors
    /// [`PictureError::Write`].
    pub fn save(&self, path: &Path, name: &Path) -> Result<(), PictureError> {
        let write = |error| PictureError::Write { path: name.to_owned(), error };
        let file = File::create(path).map_err(|e| write(e.into()))?;
        let mut file = BufWriter::new(file);
        let (width, height) = (self.frame.info.width as u32, self.frame.info.height as u32);
        let rgb: &[u8] = self.frame.planes.bytes();
        let icc = self.icc.clone();
        // A profile that the format cannot carry is left out; the colours are then taken as sRGB.
        let encoded = match (format_for_output(name), &self.alpha) {
            (Some(ImageFormat::Jpeg), alpha) => {
                let mut encoder = JpegEncoder::new_with_quality(&mut file, 95);
                let _ = icc.map(|icc| encoder.set_icc_profile(icc));
                let flat = alpha.as_ref().map(|alpha| on_white(rgb, alpha));
                let rgb = flat.as_deref().unwrap_or(rgb);
                encoder.write_image(rgb, width, height, ExtendedColorType::Rgb8)
            }
            (_, None) => {
                let mut encoder = PngEncoder::new(&mut file);
                let _ = icc.map(|icc| encoder.set_icc_profile(icc));
                encoder.write_image(rgb, width, height, ExtendedColorType::Rgb8)
            }
            (_, Some(alpha)) => {
                let mut encoder = PngEncoder::new(&mut file);
                let _ = icc.map(|icc| encoder.set_icc_profile(icc));
                let rgba: Vec<u8> = rgb
                    .chunks_exact(3)
                    .zip(alpha)
                    .flat_map(|(rgb, a)| [rgb[0], rgb[1], rgb[2], *a])
                    .collect();
                encoder.write_image(&rgba, width, height, ExtendedColorType::Rgba8)
            }
        };
        encoded.map_err(write)?;
        // The last bytes meet the full disk here, not unseen when the writer is dropped.
        file.flush().map_err(|e| write(e.into()))
    }
}

/// A frame from RGB bytes, row by row.
pub fn rgb_frame(width: usize, height: usize, rgb: Vec<u8>) -> Frame {
    // Luma of an RGB picture (for colour preservation) is that of JPEG: BT.601, full range.
    let colorimetry = Colorimetry { matrix: Matrix::Bt601, range: Range::Full };
    Frame {
        info: FrameInfo { width, height, colorimetry },
        planes: Planes::Rgb(rgb.into()),
        pts: None,
        duration: None,
    }
}

fn on_white(rgb: &[u8], alpha: &[u8]) -> Vec<u8> {
    let mix = |v: u8, a: u8| {
        let (v, a) = (u32::from(v), u32::from(a));
        ((v * a + 255 * (255 - a) + 127) / 255) as u8
    };
    rgb.chunks_exact(3)
        .zip(alpha)
        .flat_map(|(p, &a)| [mix(p[0], a), mix(p[1], a), mix(p[2], a)])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_png_with_alpha_comes_back_whole_and_a_jpeg_of_it_lies_on_white() {
        let folder = tempfile::tempdir().unwrap();
        let mut picture = Picture::from_frame(rgb_frame(2, 1, vec![10, 20, 30, 200, 100, 50]));
        picture.alpha = Some(vec![255, 0]);
        let png = folder.path().join("a.png");
        picture.save(&png, &png).unwrap();
        assert!(is_picture(&png));
        assert_eq!(Picture::open(&png).unwrap(), picture);
        assert_eq!(on_white(&[10, 20, 30, 200, 100, 50], &[255, 0]), [10, 20, 30, 255, 255, 255]);
        let jpeg = folder.path().join("a.jpg");
        picture.save(&jpeg, &jpeg).unwrap();
        assert_eq!(Picture::open(&jpeg).unwrap().alpha, None);
    }

    #[test]
    fn a_text_file_is_no_picture_whatever_its_name() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a.png");
        std::fs::write(&path, "just text").unwrap();
        assert!(!is_picture(&path));
        assert!(matches!(Picture::open(&path), Err(PictureError::Decode { .. })));
        assert!(!is_picture(&folder.path().join("none.png")));
    }
}
