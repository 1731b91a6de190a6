//! `axbridge demo`: one real call, kept as files that other people's programs can play.

use std::fs;
use std::time::Duration;

use phone::tone_part;
use support::daemon::axbridge;
use support::{VOICE_OF_A, VOICE_OF_B, line_of, output_of};

mod support;

#[test]
fn the_demo_keeps_every_promise_and_sox_and_ffprobe_can_play_what_it_keeps() {
    let folder = tempfile::tempdir().unwrap();
    let output = axbridge().arg("demo").arg("--out").arg(folder.path()).output().unwrap();
    let printed = String::from_utf8(output.stdout).unwrap();
    let complained = String::from_utf8_lossy(&output.stderr);
    assert_eq!(output.status.code(), Some(0), "{printed}{complained}");
    assert!(!printed.contains('✗') && printed.matches('✓').count() >= 10, "{printed}");

    let ladder = fs::read_to_string(folder.path().join("ladder.txt")).unwrap();
    assert!(printed.contains(&ladder), "{printed}");
    let steps = [
        "A ─▶ X          INVITE (sdp)  to X, from A",
        "X ─▶ B   INVITE (sdp)  to B, from X",
        "X ◀─ B   200 (sdp)",
        "A ◀─ X          200 (sdp)",
        "A ◀══ X ══▶ B   ♪ joined; recording begins",
        "X ◀─ B   BYE",
        "A ◀─ X          BYE",
    ];
    let mut rest = ladder.as_str();
    for step in steps {
        let at = rest.find(step).unwrap_or_else(|| panic!("no {step:?} in its place:\n{ladder}"));
        rest = &rest[at + step.len()..];
    }

    let told = ["callin ", "callout ", "alerting ", "answer ", "disconnect ", "fee "];
    let said: Vec<&str> = ladder.lines().filter(|line| line.contains("X ═▶ customer")).collect();
    assert_eq!(said.len(), told.len(), "{ladder}");
    for (line, event) in said.iter().zip(told) {
        assert!(line.contains(event), "{event}: {line}");
    }
    assert!(said[0].contains("+86138****0001 → +86755****0001"), "{}", said[0]);
    assert!(said[3].contains("+86755****0001 → +86139****0002"), "{}", said[3]);
    assert!(said[4].contains("stateCode 0") && said[5].contains("recordFlag 1"), "{ladder}");
    for number in ["13800000001", "13900000002"] {
        assert!(!printed.contains(number), "numbers are masked: {printed}");
    }

    let cdr = fs::read_to_string(folder.path().join("cdr.json")).unwrap();
    let cdr: serde_json::Value = serde_json::from_str(&cdr).unwrap();
    assert_eq!(cdr["cause"], "hung_up");
    let length = Duration::from_millis(cdr["recording"]["duration_ms"].as_u64().unwrap());
    assert!((Duration::from_secs(5)..Duration::from_secs(8)).contains(&length), "{length:?}");

    let recording = folder.path().join("recording.wav");
    assert_eq!(line_of("soxi", &["-e"], &recording), "A-law");
    assert_eq!(line_of("soxi", &["-r"], &recording), "8000");
    assert_eq!(line_of("soxi", &["-c"], &recording), "1");
    let samples: u128 = line_of("soxi", &["-s"], &recording).parse().unwrap();
    assert_eq!(samples / 8, length.as_millis(), "the CDR and sox must agree");

    let asked = "stream=codec_name,sample_rate,channels,duration:format=format_name";
    let probed = line_of("ffprobe", &["-v", "error", "-of", "default=nw=1", "-show_entries", asked], &recording);
    let told: Vec<&str> = probed.lines().collect();
    for line in ["codec_name=pcm_alaw", "sample_rate=8000", "channels=1", "format_name=wav"] {
        assert!(told.contains(&line), "no {line} in\n{probed}");
    }
    let seconds = told.iter().find_map(|line| line.strip_prefix("duration=")).unwrap().parse::<f64>().unwrap();
    assert!((seconds - length.as_secs_f64()).abs() < 0.01, "{seconds} s, {length:?}");

    // The whole of it, as sox decodes it: each voice has its share, and together they are nearly all there is.
    let arguments = ["-t", "raw", "-e", "signed", "-b", "16", "-L", "-r", "8000", "-c", "1"];
    let decoded = sox_decodes(&recording, &arguments);
    assert_eq!(decoded.len() as u128, samples);
    for part in decoded.chunks_exact(8_000) {
        let shares = [VOICE_OF_A, VOICE_OF_B].map(|hertz| tone_part(part, hertz));
        assert!(shares.iter().all(|share| *share > 0.3) && shares.iter().sum::<f64>() > 0.85, "{shares:?}");
    }
}

fn sox_decodes(recording: &std::path::Path, format: &[&str]) -> Vec<i16> {
    let decoded = recording.with_extension("raw");
    let mut arguments = vec![recording.to_str().expect("the temporary folder has a plain name")];
    arguments.extend(format);
    output_of("sox", &arguments, &decoded);
    fs::read(decoded).unwrap().chunks_exact(2).map(|pair| i16::from_le_bytes([pair[0], pair[1]])).collect()
}
