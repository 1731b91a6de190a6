//! Talk-off: what is no keypad presses no digit. An hour of speech by espeak-ng, read by voices of many kinds, and the default
//! prompts, which a party's telephone may send back to us while it is collected from.
//!
//! ```text
//!   sentences, made-up words, numbers ─▶ espeak-ng ─▶ 22,050 Hz ─▶ 8,000 Hz, 3,400 Hz wide ─▶ G.711 ─▶ Session ─▶ no Pressed
//! ```

use media::rtp::Header;
use media::session::{Config, Session};
use media::{Codec, Command, Direction, Event, LegFormat, Remote, Side, SourcePolicy, g711, wav};
use std::io::{Read as _, Write as _};
use std::net::SocketAddr;
use std::path::Path;
use std::process::{Command as Process, Stdio};
use std::time::Duration;

/// Voice of espeak-ng, pitch (0-99), words a minute.
const VOICES: &[(&str, u8, u16)] = &[
    ("en-us", 50, 175),
    ("en-us", 10, 130),
    ("en-us+f2", 70, 160),
    ("en-us+f5", 99, 190),
    ("en-us+whisper", 50, 150),
    ("en-us+croak", 40, 150),
    ("en-gb-x-rp+klatt2", 60, 160),
    ("en-gb-scotland+m7", 30, 180),
    ("cmn-latn-pinyin", 50, 170),
    ("cmn-latn-pinyin+f3", 80, 170),
    ("cmn-latn-pinyin+m4", 20, 140),
    ("cmn-latn-pinyin+f4", 99, 200),
    ("yue-latn-jyutping+f1", 60, 160),
    ("de+f4", 75, 170),
    ("fr-fr", 50, 170),
    ("fr-fr+f1", 90, 190),
    ("es+m2", 35, 180),
    ("it+f3", 85, 180),
    ("pt-br+klatt4", 55, 160),
    ("vi+f2", 70, 170),
    ("fi+m5", 45, 150),
    ("sv+f5", 95, 180),
    ("tr+m1", 60, 170),
    ("pl+f2", 65, 160),
];

/// What each voice reads, in samples of 8,000 Hz: 150 s.
const EACH: usize = 150 * 8000;

/// Read by voices of any language, each in its own way.
const SENTENCES: [&str; 24] = [
    "Good morning, this is the front desk, how may I help you today?",
    "Your parcel is in the green box behind the second door on the left",
    "I am just coming up the stairs, please wait for me at the lift",
    "She sells sea shells, and he would rather sell umbrellas in the rain",
    "Could you please spell the name of the street, and the number of the house?",
    "We were all away in May, so nobody knew about the new oboe",
    "No, not at all, I only wanted to know whether the shop is open on Sunday",
    "Hello? Hello? Can you hear me now? The line is very bad",
    "Eleven yellow lemons, seven melons, and a very heavy watermelon",
    "The courier rings twice, and nobody learns the number of the other",
    "Guten Tag, hier ist der Fahrer, ich stehe vor der Tür und niemand macht auf",
    "Bitte stellen Sie das Paket in die Garage, ich komme heute erst um acht Uhr nach Hause",
    "Die Müllerin mahlt am Mühlbach, und im Hühnerhof krähen drei Hähne",
    "Bonjour, je suis en bas de chez vous, pouvez-vous ouvrir la porte, s'il vous plaît?",
    "Un chasseur sachant chasser doit savoir chasser sans son chien",
    "Où est la rue du Moulin? Je ne la trouve nulle part sur mon plan",
    "Buenos días, le llamo por el piso que anunció ayer en el periódico",
    "Tres tristes tigres tragaban trigo en un trigal, y yo no los veía",
    "Buongiorno, sono il corriere, la chiamo per la consegna di oggi pomeriggio",
    "Bom dia, estou à espera à porta da loja há mais de meia hora",
    "Hyvää päivää, missä te olette? Minä odotan aseman edessä",
    "God morgon, jag ringer om lägenheten på andra våningen",
    "Günaydın, kapının önündeyim, lütfen aşağıya iner misiniz?",
    "Dzień dobry, dzwonię w sprawie ogłoszenia z wczorajszej gazety",
];

/// A sequence of numbers, the same every time (splitmix64).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 33) as usize % limit
    }

    fn pick<'a>(&mut self, of: &[&'a str]) -> &'a str {
        of[self.below(of.len())]
    }
}

