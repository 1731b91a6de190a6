use super::file::Recording;
use super::*;
use media::wav::{self, HEADER_LEN, WavError};
use std::fs::{self, File, OpenOptions};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::SystemTime;
use tempfile::TempDir;

const NAME: &str = "20261123-call.wav";
const CALL: SessionId = SessionId(7);

/// 2026-11-23T12:00:00Z
fn noon() -> SystemTime {
    UNIX_EPOCH + Duration::from_secs(1_795_435_200)
}

fn days(days: u64) -> Duration {
    Duration::from_secs(days * 86_400)
}

fn ms(millis: u64) -> Duration {
    Duration::from_millis(millis)
}

fn get(counter: &AtomicU64) -> u64 {
    counter.load(Relaxed)
}

/// An archive in a folder of its own that has done its first chores.
struct Bench {
    folder: TempDir,
    archive: Archive,
    counters: Arc<Counters>,
}

impl Bench {
    fn new() -> Bench {
        Bench::of(tempfile::tempdir().unwrap())
    }

    fn of(folder: TempDir) -> Bench {
        let counters = Arc::new(Counters::default());
        let config = Config { dir: folder.path().into(), max_open: 3, ..Config::default() };
        let archive = Archive::new(config, Arc::clone(&counters), Duration::ZERO);
        let mut bench = Bench { folder, archive, counters };
        bench.chores(noon());
        bench
    }

    fn chores(&mut self, unix: SystemTime) {
        while self.archive.has_chores() {
            self.archive.on_chore(unix);
        }
    }

    fn start(&mut self, name: &str) {
        self.archive.on_start(Duration::ZERO, CALL, name.into());
    }

    fn audio(&mut self, samples: &[u8]) {
        self.archive.on_audio(Duration::ZERO, CALL, samples);
    }

    /// Ends as the process does when it is killed.
    fn kill(self) -> TempDir {
        self.folder
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("20261123").join(NAME)
    }

    fn read(&self) -> Vec<u8> {
        fs::read(self.path()).unwrap()
    }
}

/// Samples that tell where they are.
fn samples(count: usize) -> Vec<u8> {
    (0..count).map(|at| (at % 251) as u8).collect()
}

/// A file, last changed so long before noon.
fn old_file(path: &Path, age: Duration, bytes: &[u8]) {
    fs::create_dir_all(path.parent().unwrap()).unwrap();
    fs::write(path, bytes).unwrap();
    let file = OpenOptions::new().write(true).open(path).unwrap();
    file.set_modified(noon() - age).unwrap();
}

fn recording(stated: u32, samples: &[u8]) -> Vec<u8> {
    [&wav::header(stated), samples].concat()
}

fn names(folder: &Path) -> Vec<String> {
    let entries = fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap());
    let mut names: Vec<String> = entries.collect();
    names.sort();
    names
}

#[test]
fn a_recording_is_a_whole_wav_file_in_the_folder_of_its_day_for_this_user_alone() {
    for count in [24_000, 24_001, 100_000, 100_001] {
        let mut bench = Bench::new();
        let all = samples(count);
        bench.start(NAME);
        all.chunks(807).for_each(|piece| bench.audio(piece));
        bench.archive.on_finish(CALL, ms(count as u64 / 8));
        let bytes = bench.read();
        assert_eq!(&*wav::read_prompt(&bytes).unwrap(), all);
        assert_eq!(bytes.len() % 2, 0);
        assert_eq!(wav::repair(bytes.len() as u64, &bytes), None);
        let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
        assert_eq!((mode(&bench.path()), mode(bench.path().parent().unwrap())), (0o600, 0o700));
        let counters = &bench.counters;
        assert_eq!((get(&counters.started), get(&counters.finished)), (1, 1));
        assert_eq!((get(&counters.bytes), get(&counters.open)), (count as u64, 0));
    }
}

