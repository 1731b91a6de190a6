//! Whatever a customer or an operator writes into a name or a text: a call detail record stays one line of JSON that says it.

use std::path::PathBuf;
use std::time::Duration;

use axbridge::cdr::{Kept, json};
use axbridge::clock::Clock;
use axbridge::recording::path_of;
use testbed::{A, Script, Setup};

const TEXTS: [&str; 8] = [
    "\",\"cause\":\"answered\",\"x\":\"",
    "line\r\nend\n{\"session_id\":\"forged\"}",
    "\0\u{1b}[2J\u{7f}",
    "../../etc/passwd%00",
    "\\\"\\\\",
    "'; DROP TABLE cdr; --",
    "\u{2028}\u{2029}\u{feff}\u{202e}",
    "隐私号码 😀",
];

#[test]
fn a_record_is_one_line_and_says_what_it_was_given() {
    let kept = Kept { dir: PathBuf::from("/nowhere"), min: Duration::ZERO };
    for text in TEXTS {
        let mut setup = Setup::new(1).mute().b(Script::is_busy(Duration::from_secs(1)));
        setup.binding.user_text = Some(text.into());
        setup.settings.apps[0].name = text.into();
        setup.settings.trunks[0].name = format!("in {text}").into();
        let mut world = setup.world();
        world.call(A);
        assert!(world.run_until_idle(Duration::from_secs(200)));
        let [cdr] = world.cdrs() else { panic!("one call") };
        let mut cdr = cdr.clone();
        cdr.recording = Some(b2bua::cdr::Recording { name: text.into(), started: Duration::ZERO });
        let line = json(&cdr, &Clock::start(), &kept);
        assert!(!line.contains(['\n', '\r', '\0']), "{line}");
        let record: serde_json::Value = serde_json::from_str(&line).expect("JSON");
        assert_eq!((&record["user_data"], &record["app"]), (&text.into(), &text.into()), "{line}");
        assert_eq!(record["trunk_in"], format!("in {text}"));
        assert_eq!(record["cause"], "busy", "{line}");
        assert_eq!(record.get("recording"), None, "what can be no file name names no file");
        assert_eq!(path_of(&kept.dir, text), None);
        // A line of a log is made of the same: a name is told, never a control character.
        for line in world.logs() {
            assert!(!line.contains(|c: char| c.is_control()), "{line:?}");
        }
    }
}
