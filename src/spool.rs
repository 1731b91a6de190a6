//! The spool: a file in memory where a record is safe from the death of this process, before the store has it.
//!
//! ```text
//!   page 0           segment 0                              segment 1
//!   magic, done │ len seq sum record │ len seq sum … 0 │ len seq sum record │ … 0 ▒▒▒▒ older ones
//!        ▲                                                       ▲
//!        └─ every record up to this number is in the store       └─ put() ends with `len`: only then is it there
//! ```
//!
//! Each kind of record has a file of its own ([`Kind`]). A record costs a few stores to memory that the kernel keeps whatever becomes of us, and no call of the system. Whoever puts
//! records goes on in the segment that has nothing which the store lacks; where neither is so, the spool is full. What the
//! power takes, the sum finds out.

use std::fs::File;
use std::io;
use std::ops::Range;
use std::os::unix::fs::FileExt;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering, fence};

use memmap2::{MmapMut, MmapOptions};
use serde::Serialize;

use crate::store::{StoreError, sqlite};

/// What is spooled, and where.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Kind {
    /// The spool's file.
    pub(crate) file: &'static str,
    /// What stands at its beginning; another version of the records has another one.
    pub(crate) magic: [u8; 8],
    /// Bytes of a segment.
    pub(crate) segment: usize,
}

/// The page with the mark.
const PAGE: usize = 4096;

/// Before a record: its length (8 bytes, of which 4 are used), its number, its sum.
const HEAD: usize = 24;

/// Where records are put, by one at a time.
#[derive(Debug)]
pub(crate) struct Spool {
    /// Both segments.
    map: MmapMut,
    segment: usize,
    /// The segment that is being filled, and how far it is.
    current: usize,
    offset: usize,
    /// The number of the last record in each.
    last: [u64; 2],
    next: u64,
    done: Arc<AtomicU64>,
    /// Locked for this process.
    _file: File,
}

/// Up to where the store has everything; moved by who writes into it.
#[derive(Debug)]
pub(crate) struct Mark {
    map: MmapMut,
    done: Arc<AtomicU64>,
}

/// What the last process left behind.
#[derive(Debug, Default)]
pub(crate) struct Leftover {
    /// Records that the store may lack, with their numbers, in their order.
    pub(crate) records: Vec<(u64, Vec<u8>)>,
    /// Records that have come apart.
    pub(crate) torn: usize,
    /// The number of the last one.
    pub(crate) last: u64,
}

impl Spool {
    /// Opens the spool in this folder, or makes it.
    pub(crate) fn open(dir: &Path, kind: &Kind) -> Result<(Spool, Mark, Leftover), StoreError> {
        let Kind { file, magic, segment } = *kind;
        let path = dir.join(file);
        let file = sqlite::lock(&path)?;
        reserve(&file, PAGE + 2 * segment).map_err(sqlite::at(&path))?;
        let mut mark = Mark { map: map(&file, 0..PAGE).map_err(sqlite::at(&path))?, done: Arc::default() };
        mark.read(magic).map_err(sqlite::at(&path))?;
        let map = map(&file, PAGE..PAGE + 2 * segment).map_err(sqlite::at(&path))?;
        let done = Arc::clone(&mark.done);
        let already = done.load(Ordering::Relaxed);

        let mut spool =
            Spool { map, segment, current: 0, offset: 0, last: [0; 2], next: already + 1, done, _file: file };
        let mut leftover = Leftover { last: already, ..Leftover::default() };
        let ends = [0, 1].map(|place| spool.read(place, already, &mut leftover));
        // It goes on behind the last record.
        spool.current = usize::from(spool.last[1] > spool.last[0]);
        spool.offset = ends[spool.current];
        leftover.records.sort_unstable_by_key(|(number, _)| *number);
        spool.next = leftover.last + 1;
        Ok((spool, mark, leftover))
    }