#[test]
fn the_file_can_be_played_at_any_moment_and_is_three_seconds_behind_at_most() {
    let mut bench = Bench::new();
    let all = samples(200_000);
    bench.start(NAME);
    let mut sent = 0;
    for piece in all.chunks(801) {
        bench.audio(piece);
        sent += piece.len();
        let heard = match wav::read_prompt(&bench.read()) {
            Ok(heard) => heard,
            Err(WavError::Empty) => Box::default(),
            Err(error) => panic!("{error} after {sent} samples"),
        };
        assert_eq!(*heard, all[..heard.len()]);
        let behind = sent - heard.len();
        assert!(behind <= 3 * 8000 + 2 * 801, "{behind} samples behind after {sent}");
    }
}

#[test]
fn a_call_under_three_seconds_leaves_no_file() {
    for (count, ms_said, is_kept) in [
        (23_992, 2999, false),
        (0, 0, false),
        (24_000, 3000, true),
        // Audio was lost on the way, or no length is known after a fault.
        (8000, 5000, true),
        (80_000, 0, true),
    ] {
        let mut bench = Bench::new();
        bench.start(NAME);
        bench.audio(&samples(count));
        bench.archive.on_finish(CALL, ms(ms_said));
        assert_eq!(bench.path().exists(), is_kept, "{count} samples, {ms_said} ms");
        assert_eq!(get(&bench.counters.dropped_short), u64::from(!is_kept));
        assert_eq!(get(&bench.counters.finished), u64::from(is_kept));
    }
}

#[test]
fn a_crash_at_any_length_leaves_a_recording_that_is_right_after_the_next_start() {
    for count in [0, 1, 7999, 8000, 16_000, 23_999, 24_000, 31_999, 40_000, 40_001, 57_000, 100_000] {
        let mut bench = Bench::new();
        let all = samples(count);
        bench.start(NAME);
        all.chunks(801).for_each(|piece| bench.audio(piece));
        let on_disk = bench.read().len() - HEADER_LEN;
        assert!(count - on_disk < 8000 + 801, "a second is lost at most");
        let path = bench.path();
        let bench = Bench::of(bench.kill());
        if on_disk < 24_000 {
            assert!(!path.exists(), "{count}: too short to be kept");
        } else {
            assert_eq!(&*wav::read_prompt(&bench.read()).unwrap(), &all[..on_disk & !1], "{count}");
            assert_eq!(wav::repair(bench.read().len() as u64, &bench.read()), None);
        }
        let repaired = get(&bench.counters.repaired);
        let again = Bench::of(bench.kill());
        assert_eq!(get(&again.counters.repaired), 0, "{count}: once is enough, after {repaired}");
    }
}

#[test]
fn at_the_start_wrong_lengths_are_repaired_and_only_those() {
    let folder = tempfile::tempdir().unwrap();
    let day = folder.path().join("20261120");
    let hour = Duration::from_secs(3600);
    let long = samples(30_000);
    old_file(&day.join("behind.wav"), hour, &recording(16_000, &long));
    old_file(&day.join("ahead.wav"), hour, &recording(90_000, &long[..29_999]));
    old_file(&folder.path().join("flat.wav"), hour, &recording(0, &long));
    old_file(&day.join("short.wav"), hour, &recording(0, &long[..23_998]));
    old_file(&day.join("cut.wav"), hour, &wav::header(0)[..20]);
    old_file(&day.join("empty.wav"), hour, b"");
    let untouched: [(&str, Vec<u8>); 5] = [
        ("right.wav", recording(30_000, &long)),
        ("brief-but-right.wav", recording(100, &long[..100])),
        ("foreign.wav", b"RIFF\xff\0\0\0WAVEfmt somebody else's file, with much more in it than a header".to_vec()),
        ("notes.txt", recording(0, &long)),
        ("deeper/behind.wav", recording(0, &long)),
    ];
    for (name, bytes) in &untouched {
        old_file(&day.join(name), hour, bytes);
    }
    std::os::unix::fs::symlink(day.join("notes.txt"), day.join("link.wav")).unwrap();
    let bench = Bench::of(folder);
    assert_eq!(get(&bench.counters.repaired), 6);
    for (path, count) in [("20261120/behind.wav", 30_000), ("20261120/ahead.wav", 29_998), ("flat.wav", 30_000)] {
        let path = bench.folder.path().join(path);
        assert_eq!(&*wav::read_prompt(&fs::read(&path).unwrap()).unwrap(), &long[..count]);
        assert_eq!(fs::metadata(&path).unwrap().modified().unwrap(), noon() - hour, "its age is kept");
    }
    for name in ["short.wav", "cut.wav", "empty.wav"] {
        assert!(!day.join(name).exists(), "{name}");
    }
    for (name, bytes) in &untouched {
        assert_eq!(&fs::read(day.join(name)).unwrap(), bytes, "{name}");
    }
    for failure in Failure::ALL {
        assert_eq!(bench.counters.failed_io(failure), 0);
    }
}

