//! YUV4MPEG2, the format of raw video in pipes: a header line with the format of the frames, then for each frame
//! the line `FRAME` and its samples, rows without padding.
//!
//! Read and written here: GStreamer's y4menc writes padded rows, and its y4mdec
//! misreads ten bits and full range.

mod header;

use std::io::{BufRead, Read, Write};

pub use header::{ChromaSite, Header, Interlace, Sampling};

use header::MAGIC;

/// Why a stream cannot be read.
#[derive(Debug, thiserror::Error)]
pub enum Y4mError {
    /// It is empty.
    #[error("it is empty: it ended before its first byte")]
    Empty,
    /// It is another format.
    #[error("it is not YUV4MPEG2; `ffmpeg -i FILE -f yuv4mpegpipe -` makes it of a video")]
    NotY4m,
    /// The header cannot be parsed.
    #[error("its header is not understood: {0}")]
    Header(String),
    /// Something other than a frame follows a frame.
    #[error("it is damaged: what follows frame {0} is not a frame")]
    NoFrame(u64),
    /// It ends inside a frame.
    #[error("it is cut off: it ends in the middle of frame {0}")]
    CutOff(u64),
    /// The input cannot be read.
    #[error(transparent)]
    Read(#[from] std::io::Error),
}

/// Longest header line, in bytes.
const LONGEST_LINE: u64 = 4096;

/// Reads the frames of a stream, one after another.
#[derive(Debug)]
pub struct Reader<R> {
    input: R,
    header: Header,
    frames: u64,
}

impl<R: BufRead> Reader<R> {
    /// Reads the header.
    ///
    /// # Errors
    /// [`Y4mError`].
    pub fn open(mut input: R) -> Result<Self, Y4mError> {
        let mut magic = Vec::new();
        input.by_ref().take(MAGIC.len() as u64).read_to_end(&mut magic)?;
        if magic.is_empty() {
            return Err(Y4mError::Empty);
        }
        if magic != MAGIC {
            return Err(Y4mError::NotY4m);
        }
        let rest = line(&mut input)?.ok_or_else(|| Y4mError::Header("it has no end".into()))?;
        magic.extend(rest);
        let header = Header::parse(&String::from_utf8_lossy(&magic))?;
        Ok(Reader { input, header, frames: 0 })
    }

    /// The format of its frames.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// Frames read so far.
    pub fn frames(&self) -> u64 {
        self.frames
    }

    /// Reads the next frame into `frame`, whose memory is reused; false at the end.
    ///
    /// # Errors
    /// [`Y4mError`].
    pub fn next(&mut self, frame: &mut Vec<u8>) -> Result<bool, Y4mError> {
        if self.input.fill_buf()?.is_empty() {
            return Ok(false);
        }
        let cut_off = Y4mError::CutOff(self.frames + 1);
        let mark = line(&mut self.input)?;
        let Some(mark) = mark else {
            return Err(if self.input.fill_buf()?.is_empty() {
                cut_off
            } else {
                Y4mError::NoFrame(self.frames)
            });
        };
        if mark != b"FRAME" && !mark.starts_with(b"FRAME ") {
            return Err(Y4mError::NoFrame(self.frames));
        }
        let bytes = self.header.frame_bytes();
        frame.clear();
        // Room is found as bytes come, not for what a header merely says.
        self.input.by_ref().take(bytes as u64).read_to_end(frame)?;
        if frame.len() < bytes {
            return Err(cut_off);
        }
        self.frames += 1;
        Ok(true)
    }
}

/// Reads a line, without its line end; none if the input ends or the line is too long.
fn line(input: &mut impl BufRead) -> Result<Option<Vec<u8>>, std::io::Error> {
    let mut line = Vec::new();
    input.by_ref().take(LONGEST_LINE).read_until(b'\n', &mut line)?;
    Ok(line.strip_suffix(b"\n").map(<[u8]>::to_vec))
}

/// Writes a stream; the header is written with the first frame.
#[derive(Debug)]
pub struct Writer<W> {
    output: W,
    header: Option<Header>,
}

impl<W: Write> Writer<W> {
    /// A stream to `output`; nothing is written yet.
    pub fn new(output: W, header: Header) -> Self {
        Writer { output, header: Some(header) }
    }

    /// Writes a frame whose planes lie one after another, rows without padding.
    ///
    /// # Errors
    /// Those of the output.
    pub fn write(&mut self, frame: &[u8]) -> std::io::Result<()> {
        if let Some(header) = self.header.take() {
            self.output.write_all(header.line().as_bytes())?;
        }
        self.output.write_all(b"FRAME\n")?;
        self.output.write_all(frame)
    }

