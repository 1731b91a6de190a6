//! Target `wav`.

use std::io::Cursor;

use media::wav::{self, HEADER_LEN, MAX_PROMPT};

/// See the [crate's](crate) table.
pub fn wav(data: &[u8]) {
    as_prompt(data);
    as_recording(data);
}

fn as_prompt(data: &[u8]) {
    let Ok(alaw) = wav::read_prompt(data) else { return };
    assert!(!alaw.is_empty() && alaw.len() <= MAX_PROMPT.min(data.len()));
    let length = u32::try_from(alaw.len()).expect("at most 2 MB");
    let mut file = wav::header(length).to_vec();
    file.extend_from_slice(&alaw);
    assert_eq!(wav::read_prompt(&file).as_deref(), Ok(&*alaw), "a prompt written as we write recordings");
    assert_eq!(wav::recorded_len(&file), Some(length));
    let as_it_came = data.windows(alaw.len()).any(|window| window == &*alaw);
    if !as_it_came {
        // So it was PCM, which hound has read for us: it must have seen what our own reader of chunks has judged.
        let reader = hound::WavReader::new(Cursor::new(data)).expect("it has read it before");
        let spec = reader.spec();
        assert_eq!((spec.channels, spec.sample_rate, spec.bits_per_sample), (1, 8000, 16));
        assert_eq!(reader.duration(), length, "a sample for each of theirs");
    }
}

fn as_recording(data: &[u8]) {
    let length = data.len() as u64;
    let Some(mended) = wav::repair(length, data) else { return };
    assert!(wav::recorded_len(data).is_some(), "only what is a recording is mended");
    let stated = wav::recorded_len(&mended).expect("a header of ours");
    let whole = u64::from(stated) + HEADER_LEN as u64;
    assert!(stated.is_multiple_of(2) && whole <= length && length - whole < 2, "{stated} of {length}");
    let mut file = data[..usize::try_from(whole).expect("within data")].to_vec();
    file[..HEADER_LEN].copy_from_slice(&mended);
    assert_eq!(wav::repair(whole, &file), None, "what is mended is whole");
    assert_eq!(wav::read_prompt(&file).is_ok(), stated > 0 && whole <= MAX_PROMPT as u64);
}