#[test]
fn what_is_older_than_seven_days_goes_at_the_start_and_every_hour() {
    let folder = tempfile::tempdir().unwrap();
    let whole = recording(30_000, &samples(30_000));
    let second = Duration::from_secs(1);
    let files = [
        ("20261101/a.wav", days(22), false),
        ("20261116/b.wav", days(7), false),
        ("20261116/c.wav", days(7) - second, true),
        ("20261123/d.wav", Duration::ZERO, true),
        ("e.wav", days(8), false),
        ("f.wav", days(1), true),
        ("20261101/notes.txt", days(99), true),
        ("20261102/g.wav", days(21), false),
        ("elsewhere/h.wav", days(99), true),
        ("20261399/i.wav", days(99), true),
    ];
    for (name, age, _) in &files {
        old_file(&folder.path().join(name), *age, &whole);
    }
    let mut bench = Bench::of(folder);
    for (name, _, is_kept) in &files {
        assert_eq!(bench.folder.path().join(name).exists(), *is_kept, "{name}");
    }
    assert_eq!(get(&bench.counters.expired), 4);
    let folders = ["20261101", "20261116", "20261123", "20261399", "elsewhere", "f.wav"];
    assert_eq!(names(bench.folder.path()), folders, "a folder without recordings goes");

    assert!(bench.archive.due() <= Duration::from_secs(3600));
    bench.archive.on_tick(Duration::from_secs(3599));
    assert!(!bench.archive.has_chores());
    bench.archive.on_tick(Duration::from_secs(3600));
    assert!(bench.archive.has_chores());
    bench.chores(noon() + days(1));
    assert!(!bench.folder.path().join("20261116").exists());
    bench.archive.on_tick(Duration::from_secs(7200));
    bench.chores(noon() + days(7));
    assert!(!bench.folder.path().join("f.wav").exists());
    assert!(!bench.folder.path().join("20261123").exists());
    assert_eq!(get(&bench.counters.expired), 7);
}

#[test]
fn a_recording_that_is_open_is_neither_repaired_nor_expired() {
    let mut bench = Bench::new();
    bench.start(NAME);
    bench.audio(&samples(9000));
    bench.archive.on_tick(Duration::from_secs(3600));
    bench.archive.on_start(Duration::from_secs(3600), SessionId(8), "20261123-other.wav".into());
    bench.chores(noon() + days(4000));
    assert!(!bench.path().exists(), "it was abandoned");
    assert!(bench.path().with_file_name("20261123-other.wav").exists());
}

#[test]
fn a_recording_that_is_forgotten_is_closed_after_a_minute() {
    let mut bench = Bench::new();
    bench.start(NAME);
    bench.audio(&samples(30_001));
    bench.archive.on_audio(ms(20_000), CALL, &samples(1));
    bench.archive.on_tick(ms(79_999));
    assert_eq!(get(&bench.counters.open), 1);
    bench.archive.on_tick(ms(80_000));
    assert_eq!(get(&bench.counters.open), 1, "it is not looked for all the time");
    bench.archive.on_tick(ms(90_000));
    assert_eq!((get(&bench.counters.abandoned), get(&bench.counters.open)), (1, 0));
    assert_eq!(wav::read_prompt(&bench.read()).unwrap().len(), 30_002);
}

