//! Recordings: playable at any moment, after a crash too; never at the expense of the call.

use std::fs;
use std::time::Duration;

use phone::{Codec, PhoneEvent};
use support::daemon::Daemon;
use support::setup::Site;
use support::talk::Talk;
use support::{VOICE_OF_A, VOICE_OF_B, line_of, until, wav};

mod support;

const HINT: &str = "zh/hint_tone.wav";

#[test]
fn a_recording_can_be_played_at_any_moment_while_it_grows_and_holds_both_voices_and_nothing_else() {
    let mut talk = Talk::up();
    let mut states: Vec<Vec<u8>> = Vec::new();
    let site = &talk.site;
    talk.booth.wait("5 s are recorded", |_| {
        let files = site.recordings();
        assert!(files.len() <= 1, "{files:?}");
        let Some(file) = files.first() else { return false };
        let bytes = fs::read(file).unwrap();
        // A file is made and its header written in two steps.
        if bytes.is_empty() && states.is_empty() {
            return false;
        }
        let stated = wav::read(&bytes).unwrap_or_else(|error| panic!("{error}"));
        if states.last().is_none_or(|last| last.len() != stated.len()) {
            states.push(stated.to_vec());
        }
        stated.len() >= 5 * 8_000
    });
    talk.hang_up();
    let cdr = talk.cdr();
    let metrics = [("result", "finished")];
    talk.daemon.wait_for_metric("axbridge_recordings_total", &metrics, 1.0);

    let file = talk.site.recordings().remove(0);
    let whole = wav::read_whole(&file);
    assert!(states.len() >= 3, "it should have been seen growing: {} states", states.len());
    for state in states {
        assert!(whole.starts_with(&state), "what could be heard of it once has changed");
    }
    wav::assert_both_voices(&whole);
    assert_eq!(whole.len() as u64 / 8, cdr["recording"]["duration_ms"].as_u64().unwrap());
    let name = cdr["recording"]["name"].as_str().unwrap();
    assert_eq!(axbridge::recording::path_of(&talk.site.recordings_folder(), name), Some(file.clone()));
    let mode = std::os::unix::fs::PermissionsExt::mode(&fs::metadata(&file).unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600, "recordings are nobody else's");
    talk.daemon.terminate();
}

#[test]
fn a_recording_that_a_crash_cut_off_is_repaired_at_the_next_start() {
    let mut talk = Talk::up();
    let site = &talk.site;
    // More has been written than is stated: the moment in which a crash leaves a file that is not whole.
    talk.booth.wait("4 s are written, and more than is stated", |_| {
        site.recordings().first().is_some_and(|file| {
            let bytes = fs::read(file).unwrap();
            let stated = wav::read(&bytes).map_or(0, <[u8]>::len);
            bytes.len() >= wav::HEADER + 4 * 8_000 && stated + 8_000 <= bytes.len() - wav::HEADER
        })
    });
    let Talk { daemon, site, .. } = talk;
    daemon.crash();
    let file = site.recordings().remove(0);
    let written = fs::read(&file).unwrap().len() - wav::HEADER;
    assert!(wav::read(&fs::read(&file).unwrap()).unwrap().len() < written);

    let daemon = site.start();
    daemon.wait_for_metric("axbridge_recordings_total", &[("result", "repaired")], 1.0);
    let samples = wav::read_whole(&file);
    assert_eq!(samples.len(), written & !1, "all that reached the disk can be heard");
    wav::assert_both_voices(&samples);
    assert_eq!(line_of("soxi", &["-s"], &file), samples.len().to_string());
    daemon.terminate();
}

#[test]
fn a_talk_of_less_than_three_seconds_leaves_no_file() {
    let mut talk = Talk::up();
    talk.hear_each_other_for(Duration::from_millis(500));
    let site = &talk.site;
    talk.booth.wait("it is being recorded", |_| site.recordings().len() == 1);
    talk.hang_up();
    let cdr = talk.cdr();
    assert!(cdr["join_time"].is_string() && cdr.get("recording").is_none(), "{cdr}");
    talk.daemon.wait_for_metric("axbridge_recordings_total", &[("result", "short")], 1.0);
    assert_eq!(talk.site.recordings(), Vec::<std::path::PathBuf>::new());
    talk.daemon.terminate();
}

#[test]
fn a_call_goes_on_when_its_recording_cannot_be_written() {
    // The daemon looks through the folder when it starts; that it has done so shows in what it makes of this.
    let site = Site::new();
    fs::create_dir(site.recordings_folder()).unwrap();
    fs::write(site.recordings_folder().join("call.wav"), media::wav::header(0)).unwrap();
    let mut talk = Talk::at(site, |_| {}, |_| {}, |_| {});
    talk.daemon.wait_for_metric("axbridge_recordings_total", &[("result", "repaired")], 1.0);

    // Permissions do not bind every user that tests run as; a file in the folder's place does.
    let folder = talk.site.recordings_folder();
    fs::remove_dir(&folder).unwrap();
    fs::write(&folder, "in the way").unwrap();
    talk.call();
    let daemon = &talk.daemon;
    let failed = |daemon: &Daemon| daemon.scrape().sum("axbridge_recording_failures_total");
    talk.booth.wait("the failure is counted", |_| failed(daemon) >= 1.0);
    talk.hear_each_other_for(Duration::from_millis(1_000));
    talk.hang_up();
    assert_eq!(talk.cdr()["cause"], "hung_up");
    let metrics = talk.daemon.scrape();
    assert_eq!(metrics.value("axbridge_recording_failures_total", &[("kind", "missing")]), 1.0);
    assert_eq!(metrics.value("axbridge_recordings_total", &[("result", "started")]), 0.0);
    assert_eq!(fs::read_to_string(&folder).unwrap(), "in the way");
    let log = talk.daemon.terminate();
    assert!(log.contains("a recording failed; calls go on without it"), "{log}");
}

#[test]
fn mu_law_on_one_side_and_a_law_on_the_other_are_heard_and_recorded_right() {
    let mut talk = Talk::new(|_| {}, |a| a.codecs = vec![Codec::Pcmu], |b| b.codecs = vec![Codec::Pcma]);
    talk.call();
    talk.hear_each_other_for(Duration::from_millis(3_000));
    let (a, b) = (talk.a, talk.b);
    talk.hang_up();
    assert_eq!(talk.booth.sounds(a), [HINT, "B's voice"]);
    assert_eq!(talk.booth.sounds(b), [HINT, "A's voice"]);
    let was_offered = |event: &PhoneEvent| matches!(event, PhoneEvent::Answered { media: Some(_) });
    assert!(talk.booth.events(a).iter().any(was_offered));

    talk.daemon.wait_for_metric("axbridge_recordings_total", &[("result", "finished")], 1.0);
    let file = until("the recording is there", || talk.site.recordings().pop());
    let samples = wav::read_whole(&file);
    wav::assert_both_voices(&samples);
    // Neither law is louder than the other: each voice has about half of the sound.
    let linear: Vec<i16> = samples.iter().map(|sample| media::g711::alaw_to_linear(*sample)).collect();
    let second = &linear[8_000..16_000];
    for hertz in [VOICE_OF_A, VOICE_OF_B] {
        let part = phone::tone_part(second, hertz);
        assert!((0.4..0.6).contains(&part), "{part} of it at {hertz} Hz");
    }
    talk.daemon.terminate();
}
