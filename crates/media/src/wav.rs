//! WAV: reads prompts, and writes the header of recordings (RIFF; Microsoft's Multimedia Programming Interface 1.0).
//!
//! ```text
//!   0  "RIFF" size "WAVE"                                  size: everything after it, padding included
//!  12  "fmt " 18    format 6 (A-law), 1 channel, 8,000 Hz, 8,000 bytes/s, 1 byte a sample, 8 bit, 0 more bytes
//!  38  "fact" 4     samples
//!  50  "data" size  A-law samples … and a byte of padding when they are odd in number
//! ```
//!
//! A prompt may be PCM of 16 bit, which is converted, or A-law as it is to be sent. PCM is read with `hound`; A-law is not
//! among what that understands.

use crate::g711::linear_to_alaw;
use std::fmt;
use std::io::Cursor;

/// The longest prompt file in bytes: 2 MB.
pub const MAX_PROMPT: usize = 2 * 1024 * 1024;

/// Length of a recording's header in bytes; the samples follow it.
pub const HEADER_LEN: usize = 58;

/// Samples a second of prompts and recordings.
const RATE: u32 = 8000;

const PCM: u16 = 1;
const IEEE_FLOAT: u16 = 3;
const ALAW: u16 = 6;
const MULAW: u16 = 7;
const EXTENSIBLE: u16 = 0xfffe;

/// Why a file is no prompt. Its `Display` says what is wrong and how to mend it.
#[derive(Clone, Copy, PartialEq, Eq, Hash, Debug)]
pub enum WavError {
    /// No bytes, or no samples in them.
    Empty,
    /// More than [`MAX_PROMPT`] bytes.
    TooLarge,
    /// It does not begin with RIFF and WAVE.
    NotRiff,
    /// A chunk is longer than what is left of the file.
    Truncated,
    /// No `fmt ` chunk before the data, or one that is too short.
    NoFormat,
    /// No `data` chunk.
    NoData,
    /// More than one channel.
    NotMono {
        /// How many there are.
        channels: u16,
    },
    /// Not 8,000 Hz.
    WrongRate {
        /// Samples a second.
        rate: u32,
    },
    /// µ-law (format 7).
    MuLaw,
    /// Floating point (format 3).
    Float,
    /// PCM, but not of 16 bits; or A-law, but not of 8.
    WrongWidth {
        /// Bits a sample.
        bits: u16,
    },
    /// Another format.
    UnknownFormat {
        /// Its number in the `fmt ` chunk.
        tag: u16,
    },
    /// The numbers in the header contradict each other.
    Malformed,
}

impl WavError {
    /// Metric label.
    #[must_use]
    pub const fn label(self) -> &'static str {
        match self {
            WavError::Empty => "empty",
            WavError::TooLarge => "too_large",
            WavError::NotRiff => "not_riff",
            WavError::Truncated => "truncated",
            WavError::NoFormat => "no_format",
            WavError::NoData => "no_data",
            WavError::NotMono { .. } => "not_mono",
            WavError::WrongRate { .. } => "wrong_rate",
            WavError::MuLaw => "mu_law",
            WavError::Float => "float",
            WavError::WrongWidth { .. } => "wrong_width",
            WavError::UnknownFormat { .. } => "unknown_format",
            WavError::Malformed => "malformed",
        }
    }
}