#[test]
fn a_name_that_leads_elsewhere_a_second_recording_of_a_call_and_too_many_are_refused() {
    let mut bench = Bench::new();
    bench.start("../20261123-x.wav");
    assert_eq!(get(&bench.counters.refused_name), 1);
    bench.start(NAME);
    bench.start("20261123-second.wav");
    assert_eq!(get(&bench.counters.refused_open), 1);
    for call in 10..14 {
        bench.archive.on_start(Duration::ZERO, SessionId(call), format!("20261123-{call}.wav").into());
    }
    assert_eq!((get(&bench.counters.refused_open), get(&bench.counters.open)), (3, 3));
    assert_eq!(names(&bench.folder.path().join("20261123")).len(), 3);
    assert_eq!(names(bench.folder.path().parent().unwrap()).iter().filter(|name| name.ends_with("x.wav")).count(), 0);
}

#[test]
fn a_recording_that_exists_is_not_written_over() {
    let mut bench = Bench::new();
    old_file(&bench.path(), Duration::ZERO, b"evidence");
    bench.start(NAME);
    bench.audio(&samples(30_000));
    bench.archive.on_finish(CALL, ms(5000));
    assert_eq!(bench.read(), b"evidence");
    assert_eq!(bench.counters.failed_io(Failure::Exists), 1);
}

#[test]
fn a_full_disk_costs_the_recording_is_shown_and_is_tried_again_for_the_next_call() {
    let mut bench = Bench::new();
    let full = OpenOptions::new().write(true).open("/dev/full").unwrap();
    bench.archive.adopt(CALL, Recording::on("/dev/full".into(), full));
    bench.audio(&samples(7999));
    assert_eq!(get(&bench.counters.disk_full), 0, "nothing written yet");
    bench.audio(&samples(1));
    assert_eq!(bench.counters.failed_io(Failure::Full), 1);
    assert_eq!((get(&bench.counters.disk_full), get(&bench.counters.bytes)), (1, 0));
    bench.audio(&samples(30_000));
    bench.archive.on_finish(CALL, ms(5000));
    assert_eq!(bench.counters.failed_io(Failure::Full), 1, "the rest of the call is let go");
    bench.start(NAME);
    assert_eq!(get(&bench.counters.disk_full), 0);
    bench.audio(&samples(30_000));
    bench.archive.on_finish(CALL, ms(5000));
    assert_eq!(wav::read_prompt(&bench.read()).unwrap().len(), 30_000);
}

#[test]
fn a_disk_that_fails_half_way_leaves_what_it_has_taken() {
    let bench = Bench::new();
    let path = bench.folder.path().join("x.wav");
    let mut recording = Recording::create(path.clone(), 0).unwrap();
    recording.append(&samples(8001)).unwrap();
    // As if a part of the next write had got through.
    let half: Vec<u8> = [fs::read(&path).unwrap(), vec![1; 500]].concat();
    fs::write(&path, half).unwrap();
    recording.give_up();
    let bytes = fs::read(&path).unwrap();
    assert_eq!(&*wav::read_prompt(&bytes).unwrap(), &samples(8001)[..8000]);
    assert_eq!(wav::repair(bytes.len() as u64, &bytes), None);
}

#[test]
fn a_folder_that_is_gone_or_a_file_in_its_place_costs_the_recording_alone() {
    let mut bench = Bench::new();
    bench.start(NAME);
    bench.audio(&samples(30_000));
    fs::remove_dir_all(bench.folder.path()).unwrap();
    bench.audio(&samples(30_000));
    bench.archive.on_finish(CALL, ms(7500));
    bench.start(NAME);
    bench.audio(&samples(30_000));
    bench.archive.on_finish(CALL, ms(3750));
    assert_eq!(wav::read_prompt(&bench.read()).unwrap().len(), 30_000, "the folder is made again");

    bench.start("20261124-short.wav");
    fs::remove_dir_all(bench.folder.path()).unwrap();
    bench.archive.on_finish(CALL, ms(10));
    assert_eq!(bench.counters.failed_io(Failure::Missing), 1, "what is to be deleted is gone");
    fs::write(bench.folder.path(), b"a file").unwrap();
    bench.start(NAME);
    assert_eq!(Failure::ALL.map(|failure| bench.counters.failed_io(failure)).iter().sum::<u64>(), 2);
    bench.archive.on_tick(Duration::from_secs(3600));
    bench.chores(noon());
    fs::remove_file(bench.folder.path()).unwrap();
}

