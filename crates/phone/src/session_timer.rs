//! Session timers (RFC 4028): agreed by the INVITE and its 200, refreshed by re-INVITE or UPDATE, or the call ends.
//!
//! ```text
//!   Session-Expires: 1800;refresher=uac ─▶ half of it: refresh ─2xx─▶ from the start
//!   the other side refreshes: none until min(32 s, a third) before the end ─▶ BYE
//! ```

use std::time::Duration;

use crate::call::{Call, Ticking};
use crate::sdp::Offer;
use crate::wire::Received;
use crate::{Act, Phone, PhoneEvent, RefreshBy, Refresher};

/// The option tag.
pub(crate) const OPTION: &str = "timer";

/// Smallest interval that anybody may ask for, in seconds (§5).
const LEAST: u32 = 90;

/// Session-Expires: seconds, and the refresher's role where it is said.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
struct Expires {
    seconds: u32,
    uac: Option<bool>,
}

fn expires_of(received: &Received) -> Result<Option<Expires>, String> {
    let Some(value) = received.value("Session-Expires").or_else(|| received.value("x")) else {
        return Ok(None);
    };
    let mut parts = value.split(';').map(str::trim);
    let seconds = parts.next().and_then(|seconds| seconds.parse().ok());
    let refresher = parts.find_map(|part| part.strip_prefix("refresher="));
    match (seconds, refresher) {
        (Some(seconds), None) => Ok(Some(Expires { seconds, uac: None })),
        (Some(seconds), Some("uac")) => Ok(Some(Expires { seconds, uac: Some(true) })),
        (Some(seconds), Some("uas")) => Ok(Some(Expires { seconds, uac: Some(false) })),
        (_, _) => Err(format!("Session-Expires: {value}")),
    }
}

fn min_se_of(received: &Received) -> u32 {
    received.value("Min-SE").and_then(|value| value.split(';').next()?.trim().parse().ok()).unwrap_or(LEAST)
}

fn role(uac: bool) -> &'static str {
    if uac { "uac" } else { "uas" }
}

impl Phone {
    /// Session-Expires and Min-SE of an INVITE or UPDATE of ours.
    pub(crate) fn timer_request(&self) -> Vec<(String, String)> {
        let Some(wanted) = self.config.script.session_timer.filter(|_| !self.is_early()) else {
            return Vec::new();
        };
        let running = self.call.dialog().and_then(|dialog| dialog.timer);
        let seconds = running.map_or(wanted.expires, |timer| timer.interval.as_secs() as u32);
        // Who refreshes goes on doing so (§7.4); our request makes us the UAC.
        let ours = running.map(|timer| timer.ours).or(wanted.refresher.map(|who| who == Refresher::Us));
        let refresher = ours.map(|ours| format!(";refresher={}", role(ours))).unwrap_or_default();
        let mut headers = vec![("Session-Expires".to_owned(), format!("{seconds}{refresher}"))];
        if wanted.min_se > LEAST {
            headers.extend(self.min_se());
        }
        headers
    }

    /// Our Min-SE.
    pub(crate) fn min_se(&self) -> Vec<(String, String)> {
        let least = self.config.script.session_timer.map_or(LEAST, |timer| timer.min_se);
        vec![("Min-SE".to_owned(), least.to_string())]
    }

    /// What is wrong with the session timer in a request, and the status where it asks for less than we take.
    pub(crate) fn timer_too_short(&mut self, request: &Received) -> Option<u16> {
        let supported = request.lists("Supported", OPTION) || request.lists("Require", OPTION);
        let expires = match expires_of(request) {
            Ok(expires) => expires?,
            Err(flaw) => {
                self.breach(format!("{}: {flaw}", request.method));
                return None;
            }
        };
        let least = min_se_of(request);
        if !supported {
            self.breach(format!("{}: Session-Expires without Supported: timer", request.method));
        }
        if least < LEAST || expires.seconds < least {
            self.breach(format!("{}: Session-Expires {} with Min-SE {least}", request.method, expires.seconds));
        }
        let ours = self.config.script.session_timer?;
        (supported && expires.seconds < ours.min_se).then_some(422)
    }