/// Something to read: real sentences, words that no language has, and numbers.
fn text(voice: &str, random: &mut Random) -> String {
    const BEGINNINGS: [&str; 24] = [
        "b", "p", "m", "f", "d", "t", "n", "l", "g", "k", "h", "j", "q", "x", "zh", "ch", "sh", "r", "z", "c", "s",
        "w", "y", "",
    ];
    const VOWELS: [&str; 12] = ["a", "o", "e", "i", "u", "ai", "ei", "ao", "ou", "ia", "ua", "uo"];
    const ENDS: [&str; 5] = ["", "", "", "n", "ng"];
    let has_tones = voice.contains("latn");
    let mut text = String::new();
    for _ in 0..300 {
        match random.below(4) {
            0 if !has_tones => text.push_str(random.pick(&SENTENCES)),
            1 => {
                for _ in 0..1 + random.below(3) {
                    text.push_str(&format!("{} ", random.below(10_000_000)));
                }
            }
            _ => {
                for _ in 0..4 + random.below(8) {
                    for _ in 0..1 + random.below(3) {
                        text.push_str(random.pick(&BEGINNINGS));
                        text.push_str(random.pick(&VOWELS));
                        text.push_str(random.pick(&ENDS));
                        if has_tones {
                            text.push_str(random.pick(&["1", "2", "3", "4"]));
                        }
                    }
                    text.push(' ');
                }
            }
        }
        text.push_str(random.pick(&[".\n", ", ", "?\n", "!\n"]));
    }
    text
}

/// What espeak-ng makes of it, or as much of that as is wanted: 16-bit samples of 22,050 Hz.
fn speak(voice: &str, pitch: u8, speed: u16, text: String) -> Vec<f32> {
    let mut espeak = Process::new("espeak-ng")
        .args(["-v", voice, "-p", &pitch.to_string(), "-s", &speed.to_string(), "--stdin", "--stdout"])
        .env("LC_ALL", "C.UTF-8")
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("espeak-ng, of Debian's package of that name; test.sh installs it");
    let mut stdin = espeak.stdin.take().expect("it is piped");
    let mut stdout = espeak.stdout.take().expect("it is piped");
    // It begins to speak before it has read everything.
    let dictation = std::thread::spawn(move || stdin.write_all(text.as_bytes()));
    let mut header = [0; 44];
    stdout.read_exact(&mut header).expect("a WAV file");
    assert_eq!(header[24..28], 22_050_u32.to_le_bytes(), "{voice}");
    let mut speech = vec![0; (EACH + 100) * 441 / PHASES * 2];
    stdout.read_exact(&mut speech).expect("as much speech as is wanted");
    drop(stdout);
    // It would read on for minutes. Whether it was done with listening does not matter.
    espeak.kill().expect("it is ours");
    espeak.wait().expect("it has ended");
    let _ = dictation.join();
    speech.chunks_exact(2).map(|pair| f32::from(i16::from_le_bytes([pair[0], pair[1]]))).collect()
}

/// The places that a sample can have between two of 22,050 Hz, which are to 8,000 Hz as 441 to 160.
const PHASES: usize = 160;

/// As a telephone line carries it: 8,000 Hz, cut off above 3,400 Hz, as loud as `peak`. A windowed sinc at each place.
fn to_line(speech: &[f32], peak: f32) -> Vec<i16> {
    const TAPS: usize = 48;
    let table: Vec<f32> = (0..PHASES * TAPS)
        .map(|place| {
            let at = (place % TAPS) as f64 - (TAPS / 2) as f64 + 1.0 - (place / TAPS) as f64 / PHASES as f64;
            let x = std::f64::consts::PI * at;
            let cut = 2.0 * 3400.0 / 22_050.0;
            let sinc = if at == 0.0 { cut } else { (x * cut).sin() / x };
            (sinc * (0.5 + 0.5 * (x * 2.0 / TAPS as f64).cos())) as f32
        })
        .collect();
    let mut line: Vec<f32> = Vec::with_capacity(EACH);
    for sample in 0..EACH {
        let (begin, phase) = (sample * 441 / PHASES, sample * 441 % PHASES);
        line.push(
            speech[begin..begin + TAPS]
                .iter()
                .zip(&table[phase * TAPS..])
                .map(|(sample, weight)| sample * weight)
                .sum(),
        );
    }
    let loudest = line.iter().fold(1.0_f32, |loudest, sample| loudest.max(sample.abs()));
    line.iter().map(|sample| (sample * peak / loudest) as i16).collect()
}