    /// Flushes the output.
    ///
    /// # Errors
    /// Those of the output.
    pub fn flush(&mut self) -> std::io::Result<()> {
        self.output.flush()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::core::frame::Range;
    use crate::core::rate::FrameRate;

    fn read(bytes: &[u8]) -> (Vec<Vec<u8>>, Option<String>) {
        let mut reader = match Reader::open(bytes) {
            Ok(reader) => reader,
            Err(error) => return (Vec::new(), Some(error.to_string())),
        };
        let (mut frames, mut frame) = (Vec::new(), Vec::new());
        loop {
            match reader.next(&mut frame) {
                Ok(true) => frames.push(frame.clone()),
                Ok(false) => return (frames, None),
                Err(error) => return (frames, Some(error.to_string())),
            }
        }
    }

    #[test]
    fn what_is_written_is_read_again() {
        let rate = FrameRate { frames: 30000, seconds: 1001 };
        for (sampling, site, depth, bytes) in [
            (Sampling::Yuv420, ChromaSite::Left, 8, 5 * 3 + 2 * 6),
            (Sampling::Yuv420, ChromaSite::Centre, 8, 5 * 3 + 2 * 6),
            (Sampling::Yuv420, ChromaSite::PalDv, 8, 5 * 3 + 2 * 6),
            (Sampling::Yuv420, ChromaSite::Left, 10, 2 * (5 * 3 + 2 * 6)),
            (Sampling::Yuv422, ChromaSite::Left, 8, 15 + 2 * 9),
            (Sampling::Yuv411, ChromaSite::Left, 8, 15 + 2 * 6),
            (Sampling::Yuv444, ChromaSite::Centre, 12, 2 * 45),
            (Sampling::Yuv444Alpha, ChromaSite::Centre, 8, 60),
            (Sampling::Mono, ChromaSite::Centre, 8, 15),
            (Sampling::Mono, ChromaSite::Centre, 16, 30),
        ] {
            for (range, interlace) in
                [(Range::Full, Interlace::Progressive), (Range::Limited, Interlace::TopFirst)]
            {
                let (width, height, pixel_aspect) = (5, 3, (16, 11));
                let header = Header {
                    width,
                    height,
                    rate,
                    pixel_aspect,
                    sampling,
                    site,
                    depth,
                    range,
                    interlace,
                };
                assert_eq!(header.frame_bytes(), bytes, "{header:?}");
                let mut stream = Vec::new();
                let mut writer = Writer::new(&mut stream, header);
                let frames = [vec![1; bytes], vec![2; bytes]];
                frames.iter().for_each(|frame| writer.write(frame).unwrap());
                assert_eq!(*Reader::open(&stream[..]).unwrap().header(), header);
                assert_eq!(read(&stream), (frames.to_vec(), None));
            }
        }
    }

    #[test]
    fn parameters_of_frames_and_unknown_words_are_passed_over() {
        let stream =
            b"YUV4MPEG2 W2 H1 F0:0 A0:0 I? Cmono Xanything Zbox\nFRAME Ip Xq=3\nabFRAME\ncd";
        assert_eq!(read(stream), (vec![b"ab".to_vec(), b"cd".to_vec()], None));
        let header = *Reader::open(&stream[..]).unwrap().header();
        assert_eq!((header.rate, header.pixel_aspect), (FrameRate::USUAL, (1, 1)));
        let older = Header::parse("YUV4MPEG2 W2 H2 XYSCSS=422").unwrap();
        assert_eq!(older.sampling, Sampling::Yuv422);
    }

    #[test]
    fn what_is_no_stream_is_refused_and_a_broken_one_gives_its_whole_frames() {
        let says = |bytes: &[u8], frames: usize, words: &str| {
            let (read, error) = read(bytes);
            let error = error.unwrap_or_default();
            assert!(read.len() == frames && error.contains(words), "{} {error}", read.len());
        };
        says(b"", 0, "it is empty");
        says(b"YUV4", 0, "not YUV4MPEG2");
        says(&[0x1A, 0x45, 0xDF, 0xA3].repeat(9), 0, "not YUV4MPEG2");
        says(b"YUV4MPEG2 W2 H2", 0, "no end");
        says(&[b"YUV4MPEG2 ".to_vec(), vec![b'x'; 9000]].concat(), 0, "no end");
        says(b"YUV4MPEG2 W2\n", 0, "2\u{d7}0 pixels");
        says(b"YUV4MPEG2 W99999999 H99999999\n", 0, "are not supported");
        says(b"YUV4MPEG2 W32768 H32768\n", 0, "are not supported");
        says(b"YUV4MPEG2 W99999999999999999999999 H2\n", 0, "'W9999");
        says(b"YUV4MPEG2 W-2 H2\n", 0, "'W-2'");
        says(b"YUV4MPEG2 W2 H2 F25\n", 0, "'F25'");
        says(b"YUV4MPEG2 W2 H2 C555\n", 0, "'555'");
        says(b"YUV4MPEG2 W2 H2 C420p99\n", 0, "'420p99'");
        says(b"YUV4MPEG2 W2 H1 Cmono\nFRAME\nab", 1, "");
        says(b"YUV4MPEG2 W2 H1 Cmono\nFRAME\nabFRAME\nc", 1, "in the middle of frame 2");
        says(b"YUV4MPEG2 W2 H1 Cmono\nFRAME\nabFRA", 1, "in the middle of frame 2");
        says(b"YUV4MPEG2 W2 H1 Cmono\nFRAME\nabcdef\nFRAME\n", 1, "what follows frame 1");
        // A picture of half a gigabyte that never comes takes no room.
        says(b"YUV4MPEG2 W32768 H16384 Cmono\nFRAME\nab", 0, "in the middle of frame 1");
    }
}