impl fmt::Display for WavError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        /// What turns anything that sox can read into what we want.
        const MEND: &str = "sox in.wav -r 8000 -c 1 -e a-law out.wav";
        match self {
            WavError::Empty => write!(f, "no audio in it: record it again"),
            WavError::TooLarge => {
                write!(f, "more than 2 MB: shorten it (260 s of A-law fit; {MEND} trim 0 260)")
            }
            WavError::NotRiff => write!(f, "not a WAV file: convert it (sox in.mp3 -r 8000 -c 1 -e a-law out.wav)"),
            WavError::Truncated => write!(f, "the end is missing: copy the file again, or write it anew ({MEND})"),
            WavError::NoFormat => write!(f, "no format in the header: write it anew ({MEND})"),
            WavError::NoData => write!(f, "no data chunk in it: write it anew ({MEND})"),
            WavError::NotMono { channels: 2 } => {
                write!(f, "stereo: make it mono (sox in.wav -c 1 out.wav)")
            }
            WavError::NotMono { channels } => {
                write!(f, "{channels} channels: make it mono (sox in.wav -c 1 out.wav)")
            }
            WavError::WrongRate { rate } => {
                write!(f, "{rate} samples a second: make it 8000 (sox in.wav -r 8000 out.wav)")
            }
            WavError::MuLaw => write!(f, "µ-law: make it A-law (sox in.wav -e a-law out.wav)"),
            WavError::Float => {
                write!(f, "floating point: make it 16 bit (sox in.wav -e signed-integer -b 16 out.wav)")
            }
            WavError::WrongWidth { bits } => {
                write!(f, "{bits} bit: make it 16 bit (sox in.wav -e signed-integer -b 16 out.wav)")
            }
            WavError::UnknownFormat { tag } => {
                write!(f, "format {tag} is neither PCM nor A-law: convert it ({MEND})")
            }
            WavError::Malformed => {
                write!(f, "the header contradicts itself: write it anew ({MEND})")
            }
        }
    }
}

impl std::error::Error for WavError {}

/// Reads a prompt: 8,000 Hz, mono, A-law or PCM of 16 bit, at most [`MAX_PROMPT`]. Returns its A-law samples, at least one.
///
/// # Errors
///
/// A [`WavError`] for everything else.
pub fn read_prompt(bytes: &[u8]) -> Result<Box<[u8]>, WavError> {
    if bytes.is_empty() {
        return Err(WavError::Empty);
    }
    if bytes.len() > MAX_PROMPT {
        return Err(WavError::TooLarge);
    }
    let (format, samples) = read_chunks(bytes)?;
    let width = match format.tag {
        PCM => 16,
        ALAW => 8,
        MULAW => return Err(WavError::MuLaw),
        IEEE_FLOAT => return Err(WavError::Float),
        tag => return Err(WavError::UnknownFormat { tag }),
    };
    if format.channels != 1 {
        return Err(WavError::NotMono { channels: format.channels });
    }
    if format.rate != RATE {
        return Err(WavError::WrongRate { rate: format.rate });
    }
    if format.bits != width {
        return Err(WavError::WrongWidth { bits: format.bits });
    }
    if samples.is_empty() {
        return Err(WavError::Empty);
    }
    if format.tag == ALAW { Ok(samples.into()) } else { read_pcm(bytes, samples.len() / 2) }
}

/// Lets hound read what our own reader of chunks has judged to be so many samples. A file in which it finds anything else has
/// been made to be two files, or nearly so.
fn read_pcm(bytes: &[u8], count: usize) -> Result<Box<[u8]>, WavError> {
    let reader = hound::WavReader::new(Cursor::new(bytes)).map_err(|_| WavError::Malformed)?;
    let spec = reader.spec();
    let seen = (spec.channels, spec.sample_rate, spec.bits_per_sample, spec.sample_format);
    if count == 0 || reader.len() as usize != count || seen != (1, RATE, 16, hound::SampleFormat::Int) {
        return Err(WavError::Malformed);
    }
    let samples = reader.into_samples::<i16>();
    let alaw: Result<Box<[u8]>, _> = samples.map(|sample| sample.map(linear_to_alaw)).collect();
    alaw.map_err(|_| WavError::Malformed)
}

/// What a `fmt ` chunk says.
#[derive(Clone, Copy)]
struct Format {
    tag: u16,
    channels: u16,
    rate: u32,
    bits: u16,
}