    /// Puts a record as JSON; its number, or nothing where there is no room.
    pub(crate) fn put(&mut self, record: &impl Serialize) -> Option<u64> {
        self.put_with(|room| Ok(serde_json::to_writer(room, record)?))
    }

    /// Puts what `write` writes, which it may be asked for twice; its number, or nothing where there is no room.
    pub(crate) fn put_with(&mut self, write: impl Fn(&mut &mut [u8]) -> io::Result<()>) -> Option<u64> {
        let done = self.done.load(Ordering::Acquire);
        if self.offset > 0 && self.last[self.current] <= done {
            // The store has them all: the same few pages serve again.
            self.enter(self.current);
        }
        if let Some(number) = self.append(&write) {
            return Some(number);
        }
        let other = 1 - self.current;
        if self.last[other] > done {
            return None;
        }
        self.enter(other);
        self.append(&write)
    }

    /// Begins a segment whose records are all done.
    fn enter(&mut self, place: usize) {
        (self.current, self.offset) = (place, 0);
        let start = self.range(place).start;
        self.map[start..start + 8].fill(0);
        // In memory one store follows the other already; the compiler shall not turn them round.
        fence(Ordering::Release);
    }

    fn append(&mut self, write: impl Fn(&mut &mut [u8]) -> io::Result<()>) -> Option<u64> {
        let number = self.next;
        let range = self.range(self.current);
        let room = self.map.get_mut(range)?.get_mut(self.offset..)?;
        let (head, body) = room.split_at_mut_checked(HEAD)?;
        let all = body.len();
        let mut free = &mut *body;
        // It fails where the room ends.
        write(&mut free).ok()?;
        let len = all - free.len();
        head[8..16].copy_from_slice(&number.to_le_bytes());
        head[16..24].copy_from_slice(&sum(number, &body[..len]).to_le_bytes());
        let step = len.next_multiple_of(8);
        if let Some(next) = body.get_mut(step..step + 8) {
            next.fill(0);
        }
        fence(Ordering::Release);
        head[..8].copy_from_slice(&(len as u64).to_le_bytes());
        self.offset += HEAD + step;
        self.last[self.current] = number;
        self.next += 1;
        Some(number)
    }

    /// Reads a segment to its end, and returns where that is.
    fn read(&mut self, place: usize, done: u64, leftover: &mut Leftover) -> usize {
        let segment = &self.map[self.range(place)];
        let mut offset = 0;
        while let Some(head) = segment.get(offset..offset + HEAD) {
            let [len, number, expected] = [0, 8, 16].map(|at| word(&head[at..]));
            if len == 0 {
                break;
            }
            let start = offset + HEAD;
            let body = usize::try_from(len).ok().and_then(|len| segment.get(start..start.checked_add(len)?));
            let Some(body) = body.filter(|body| sum(number, body) == expected) else {
                leftover.torn += 1;
                break;
            };
            self.last[place] = self.last[place].max(number);
            leftover.last = leftover.last.max(number);
            if number > done {
                leftover.records.push((number, body.to_vec()));
            }
            offset = start + body.len().next_multiple_of(8);
        }
        offset
    }

    fn range(&self, place: usize) -> Range<usize> {
        place * self.segment..(place + 1) * self.segment
    }
}

impl Mark {
    /// The store has every record up to this number.
    pub(crate) fn set(&mut self, done: u64) {
        self.map[8..16].copy_from_slice(&done.to_le_bytes());
        self.map[16..24].copy_from_slice(&(!done).to_le_bytes());
        // Only then may its segment be used again.
        self.done.store(done, Ordering::Release);
    }

    fn read(&mut self, magic: [u8; 8]) -> io::Result<()> {
        let found = &self.map[..8];
        if found == [0; 8] {
            self.map[..8].copy_from_slice(&magic);
            return Ok(());
        }
        if found != magic {
            return Err(io::Error::new(io::ErrorKind::InvalidData, "another axbridge has written it"));
        }
        let [done, check] = [word(&self.map[8..]), word(&self.map[16..])];
        if done == !check {
            self.done.store(done, Ordering::Relaxed);
        }
        // Else we died while it was moved: everything is looked at once more.
        Ok(())
    }
}