    /// An UPDATE of now comes before the 200 to the INVITE, which alone starts the timer.
    fn is_early(&self) -> bool {
        match &self.call {
            Call::Calling(calling) => calling.dialog.exists(),
            Call::Ringing(_) => true,
            Call::Idle | Call::Answered(_) | Call::Established(_) | Call::Ending(_) | Call::Ended => false,
        }
    }

    /// What our 200 to an INVITE or UPDATE says of the session timer, which runs from now on.
    pub(crate) fn timer_answer(&mut self, now: Duration, request: &Received) -> Vec<(String, String)> {
        let Some(ours) = self.config.script.session_timer.filter(|_| !self.is_early()) else {
            return Vec::new();
        };
        let supported = request.lists("Supported", OPTION) || request.lists("Require", OPTION);
        let asked = expires_of(request).ok().flatten();
        let running = self.call.dialog().and_then(|dialog| dialog.timer);
        let seconds = match (asked, running) {
            (Some(asked), _) => asked.seconds.min(ours.expires).max(min_se_of(request)),
            (None, Some(running)) => running.interval.as_secs() as u32,
            (None, None) => ours.expires.max(min_se_of(request)),
        };
        // §9, table 2: a peer that knows of no timers does not refresh; otherwise it decides first.
        let by_uac = match (supported, asked.and_then(|asked| asked.uac), running, ours.refresher) {
            (false, _, _, _) => false,
            (true, Some(uac), _, _) => uac,
            (true, None, Some(running), _) => !running.ours,
            (true, None, None, wanted) => wanted != Some(Refresher::Us),
        };
        self.start_timer(now, seconds, !by_uac, supported);
        let mut headers = vec![("Session-Expires".to_owned(), format!("{seconds};refresher={}", role(by_uac)))];
        if supported {
            headers.push(("Require".to_owned(), OPTION.to_owned()));
        }
        headers
    }

    /// What a 2xx to our INVITE or UPDATE says of it.
    pub(crate) fn timer_response(&mut self, now: Duration, received: &Received) {
        let required = received.lists("Require", OPTION);
        let what = format!("2xx to {}", received.method);
        let expires = match expires_of(received) {
            Ok(expires) => expires,
            Err(flaw) => return self.breach(format!("{what}: {flaw}")),
        };
        let Some(expires) = expires else {
            if required {
                self.breach(format!("{what} requires timer and has no Session-Expires"));
            }
            if let Some(dialog) = self.call.dialog_mut() {
                dialog.timer = None;
            }
            return;
        };
        let wanted = self.config.script.session_timer;
        let Some(uac) = expires.uac else {
            return self.breach(format!("{what}: Session-Expires without refresher"));
        };
        let Some(wanted) = wanted else {
            if uac || required {
                self.breach(format!("{what} wants a session timer of a phone that has none"));
            }
            return;
        };
        let running = self.call.dialog().and_then(|dialog| dialog.timer);
        let asked = running.map_or(wanted.expires, |timer| timer.interval.as_secs() as u32);
        let ours = running.map(|timer| timer.ours).or(wanted.refresher.map(|who| who == Refresher::Us));
        if expires.seconds > asked.max(self.min_se_asked) || expires.seconds < LEAST.max(wanted.min_se) {
            self.breach(format!("{what}: Session-Expires {} where {asked} was asked for", expires.seconds));
        }
        if ours.is_some_and(|ours| ours != uac) {
            self.breach(format!("{what}: refresher={} is not who was asked for", role(uac)));
        }
        if uac && !required {
            self.breach(format!("{what}: refresher=uac without Require: timer"));
        }
        self.start_timer(now, expires.seconds, uac, true);
    }