/// Walks the chunks of a file up to its data.
fn read_chunks(bytes: &[u8]) -> Result<(Format, &[u8]), WavError> {
    let Some((b"RIFF", rest)) = bytes.split_first_chunk() else {
        return Err(WavError::NotRiff);
    };
    let Some((_, rest)) = rest.split_first_chunk::<4>() else {
        return Err(WavError::Truncated);
    };
    let Some((b"WAVE", mut rest)) = rest.split_first_chunk() else {
        return Err(WavError::NotRiff);
    };
    let mut format = None;
    while let Some((name, after)) = rest.split_first_chunk::<4>() {
        let (len, after) = after.split_first_chunk::<4>().ok_or(WavError::Truncated)?;
        let len = usize::try_from(u32::from_le_bytes(*len)).map_err(|_| WavError::Truncated)?;
        let chunk = after.get(..len).ok_or(WavError::Truncated)?;
        match name {
            b"fmt " => format = Some(read_format(chunk)?),
            b"data" => return Ok((format.ok_or(WavError::NoFormat)?, chunk)),
            _ => {}
        }
        // Chunks begin at even places; the padding after the last one is often left away.
        rest = after.get(len + len % 2..).unwrap_or_default();
    }
    Err(if format.is_some() { WavError::NoData } else { WavError::NoFormat })
}

fn read_format(chunk: &[u8]) -> Result<Format, WavError> {
    let u16_at = |at: usize| {
        let bytes = chunk.get(at..)?.first_chunk()?;
        Some(u16::from_le_bytes(*bytes))
    };
    let read = || {
        let rate = u32::from(u16_at(6)?) << 16 | u32::from(u16_at(4)?);
        // An extensible format has the true one at the beginning of its GUID.
        let tag = match u16_at(0)? {
            EXTENSIBLE => u16_at(24)?,
            tag => tag,
        };
        Some(Format { tag, channels: u16_at(2)?, rate, bits: u16_at(14)? })
    };
    read().ok_or(WavError::NoFormat)
}

/// The header of a recording with `data_len` samples after it. When they are odd in number, one more byte has to follow.
#[must_use]
pub fn header(data_len: u32) -> [u8; HEADER_LEN] {
    let riff_len = data_len.saturating_add(HEADER_LEN as u32 - 8).saturating_add(data_len % 2);
    let mut header = [0; HEADER_LEN];
    let fields: [(usize, &[u8]); 14] = [
        (0, b"RIFF"),
        (4, &riff_len.to_le_bytes()),
        (8, b"WAVEfmt "),
        (16, &18_u32.to_le_bytes()),
        (20, &ALAW.to_le_bytes()),
        (22, &1_u16.to_le_bytes()),
        (24, &RATE.to_le_bytes()),
        (28, &RATE.to_le_bytes()),
        (32, &1_u16.to_le_bytes()),
        (34, &8_u16.to_le_bytes()),
        (38, b"fact\x04\0\0\0"),
        (46, &data_len.to_le_bytes()),
        (50, b"data"),
        (54, &data_len.to_le_bytes()),
    ];
    for (at, bytes) in fields {
        header[at..at + bytes.len()].copy_from_slice(bytes);
    }
    header
}

/// The number of samples that the header of a recording states; `None` when it is no header as [`header`] makes it, apart
/// from its lengths.
#[must_use]
pub fn recorded_len(first58: &[u8]) -> Option<u32> {
    let len = u32::from_le_bytes(*first58.get(54..)?.first_chunk()?);
    let ours = header(len);
    let lengths = [4..8, 46..50, 54..58];
    let is_ours = (0..HEADER_LEN)
        .filter(|at| !lengths.iter().any(|range| range.contains(at)))
        .all(|at| first58.get(at) == ours.get(at));
    is_ours.then_some(len)
}