/// The digits that a session finds in what a party says.
fn found(codec: Codec, line: &[u8]) -> Vec<(Duration, char)> {
    let party = SocketAddr::from(([192, 0, 2, 1], 4000));
    let payload_type = if codec == Codec::Pcma { 8 } else { 0 };
    let format = LegFormat { codec, payload_type, telephone_event: None, telephone_event_offered: None, ptime_ms: 20 };
    let direction = Direction { send: true, receive: true };
    let remote = Remote { rtp: party, rtcp: party, format, direction, source: SourcePolicy::Signalled };
    let mut session = Session::new(Config::default(), 1, Duration::ZERO);
    session.handle_command(Duration::ZERO, Command::SetRemote { side: Side::A, remote });
    session.handle_command(Duration::ZERO, Command::Collect { side: Side::A, on: true });
    let mut found = Vec::new();
    for (number, payload) in line.chunks(160).enumerate() {
        let now = Duration::from_millis(number as u64 * 20);
        let timestamp = number as u32 * 160;
        let header = Header { payload_type, marker: false, sequence_number: number as u16, timestamp, ssrc: 1 };
        let mut packet = [&header.to_bytes()[..], payload].concat();
        session.handle_rtp(now, Side::A, party, &mut packet);
        while let Some(event) = session.poll_event() {
            if let Event::Pressed { digit, .. } = event {
                found.push((now, digit.reveal()));
            }
        }
    }
    assert_eq!(session.totals().legs[0].received as usize, line.len().div_ceil(160), "it was all listened to");
    found
}

fn encode(codec: Codec, line: &[i16]) -> Vec<u8> {
    let mut encoded: Vec<u8> = line.iter().map(|sample| g711::linear_to_alaw(*sample)).collect();
    g711::convert(Codec::Pcma, codec, &mut encoded);
    encoded
}

#[test]
fn an_hour_of_speech_presses_no_digit() {
    let mut samples = 0;
    for (number, (voice, pitch, speed)) in VOICES.iter().enumerate() {
        let text = text(voice, &mut Random(number as u64));
        // From softly spoken to as loud as the line can carry.
        let peak = [30_000.0, 16_000.0, 8_000.0][number % 3];
        let line = to_line(&speak(voice, *pitch, *speed, text), peak);
        samples += line.len();
        for codec in [Codec::Pcma, Codec::Pcmu] {
            assert_eq!(
                found(codec, &encode(codec, &line)),
                [],
                "{voice}, pitch {pitch}, {speed} words a minute, {codec:?}"
            );
        }
    }
    assert!(samples >= 3600 * 8000, "{} s", samples / 8000);
}

/// That nothing is found above is not for want of listening.
#[test]
fn digits_that_are_dialled_over_speech_are_found() {
    let (voice, pitch, speed) = VOICES[0];
    let mut line = to_line(&speak(voice, pitch, speed, text(voice, &mut Random(1))), 2_000.0);
    line.truncate(8000 * 8);
    for (place, (low, high)) in [(697.0, 1209.0), (770.0, 1336.0), (941.0, 1477.0)].into_iter().enumerate() {
        for sample in 0..800 {
            let at = 16_000 * (place + 1) + sample;
            let tone = |hertz: f64| (sample as f64 * hertz / 8000.0 * std::f64::consts::TAU).sin();
            line[at] += ((tone(low) + tone(high)) * 9000.0) as i16;
        }
    }
    for codec in [Codec::Pcma, Codec::Pcmu] {
        let keys: String = found(codec, &encode(codec, &line)).into_iter().map(|(_, key)| key).collect();
        assert_eq!(keys, "15#");
    }
}

#[test]
fn no_prompt_that_comes_back_presses_a_digit() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../etc/prompts");
    let mut prompts = 0;
    for place in ["zh", "en", "."] {
        for file in std::fs::read_dir(folder.join(place)).expect("the folder of prompts") {
            let path = file.expect("a file").path();
            if path.extension().is_none_or(|extension| extension != "wav") {
                continue;
            }
            prompts += 1;
            let alaw = wav::read_prompt(&std::fs::read(&path).expect("a prompt")).expect("a prompt");
            for codec in [Codec::Pcma, Codec::Pcmu] {
                let mut line = alaw.to_vec();
                g711::convert(Codec::Pcma, codec, &mut line);
                assert_eq!(found(codec, &line), [], "{}", path.display());
            }
        }
    }
    assert!(prompts > 20, "the default set is found");
}