/// Gives the file its length, with blocks of the disk behind all of it: memory without would kill us on a full disk. They are
/// written, not only reserved, so that a store to a page never has to wait for the file system to find it a place.
fn reserve(file: &File, length: usize) -> io::Result<()> {
    static ZEROS: [u8; 1 << 16] = [0; 1 << 16];
    let length = length as u64;
    let mut at = file.metadata()?.len();
    if at >= length {
        return Ok(());
    }
    while at < length {
        let piece = ZEROS.len().min(usize::try_from(length - at).unwrap_or(usize::MAX));
        file.write_all_at(&ZEROS[..piece], at)?;
        at += piece as u64;
    }
    file.sync_all()
}

#[allow(unsafe_code)]
fn map(file: &File, range: Range<usize>) -> io::Result<MmapMut> {
    // SAFETY: the file is private to this user and locked for this process, which maps each byte once and never makes it
    // shorter.
    unsafe { MmapOptions::new().offset(range.start as u64).len(range.len()).map_mut(file) }
}

fn word(bytes: &[u8]) -> u64 {
    bytes.first_chunk().map_or(0, |bytes| u64::from_le_bytes(*bytes))
}

/// FNV-1a over words of 8 bytes, begun with the record's number: it has to notice pages that are missing, not an enemy.
fn sum(number: u64, bytes: &[u8]) -> u64 {
    let mix = |state: u64, word: u64| (state ^ word).wrapping_mul(0x0000_0100_0000_01b3).rotate_left(23);
    let (words, rest) = bytes.as_chunks::<8>();
    let state =
        words.iter().fold(mix(0xcbf2_9ce4_8422_2325, number), |state, word| mix(state, u64::from_le_bytes(*word)));
    rest.iter().fold(mix(state, bytes.len() as u64), |state, byte| mix(state, u64::from(*byte)))
}

#[cfg(test)]
mod tests {
    use tempfile::TempDir;

    use super::*;

    const KIND: Kind = Kind { file: "tests.spool", magic: *b"axtest-1", segment: 4096 };

    fn open(dir: &TempDir) -> (Spool, Mark, Leftover) {
        Spool::open(dir.path(), &KIND).unwrap()
    }

    fn left(dir: &TempDir) -> Vec<u64> {
        let (_, _, leftover) = open(dir);
        let read = |(number, bytes): (u64, Vec<u8>)| {
            let text: String = serde_json::from_slice(&bytes).unwrap();
            assert_eq!(text, body(number));
            number
        };
        leftover.records.into_iter().map(read).collect()
    }

    fn body(number: u64) -> String {
        format!("{number} {}", "x".repeat(number as usize * 37 % 300))
    }

    fn put(spool: &mut Spool, number: u64) {
        assert_eq!(spool.put(&body(number)), Some(number));
    }

    #[test]
    fn what_is_put_and_not_done_is_left() {
        let dir = TempDir::new().unwrap();
        let (mut spool, mut mark, leftover) = open(&dir);
        assert!(leftover.records.is_empty());
        for number in 1..=5 {
            put(&mut spool, number);
        }
        drop((spool, mark));
        assert_eq!(left(&dir), [1, 2, 3, 4, 5]);
        (spool, mark, _) = open(&dir);
        put(&mut spool, 6);
        mark.set(4);
        drop((spool, mark));
        assert_eq!(left(&dir), [5, 6]);
        (spool, mark, _) = open(&dir);
        mark.set(6);
        put(&mut spool, 7);
        drop((spool, mark));
        assert_eq!(left(&dir), [7]);
    }