/// The header that a recording of `file_len` bytes should have; `None` when it has it or is not one of ours. The number of
/// samples in it is even, so of an odd one the last is to be cut off.
#[must_use]
pub fn repair(file_len: u64, first58: &[u8]) -> Option<[u8; HEADER_LEN]> {
    let stated = recorded_len(first58)?;
    let whole = u64::from(stated) + u64::from(stated % 2) + HEADER_LEN as u64;
    if whole == file_len && first58.get(..HEADER_LEN) == Some(&header(stated)) {
        return None;
    }
    let data_len = file_len.checked_sub(HEADER_LEN as u64)?;
    let longest = u32::MAX - HEADER_LEN as u32;
    Some(header(u32::try_from(data_len).unwrap_or(longest).min(longest) & !1))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::random::Random;
    use audio_codec_algorithms::encode_alaw;

    /// A file of these chunks, padded.
    fn riff(chunks: &[(&[u8; 4], &[u8])]) -> Vec<u8> {
        let mut body = b"WAVE".to_vec();
        for (name, chunk) in chunks {
            body.extend(*name);
            body.extend((chunk.len() as u32).to_le_bytes());
            body.extend(*chunk);
            body.extend(&[0][..chunk.len() % 2]);
        }
        [b"RIFF", &(body.len() as u32).to_le_bytes()[..], &body].concat()
    }

    fn format(tag: u16, channels: u16, rate: u32, bits: u16) -> Vec<u8> {
        let align = channels * (bits / 8);
        let fields = [tag, channels, rate as u16, (rate >> 16) as u16];
        let mut chunk: Vec<u8> = fields.iter().flat_map(|field| field.to_le_bytes()).collect();
        chunk.extend((rate * u32::from(align)).to_le_bytes());
        chunk.extend(align.to_le_bytes());
        chunk.extend(bits.to_le_bytes());
        chunk
    }

    fn file(tag: u16, channels: u16, rate: u32, bits: u16, data: &[u8]) -> Vec<u8> {
        riff(&[(b"fmt ", &format(tag, channels, rate, bits)), (b"data", data)])
    }

    #[test]
    fn a_prompt_in_alaw_is_taken_as_it_is() {
        let every: Vec<u8> = (0..=u8::MAX).collect();
        let bytes = file(ALAW, 1, 8000, 8, &every);
        assert_eq!(&*read_prompt(&bytes).unwrap(), every);
        let chunks: [(&[u8; 4], &[u8]); 5] = [
            (b"LIST", b"INFOodd"),
            (b"fmt ", &[&format(ALAW, 1, 8000, 8)[..], &[0, 0]].concat()),
            (b"fact", &[0; 4]),
            (b"data", &every[..255]),
            (b"LIST", b"after"),
        ];
        assert_eq!(&*read_prompt(&riff(&chunks)).unwrap(), &every[..255]);
        let mut unpadded = file(ALAW, 1, 8000, 8, &[1, 2, 3]);
        assert_eq!(unpadded.pop(), Some(0));
        assert_eq!(&*read_prompt(&unpadded).unwrap(), [1, 2, 3]);
    }

    #[test]
    fn a_prompt_in_pcm_is_converted_sample_by_sample() {
        let samples: Vec<i16> = (i16::MIN..=i16::MAX).step_by(97).collect();
        let data: Vec<u8> = samples.iter().flat_map(|sample| sample.to_le_bytes()).collect();
        let expected: Vec<u8> = samples.iter().map(|sample| encode_alaw(*sample)).collect();
        assert_eq!(&*read_prompt(&file(PCM, 1, 8000, 16, &data)).unwrap(), expected);
        let spec = hound::WavSpec {
            channels: 1,
            sample_rate: 8000,
            bits_per_sample: 16,
            sample_format: hound::SampleFormat::Int,
        };
        let mut written = Cursor::new(Vec::new());
        let mut writer = hound::WavWriter::new(&mut written, spec).unwrap();
        samples.iter().for_each(|sample| writer.write_sample(*sample).unwrap());
        writer.finalize().unwrap();
        assert_eq!(&*read_prompt(written.get_ref()).unwrap(), expected);
    }

    #[test]
    fn an_extensible_format_is_what_its_guid_says() {
        let extensible = |tag: u16, bits: u16| {
            let mut chunk = format(EXTENSIBLE, 1, 8000, bits);
            chunk.extend([22, 0, bits as u8, 0, 4, 0, 0, 0]);
            chunk.extend(tag.to_le_bytes());
            chunk.extend(b"\0\0\0\0\x10\0\x80\0\0\xaa\0\x38\x9b\x71");
            riff(&[(b"fmt ", &chunk), (b"data", &[0, 16, 0, 32])])
        };
        let pcm = [encode_alaw(4096), encode_alaw(8192)];
        assert_eq!(&*read_prompt(&extensible(PCM, 16)).unwrap(), pcm);
        assert_eq!(&*read_prompt(&extensible(ALAW, 8)).unwrap(), [0, 16, 0, 32]);
        assert_eq!(read_prompt(&extensible(IEEE_FLOAT, 32)), Err(WavError::Float));
    }

    #[test]
    fn everything_else_is_refused_with_what_is_wrong_and_how_to_mend_it() {
        let good = file(PCM, 1, 8000, 16, &[0; 8]);
        let mut rifx = good.clone();
        rifx[3] = b'X';
        let mut avi = good.clone();
        avi[8..12].copy_from_slice(b"AVI ");
        let fmt = format(PCM, 1, 8000, 16);
        let cases: Vec<(Vec<u8>, WavError, &str)> = vec![
            (vec![], WavError::Empty, "no audio"),
            (file(ALAW, 1, 8000, 8, &[]), WavError::Empty, "no audio"),
            (file(PCM, 1, 8000, 16, &[]), WavError::Empty, "no audio"),
            (vec![0; MAX_PROMPT + 1], WavError::TooLarge, "shorten it"),
            (b"ID3\x03mp3".to_vec(), WavError::NotRiff, "sox in.mp3"),
            (rifx, WavError::NotRiff, "not a WAV"),
            (avi, WavError::NotRiff, "not a WAV"),
            (good[..good.len() - 1].to_vec(), WavError::Truncated, "end is missing"),
            (good[..6].to_vec(), WavError::Truncated, "end is missing"),
            (good[..18].to_vec(), WavError::Truncated, "end is missing"),
            (good[..36].to_vec(), WavError::NoData, "no data"),
            (good[..12].to_vec(), WavError::NoFormat, "no format"),
            (riff(&[(b"data", &[0; 8]), (b"fmt ", &fmt)]), WavError::NoFormat, "no format"),
            (riff(&[(b"fmt ", &fmt[..14]), (b"data", &[0; 8])]), WavError::NoFormat, "no format"),
            (
                file(PCM, 2, 8000, 16, &[0; 8]),
                WavError::NotMono { channels: 2 },
                "stereo: make it mono (sox in.wav -c 1 out.wav)",
            ),
            (file(ALAW, 6, 8000, 8, &[0; 6]), WavError::NotMono { channels: 6 }, "6 channels"),
            (file(PCM, 0, 8000, 16, &[0; 8]), WavError::NotMono { channels: 0 }, "0 channels"),
            (file(PCM, 1, 44_100, 16, &[0; 8]), WavError::WrongRate { rate: 44_100 }, "44100 samples"),
            (file(ALAW, 1, 16_000, 8, &[0; 8]), WavError::WrongRate { rate: 16_000 }, "-r 8000"),
            (file(MULAW, 1, 8000, 8, &[0; 8]), WavError::MuLaw, "-e a-law"),
            (file(IEEE_FLOAT, 1, 8000, 32, &[0; 8]), WavError::Float, "-b 16"),
            (file(PCM, 1, 8000, 8, &[0; 8]), WavError::WrongWidth { bits: 8 }, "8 bit"),
            (file(PCM, 1, 8000, 24, &[0; 9]), WavError::WrongWidth { bits: 24 }, "24 bit"),
            (file(0x11, 1, 8000, 4, &[0; 8]), WavError::UnknownFormat { tag: 17 }, "format 17"),
            (file(PCM, 1, 8000, 16, &[0; 7]), WavError::Malformed, "contradicts"),
        ];
        for (bytes, error, words) in cases {
            assert_eq!(read_prompt(&bytes), Err(error));
            let shown = error.to_string();
            assert!(shown.contains(words), "{shown}");
            assert!(error == WavError::Empty || shown.contains("sox "), "no mend in {shown}");
        }
        assert_eq!(read_prompt(&good).unwrap().len(), 4);
    }

    #[test]
    fn the_largest_prompt_is_taken() {
        let bytes = file(ALAW, 1, 8000, 8, &vec![7; MAX_PROMPT - 44]);
        assert_eq!(bytes.len(), MAX_PROMPT);
        assert_eq!(read_prompt(&bytes).unwrap().len(), MAX_PROMPT - 44);
    }

    #[test]
    fn no_mutation_and_no_truncation_panics() {
        let mut random = Random::new(58);
        for base in [file(PCM, 1, 8000, 16, &[3; 32]), [&header(32)[..], &[3; 32]].concat()] {
            for len in 0..base.len() {
                let _ = read_prompt(&base[..len]);
                let _ = repair(len as u64, &base[..len]);
            }
            for _ in 0..50_000 {
                let mut bytes = base.clone();
                for _ in 0..=random.next_u32() % 4 {
                    let at = random.next_u32() as usize % bytes.len();
                    bytes[at] = match random.next_u32() % 3 {
                        0 => 0,
                        1 => 0xff,
                        _ => random.next_u32() as u8,
                    };
                }
                if let Ok(samples) = read_prompt(&bytes) {
                    assert!(!samples.is_empty());
                }
                let _ = repair(random.next_u64(), &bytes);
            }
        }
    }

    #[test]
    fn the_header_is_as_the_picture_says() {
        let expected: Vec<u8> = [
            b"RIFF" as &[u8],
            &[50 + 100, 0, 0, 0],
            b"WAVEfmt ",
            &[18, 0, 0, 0, 6, 0, 1, 0, 0x40, 0x1f, 0, 0, 0x40, 0x1f, 0, 0, 1, 0, 8, 0, 0, 0],
            b"fact",
            &[4, 0, 0, 0, 100, 0, 0, 0],
            b"data",
            &[100, 0, 0, 0],
        ]
        .concat();
        assert_eq!(header(100).to_vec(), expected);
        assert_eq!(header(101)[4], 50 + 102, "padding counts");
        assert_eq!(header(u32::MAX)[4..8], [0xff; 4]);
    }

    #[test]
    fn a_recording_can_be_read_as_a_prompt() {
        for len in [1, 2, 999, 1000] {
            let samples = vec![0x55; len as usize];
            let padding = &[0][..len as usize % 2];
            let bytes = [&header(len), &samples[..], padding].concat();
            assert_eq!(&*read_prompt(&bytes).unwrap(), samples);
            assert_eq!(recorded_len(&bytes), Some(len));
            assert_eq!(repair(bytes.len() as u64, &bytes), None);
        }
    }

    #[test]
    fn a_stale_header_is_repaired_and_stays_so() {
        let stated_and_real = [(0, 1000, 1000), (900, 1000, 1000), (1000, 901, 900), (1000, 0, 0), (0, 1, 0)];
        for (stated, real, mended) in stated_and_real {
            let file_len = HEADER_LEN as u64 + real;
            assert_eq!(repair(file_len, &header(stated)), Some(header(mended)), "{stated} {real}");
            assert_eq!(repair(HEADER_LEN as u64 + u64::from(mended), &header(mended)), None);
        }
        let mut riff_only = header(1000);
        riff_only[4] = 0;
        assert_eq!(repair(1058, &riff_only), Some(header(1000)));
        let longest = repair(u64::MAX, &header(0)).unwrap();
        assert_eq!(recorded_len(&longest), Some((u32::MAX - 58) & !1));
    }

    #[test]
    fn what_is_not_ours_is_not_repaired() {
        assert_eq!(repair(58, &[0; 58]), None);
        assert_eq!(repair(57, &header(0)[..57]), None);
        assert_eq!(repair(40, &header(0)), None);
        assert_eq!(repair(144, &file(ALAW, 1, 8000, 8, &[0; 100])), None);
        let mut stereo = header(0);
        stereo[22] = 2;
        assert_eq!(repair(1058, &stereo), None);
    }
}