    fn start_timer(&mut self, now: Duration, seconds: u32, ours: bool, owed: bool) {
        let interval = Duration::from_secs(seconds.into());
        let refreshes = self.config.script.session_timer.is_none_or(|timer| timer.refreshes);
        let next = match (ours, refreshes) {
            (true, true) => interval / 2,
            // The peer ends the call; its BYE may need all of its time.
            (true, false) => interval + self.config.timers.t1 * 64,
            (false, _) => interval - Duration::from_secs(32).min(interval / 3),
        };
        if let Some(dialog) = self.call.dialog_mut() {
            dialog.timer = Some(Ticking { interval, ours, owed, next: now + next, refreshing: false });
        }
        let refresher = if ours { Refresher::Us } else { Refresher::Them };
        self.event(PhoneEvent::SessionTimer { seconds, refresher });
    }

    /// The session must be refreshed, or is over.
    pub(crate) fn on_session_timer(&mut self, now: Duration) {
        let timers = self.config.timers;
        let Some(wanted) = self.config.script.session_timer else {
            return;
        };
        let Call::Established(up) = &mut self.call else {
            return;
        };
        let Some(timer) = &mut up.dialog.timer else {
            return;
        };
        if timer.ours && wanted.refreshes {
            // Until the refresh has its 2xx: then the session ends at its time.
            let end = timer.interval / 2;
            timer.next = now + end.max(timers.t1);
            if std::mem::replace(&mut timer.refreshing, true) {
                self.event(PhoneEvent::SessionExpired);
                return self.send_bye(now);
            }
            let act = match wanted.by {
                RefreshBy::Update => Act::Update(Offer::None),
                RefreshBy::Reinvite => Act::Reinvite(Offer::Same),
            };
            return self.plan(now, act);
        }
        let owed = timer.owed;
        let sentence =
            if timer.ours { "the session is over and the peer does not end it" } else { "the peer does not refresh" };
        if owed {
            self.breach(format!("{sentence} (RFC 4028 §10)"));
        }
        self.event(PhoneEvent::SessionExpired);
        self.send_bye(now);
    }

    /// This request was refused, for what it offers or for want of credentials. It may have been the refresh that was due; a BYE
    /// has ended the session for who sent it, whatever we say (RFC 3261 §15).
    pub(crate) fn note_refusal(&mut self, request: &Received) {
        if matches!(request.method, rsip::Method::Invite | rsip::Method::Update | rsip::Method::Bye)
            && let Some(dialog) = self.call.dialog_mut().filter(|dialog| dialog.is_of(request))
            && let Some(timer) = &mut dialog.timer
        {
            timer.owed = false;
        }
    }

    /// Our refresh asked for less than the peer takes (§7.4): again with what it does take.
    pub(crate) fn on_interval_too_small(&mut self, now: Duration, received: &Received, act: &Act) {
        let least = min_se_of(received);
        let seconds = self.call.dialog().and_then(|dialog| dialog.timer).map_or(0, |timer| timer.interval.as_secs());
        if u64::from(least) <= seconds {
            return self.breach(format!("422 with Min-SE {least} to {seconds}"));
        }
        if let Some(timer) = self.call.dialog_mut().and_then(|dialog| dialog.timer.as_mut()) {
            timer.interval = Duration::from_secs(least.into());
        }
        self.min_se_asked = least;
        self.plan(now, act.clone());
    }

    /// Our INVITE asked for less than the peer takes: what the next one says.
    pub(crate) fn longer_interval(&mut self, received: &Received) -> Option<Vec<(String, String)>> {
        let wanted = self.config.script.session_timer?;
        let least = received.value("Min-SE").map(|_| min_se_of(received));
        let Some(least) = least.filter(|least| *least > wanted.expires) else {
            self.breach(format!("422 with Min-SE {least:?} to {}", wanted.expires));
            return None;
        };
        self.min_se_asked = least;
        let refresher = wanted.refresher.map(|who| role(who == Refresher::Us));
        let refresher = refresher.map(|role| format!(";refresher={role}")).unwrap_or_default();
        Some(vec![
            ("Session-Expires".to_owned(), format!("{least}{refresher}")),
            ("Min-SE".to_owned(), least.to_string()),
        ])
    }
}