#[test]
fn every_failure_has_a_label_of_its_own_and_a_place() {
    let labels: std::collections::HashSet<_> = Failure::ALL.map(Failure::label).into();
    assert_eq!(labels.len(), Failure::ALL.len());
    for (code, failure) in [
        (libc::ENOSPC, Failure::Full),
        (libc::EDQUOT, Failure::Full),
        (libc::EACCES, Failure::Denied),
        (libc::EROFS, Failure::Denied),
        (libc::ENOENT, Failure::Missing),
        (libc::ENOTDIR, Failure::Missing),
        (libc::EEXIST, Failure::Exists),
        (libc::EMFILE, Failure::TooManyFiles),
        (libc::ENFILE, Failure::TooManyFiles),
        (libc::EIO, Failure::Other),
    ] {
        let counters = Counters::default();
        counters.on_failure(&io::Error::from_raw_os_error(code));
        for other in Failure::ALL {
            assert_eq!(counters.failed_io(other), u64::from(other == failure), "{code}");
        }
    }
}

#[test]
fn the_thread_writes_what_is_handed_over_before_it_ends() {
    let folder = tempfile::tempdir().unwrap();
    let stale = folder.path().join("20260101/stale.wav");
    old_file(&stale, days(300), &recording(0, &samples(30_000)));
    let config = Config { dir: folder.path().join("deep/er"), ..Config::default() };
    let (recordings, writer) = Writer::spawn(config, Clock::start()).unwrap();
    let all = samples(80_000);
    for call in 0..20 {
        recordings.start(SessionId(call), format!("20261123-{call}.wav").into());
    }
    for piece in all.chunks(800) {
        for call in 0..20 {
            let mut buffer = recordings.buffer();
            assert!(buffer.is_empty());
            buffer.extend_from_slice(piece);
            recordings.audio(SessionId(call), buffer);
        }
    }
    (0..10).for_each(|call| recordings.finish(SessionId(call), 10_000));
    writer.finish();
    for call in 0..20 {
        let bytes = fs::read(folder.path().join(format!("deep/er/20261123/20261123-{call}.wav"))).unwrap();
        assert_eq!(&*wav::read_prompt(&bytes).unwrap(), all, "also those that were not finished");
    }
    let counters = recordings.counters();
    assert_eq!((get(&counters.finished), get(&counters.queue_full), recordings.depth()), (20, 0, 0));
    assert!(stale.exists(), "another folder is none of our business");
    recordings.audio(SessionId(0), vec![1]);
    assert_eq!(get(&counters.queue_full), 1, "the thread has ended");
}

#[test]
fn a_full_queue_loses_and_counts_and_never_waits() {
    let (commands, inbox) = bounded(3);
    let (_, pool) = bounded(0);
    let recordings = Recordings { commands, pool, counters: Arc::default() };
    recordings.start(CALL, NAME.into());
    (0..10).for_each(|_| recordings.audio(CALL, vec![1; 800]));
    recordings.finish(CALL, 1000);
    assert_eq!((recordings.depth(), get(&recordings.counters().queue_full)), (3, 9));
    assert!(matches!(inbox.recv(), Ok(Command::Start { .. })));
    assert_eq!(recordings.buffer(), Vec::<u8>::new());
}

#[test]
fn a_folder_that_cannot_be_written_to_is_said_at_once() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("file");
    File::create(&file).unwrap();
    for dir in [file.clone(), file.join("below"), PathBuf::from("/proc/axbridge")] {
        let config = Config { dir, ..Config::default() };
        assert!(Writer::spawn(config, Clock::start()).is_err());
    }
    assert_eq!(names(folder.path()), ["file"]);
}