    #[test]
    fn the_segments_take_turns_and_a_full_spool_says_so() {
        let dir = TempDir::new().unwrap();
        let (mut spool, mut mark, _) = open(&dir);
        let mut next = 1;
        // Nothing is done: it fills, and loses nothing.
        while spool.put(&body(next)).is_some() {
            next += 1;
        }
        assert!((20..60).contains(&next), "{next}");
        assert_eq!(spool.put(&"x".repeat(8000)), None, "larger than a segment");
        drop((spool, mark));
        assert_eq!(left(&dir), (1..next).collect::<Vec<_>>());
        (spool, mark, _) = open(&dir);
        assert_eq!(spool.put(&body(next)), None, "still full");
        // The first segment becomes free with its last record, not before.
        let split = spool.last[0];
        mark.set(split - 1);
        assert_eq!(spool.put(&body(next)), None);
        mark.set(split);
        put(&mut spool, next);
        drop((spool, mark));
        assert_eq!(left(&dir), (split + 1..=next).collect::<Vec<_>>());
        // Long life: always a few behind.
        (spool, mark, _) = open(&dir);
        for number in next + 1..next + 2000 {
            mark.set(number - 8);
            put(&mut spool, number);
        }
        drop((spool, mark));
        assert_eq!(left(&dir), (next + 1992..next + 2000).collect::<Vec<_>>());
    }

    #[test]
    fn where_all_is_done_the_same_pages_serve_again() {
        let dir = TempDir::new().unwrap();
        let (mut spool, mut mark, _) = open(&dir);
        for number in 1..1000 {
            put(&mut spool, number);
            mark.set(number);
            assert!(spool.offset < 400);
        }
    }

    #[test]
    fn a_torn_record_is_left_out_and_those_before_are_not() {
        let dir = TempDir::new().unwrap();
        let (mut spool, _, _) = open(&dir);
        for number in 1..=3 {
            put(&mut spool, number);
        }
        let end = spool.offset;
        drop(spool);
        let path = dir.path().join(KIND.file);
        let whole = std::fs::read(&path).unwrap();
        let begin = end - (HEAD + (body(3).len() + 2).next_multiple_of(8));
        for torn in begin..end {
            let mut bytes = whole.clone();
            bytes[PAGE + torn] ^= 0x55;
            std::fs::write(&path, bytes).unwrap();
            let (mut spool, mark, leftover) = open(&dir);
            let numbers: Vec<u64> = leftover.records.iter().map(|(number, _)| *number).collect();
            let is_padding = torn - begin >= HEAD + body(3).len() + 2;
            if is_padding {
                assert_eq!((numbers, leftover.torn), (vec![1, 2, 3], 0));
                continue;
            }
            assert_eq!((numbers, leftover.torn), (vec![1, 2], 1), "byte {torn}");
            // The next one takes the place.
            put(&mut spool, 3);
            drop((spool, mark));
            assert_eq!(left(&dir), [1, 2, 3]);
        }
    }

    #[test]
    fn a_mark_that_came_apart_counts_for_nothing() {
        let dir = TempDir::new().unwrap();
        let (mut spool, mut mark, _) = open(&dir);
        put(&mut spool, 1);
        put(&mut spool, 2);
        mark.set(1);
        mark.map[8] = 2;
        drop((spool, mark));
        assert_eq!(left(&dir), [1, 2]);
    }

    #[test]
    fn one_process_has_it_and_it_knows_its_kind() {
        let dir = TempDir::new().unwrap();
        let kept = open(&dir);
        assert!(matches!(Spool::open(dir.path(), &KIND), Err(StoreError::InUse(_))));
        drop(kept);
        let path = dir.path().join(KIND.file);
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[7] = b'2';
        std::fs::write(&path, &bytes).unwrap();
        assert!(matches!(Spool::open(dir.path(), &KIND), Err(StoreError::Io(..))));
        // One that was only begun is made whole.
        std::fs::write(&path, [0; 10]).unwrap();
        assert!(left(&dir).is_empty());
    }
}
