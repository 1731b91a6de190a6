//! What bind and modify of an A–X–B and an A–X have in common: the terms of a binding, each of which may be left out.
//!
//! A bind applies them to a binding of the defaults, a modify to the binding that there is; so "absent" means the default in
//! the one and "as it was" in the other, without either being written down.

use std::sync::Arc;

use numbering::{Ax, Axb, CallDirection, Voice};

use super::fields::{Fields, Told};
use super::result::Refused;

/// Longest call, in minutes.
const MAX_MINUTES: u32 = 1_440;

/// What a request says of the terms.
#[derive(Default)]
pub struct Terms {
    direction: Option<CallDirection>,
    max_minutes: Option<u16>,
    record: Option<bool>,
    sms: Option<bool>,
    user_text: Option<Box<str>>,
    voice: VoiceChange,
}

#[derive(Default)]
struct VoiceChange {
    caller_hint_tone: Told<Arc<str>>,
    callee_hint_tone: Told<Arc<str>>,
    record_hint_tone: Told<Arc<str>>,
    last_minute: Told<Arc<str>>,
}

impl Terms {
    /// Reads them.
    ///
    /// # Errors
    /// The first that is wrong.
    pub fn read(fields: &Fields) -> Result<Terms, Refused> {
        let direction = fields.integer("callDirection", 0..=2)?;
        let pre_voice = fields.within("preVoice")?;
        Ok(Terms {
            direction: direction.and_then(|code| CallDirection::from_code(u8::try_from(code).ok()?)),
            max_minutes: fields.integer("maxDuration", 0..=MAX_MINUTES)?.and_then(|minutes| minutes.try_into().ok()),
            record: fields.flag("recordFlag")?,
            sms: fields.flag("privateSms")?,
            user_text: fields.user_text()?,
            voice: VoiceChange {
                caller_hint_tone: pre_voice.tone_of("callerHintTone", "preVoice.callerHintTone")?,
                callee_hint_tone: pre_voice.tone_of("calleeHintTone", "preVoice.calleeHintTone")?,
                record_hint_tone: fields.tone("recordHintTone")?,
                last_minute: fields.tone("lastMinVoice")?,
            },
        })
    }

    /// Puts them into a pair.
    pub fn change_axb(self, axb: &mut Axb) {
        set(&mut axb.direction, self.direction);
        set(&mut axb.max_minutes, self.max_minutes);
        set(&mut axb.record, self.record);
        set(&mut axb.sms, self.sms);
        set(&mut axb.user_text, self.user_text.map(Some));
        self.voice.change(&mut axb.voice);
    }

    /// Puts them into an A–X.
    pub fn change_ax(self, ax: &mut Ax) {
        set(&mut ax.direction, self.direction);
        set(&mut ax.max_minutes, self.max_minutes);
        set(&mut ax.record, self.record);
        set(&mut ax.sms, self.sms);
        set(&mut ax.user_text, self.user_text.map(Some));
        self.voice.change(&mut ax.voice);
    }
}

impl VoiceChange {
    fn change(self, voice: &mut Option<Box<Voice>>) {
        let mut now = voice.take().map(|voice| *voice).unwrap_or_default();
        set(&mut now.caller_hint_tone, self.caller_hint_tone);
        set(&mut now.callee_hint_tone, self.callee_hint_tone);
        set(&mut now.record_hint_tone, self.record_hint_tone);
        set(&mut now.last_minute, self.last_minute);
        *voice = (now != Voice::default()).then(|| Box::new(now));
    }
}

/// Changes what something is said of.
pub(crate) fn set<T>(place: &mut T, told: Option<T>) {
    if let Some(told) = told {
        *place = told;
    }
}
