//! The call that most tests need: A at 127.0.0.1 calls X and reaches B at 127.0.0.2.

use std::net::Ipv4Addr;
use std::time::Duration;

use phone::{Config, PhoneEvent, Script, Sound};

use super::booth::{Booth, Who};
use super::daemon::Daemon;
use super::setup::{Setup, Site};
use super::{A, B, VOICE_OF_A, VOICE_OF_B, X};

/// A's carrier.
pub(crate) const HOME_OF_A: Ipv4Addr = Ipv4Addr::LOCALHOST;
/// B's carrier.
pub(crate) const HOME_OF_B: Ipv4Addr = Ipv4Addr::new(127, 0, 0, 2);

/// A daemon and two phones.
pub(crate) struct Talk {
    pub(crate) booth: Booth,
    pub(crate) daemon: Daemon,
    pub(crate) site: Site,
    pub(crate) setup: Setup,
    pub(crate) a: Who,
    pub(crate) b: Who,
}

impl Talk {
    /// The daemon serves and nobody calls yet.
    pub(crate) fn new(
        change: impl FnOnce(&mut Setup),
        change_a: impl FnOnce(&mut Config),
        change_b: impl FnOnce(&mut Config),
    ) -> Talk {
        Talk::at(Site::new(), change, change_a, change_b)
    }

    /// The same where something lies in the folder already.
    pub(crate) fn at(
        site: Site,
        change: impl FnOnce(&mut Setup),
        change_a: impl FnOnce(&mut Config),
        change_b: impl FnOnce(&mut Config),
    ) -> Talk {
        let mut booth = Booth::new();
        let a = booth.add(A, HOME_OF_A, |config| {
            config.sound = Sound::Tone(VOICE_OF_A);
            config.display_name = Some("Secret Name Of A".to_owned());
            config.cname = Some("secret-device-of-a".to_owned());
            change_a(config);
        });
        let b = booth.add(B, HOME_OF_B, |config| {
            config.sound = Sound::Tone(VOICE_OF_B);
            config.display_name = Some("Secret Name Of B".to_owned());
            config.cname = Some("secret-device-of-b".to_owned());
            config.script = Script::answers(Duration::from_millis(100));
            change_b(config);
        });
        let mut setup = Setup::of_a_and_b(booth.address(b));
        change(&mut setup);
        site.write(&setup);
        let daemon = site.start();
        Talk { booth, daemon, site, setup, a, b }
    }

    /// A and B talk, and hear each other.
    pub(crate) fn up() -> Talk {
        let mut talk = Talk::new(|_| {}, |_| {}, |_| {});
        talk.call();
        talk
    }

    /// A calls; they talk and hear each other.
    pub(crate) fn call(&mut self) {
        let (a, b) = (self.a, self.b);
        self.booth.call(a, X, self.daemon.udp);
        self.hear_each_other_for(Duration::from_millis(200));
        assert!(
            self.booth.events(b).iter().any(|event| matches!(event, PhoneEvent::Invited { caller } if caller == X))
        );
    }

    /// They hear each other for this long from now on.
    pub(crate) fn hear_each_other_for(&mut self, length: Duration) {
        let (a, b) = (self.a, self.b);
        let heard = |booth: &Booth| [booth.heard(a, "B's voice"), booth.heard(b, "A's voice")];
        let before = heard(&self.booth);
        self.booth.wait("A and B hear each other", |booth| {
            heard(booth).iter().zip(before).all(|(now, before)| *now >= before + length)
        });
    }

    /// B hangs up, and A is told.
    pub(crate) fn hang_up(&mut self) {
        let (a, b) = (self.a, self.b);
        self.booth.hang_up(b);
        self.booth
            .wait_for(a, "A is released", |event| matches!(event, PhoneEvent::Released { by: phone::Ender::Them, .. }));
        self.booth.wait("B's BYE is answered", |booth| booth.phone(b).state() == phone::State::Ended);
        self.booth.assert_proper();
    }

    /// The call's record, once it is written.
    pub(crate) fn cdr(&mut self) -> serde_json::Value {
        let Talk { booth, site, .. } = self;
        booth.wait("a call detail record", |_| !site.cdrs().is_empty());
        let mut cdrs = site.cdrs();
        assert_eq!(cdrs.len(), 1, "{cdrs:?}");
        cdrs.remove(0)
    }
}
