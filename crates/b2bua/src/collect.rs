//! An extension is typed (product rule M3): digits that come in three ways become what a finger has pressed.
//!
//! ```text
//!   prompt ──first digit (barge-in)──▶ typing ──width reached, #, 3 s, 20 s──▶ typed, or nothing was
//!      └───────── prompt over ─────────▶  ▲ │                                       │
//!                                         └─┘ 0-9; * begins anew                    │ nobody's, and a try is left
//!      prompt ◀─────────────────────────────────────────────────────────────────────┘
//! ```
//!
//! A key that is pressed once may arrive as a telephone-event, as a tone and as INFO, in any order and some time apart. Each
//! way is a sequence of its own; the sequences are laid over each other: what a way tells is the first press that it has not
//! told yet, where that is the same key, and a new press where there is none.

use std::collections::VecDeque;
use std::time::Duration;

use media::{Digit, DigitBy};

/// From the end of a digit to the next one; then what has been typed is all.
const INTER_DIGIT: Duration = Duration::from_secs(3);

/// For a whole extension, from the end of the prompt or from the first digit.
const TOTAL: Duration = Duration::from_secs(20);

/// Extensions that may be typed.
const TRIES: u8 = 3;

/// How much later than another way one may tell of the same press, from its release. An INFO may have been lost once or twice.
const SAME_PRESS: Duration = Duration::from_secs(2);

/// Presses that are remembered, to be recognised when they come again another way.
const MAX_PRESSES: usize = 32;

/// How a digit came.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(crate) enum Way {
    /// Telephone-event.
    Event,
    /// Tone in the voice.
    Tone,
    /// SIP INFO.
    Info,
}

impl From<DigitBy> for Way {
    fn from(by: DigitBy) -> Way {
        match by {
            DigitBy::Event => Way::Event,
            DigitBy::Tone => Way::Tone,
        }
    }
}

/// What follows from something that has happened.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(crate) enum Step {
    /// Nothing, for now.
    Wait,
    /// The first digit: the prompt falls silent.
    Hush,
    /// This was typed, which may be nothing. Nothing more is taken until [`Collect::again`].
    Typed(Box<str>),
}

/// An extension that is being typed.
#[derive(Debug)]
pub(crate) struct Collect {
    width: usize,
    digits: String,
    tries_left: u8,
    state: State,
    presses: VecDeque<Press>,
    /// An extension that was complete by its width may be followed by the `#` of somebody who does not know that.
    takes_hash: bool,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum State {
    /// The prompt plays, until then at the latest.
    Prompting { until: Duration },
    /// Since the prompt is over, or since the first digit.
    Typing {
        since: Duration,
        /// The last digit was let go then; before there is one, the same.
        last: Duration,
    },
    /// Typed, and not yet judged.
    Done,
}

/// A key that was pressed.
#[derive(Clone, Copy, Debug)]
struct Press {
    digit: Digit,
    /// Until then it is this press that a way tells late; its release, where that is known, moves it.
    until: Duration,
    /// The ways that have told it.
    told: u8,
    /// The ways in which it is still down.
    held: u8,
}

impl Collect {
    /// The first try, of an extension of so many digits; a prompt plays until then at the latest.
    pub(crate) fn begin(width: u8, until: Duration) -> Collect {
        Collect {
            width: usize::from(width),
            digits: String::new(),
            tries_left: TRIES,
            state: State::Prompting { until },
            presses: VecDeque::new(),
            takes_hash: false,
        }
    }

    /// What was typed did not do: one more try, after a prompt that lasts until then at the latest. `false`: there was only
    /// this one.
    pub(crate) fn again(&mut self, until: Duration) -> bool {
        self.tries_left = self.tries_left.saturating_sub(1);
        if self.tries_left == 0 {
            return false;
        }
        self.digits.clear();
        self.state = State::Prompting { until };
        true
    }

    /// When [`Collect::on_time`] wants to be called.
    pub(crate) fn deadline(&self) -> Option<Duration> {
        match self.state {
            State::Prompting { until } => Some(until),
            State::Typing { since, last } => {
                let is_held = self.presses.iter().any(|press| press.held != 0);
                let all = since + TOTAL;
                Some(if is_held || self.digits.is_empty() { all } else { all.min(last + INTER_DIGIT) })
            }
            State::Done => None,
        }
    }

    pub(crate) fn on_time(&mut self, now: Duration) -> Step {
        if self.deadline().is_none_or(|at| now < at) {
            return Step::Wait;
        }
        match self.state {
            State::Prompting { .. } => {
                self.on_prompt_over(now);
                Step::Wait
            }
            State::Typing { .. } => self.typed(),
            State::Done => Step::Wait,
        }
    }

    /// The prompt has been heard to its end.
    pub(crate) fn on_prompt_over(&mut self, now: Duration) {
        if matches!(self.state, State::Prompting { .. }) {
            self.state = State::Typing { since: now, last: now };
        }
    }

    /// A key went down.
    pub(crate) fn on_pressed(&mut self, now: Duration, digit: Digit, way: Way) -> Step {
        self.on_press(now, now, digit, way)
    }

    /// The key that went down last in this way is up.
    pub(crate) fn on_released(&mut self, now: Duration, way: Way) {
        self.let_go(now, way);
        if let State::Typing { last, .. } = &mut self.state {
            *last = now;
        }
    }

    /// A key was pressed for so long, and is told of now that it is up.
    pub(crate) fn on_info(&mut self, now: Duration, digit: Digit, ms: u16) -> Step {
        let began = now.saturating_sub(Duration::from_millis(u64::from(ms)));
        let step = self.on_press(began, now, digit, Way::Info);
        self.on_released(now, Way::Info);
        step
    }

    fn on_press(&mut self, began: Duration, now: Duration, digit: Digit, way: Way) -> Step {
        if !self.is_new(began, now, digit, way) {
            return Step::Wait;
        }
        let takes_hash = std::mem::take(&mut self.takes_hash);
        let (since, was_prompting) = match self.state {
            State::Prompting { .. } => (now, true),
            State::Typing { since, .. } => (since, false),
            State::Done => return Step::Wait,
        };
        let key = digit.reveal();
        match key {
            '#' if takes_hash && self.digits.is_empty() => return Step::Wait,
            'A'..='D' => return Step::Wait,
            _ => {}
        }
        self.state = State::Typing { since, last: now };
        match key {
            '#' => return self.typed(),
            '*' => self.digits.clear(),
            key => self.digits.push(key),
        }
        if self.digits.len() >= self.width {
            self.takes_hash = true;
            return self.typed();
        }
        if was_prompting { Step::Hush } else { Step::Wait }
    }

    fn typed(&mut self) -> Step {
        self.state = State::Done;
        Step::Typed(self.digits.as_str().into())
    }

    fn let_go(&mut self, now: Duration, way: Way) {
        if let Some(press) = self.presses.iter_mut().find(|press| press.held & way.bit() != 0) {
            press.held &= !way.bit();
            press.until = press.until.max(now + SAME_PRESS);
        }
    }

    /// Whether this is a press that no other way has told.
    fn is_new(&mut self, began: Duration, now: Duration, digit: Digit, way: Way) -> bool {
        let after = self.presses.iter().rposition(|press| press.told & way.bit() != 0).map_or(0, |place| place + 1);
        let is_same = |press: &Press| press.digit == digit && (press.held != 0 || began <= press.until);
        // One key at a time is down in a way: the release of the one before was lost.
        self.let_go(now, way);
        if let Some(press) = self.presses.iter_mut().skip(after).find(|press| is_same(press)) {
            press.told |= way.bit();
            press.held |= way.bit();
            return false;
        }
        if self.presses.len() == MAX_PRESSES {
            self.presses.pop_front();
        }
        self.presses.push_back(Press { digit, until: now + SAME_PRESS, told: way.bit(), held: way.bit() });
        true
    }
}

impl Way {
    const fn bit(self) -> u8 {
        match self {
            Way::Event => 1,
            Way::Tone => 2,
            Way::Info => 4,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PROMPT: Duration = Duration::from_secs(2);

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn digit(key: char) -> Digit {
        Digit::from_char(key).expect("a key of a telephone")
    }

    /// What comes of presses of 100 ms each, told by one way at these times.
    fn press(collect: &mut Collect, way: Way, keys: &[(u64, char)]) -> Vec<Step> {
        let mut steps = Vec::new();
        for (at, key) in keys {
            steps.push(collect.on_pressed(ms(*at), digit(*key), way));
            collect.on_released(ms(*at + 100), way);
        }
        steps
    }

    fn typed(text: &str) -> Step {
        Step::Typed(text.into())
    }

    #[test]
    fn the_last_digit_of_the_width_ends_the_collection_at_once() {
        let mut collect = Collect::begin(3, PROMPT);
        collect.on_prompt_over(PROMPT);
        let steps = press(&mut collect, Way::Event, &[(3_000, '1'), (3_300, '1'), (3_600, '2')]);
        assert_eq!(steps, [Step::Wait, Step::Wait, typed("112")]);
        assert_eq!(collect.deadline(), None);
    }

    #[test]
    fn a_digit_silences_the_prompt_and_counts() {
        let mut collect = Collect::begin(2, PROMPT);
        assert_eq!(press(&mut collect, Way::Tone, &[(500, '4'), (900, '2')]), [Step::Hush, typed("42")]);
    }

    #[test]
    fn hash_ends_and_star_begins_anew() {
        let mut collect = Collect::begin(4, PROMPT);
        let steps = press(&mut collect, Way::Event, &[(100, '1'), (400, '*'), (700, '7'), (1_000, '#')]);
        assert_eq!(steps.last(), Some(&typed("7")));
        let mut collect = Collect::begin(4, PROMPT);
        assert_eq!(press(&mut collect, Way::Event, &[(100, '#')]), [typed("")]);
        let mut collect = Collect::begin(4, PROMPT);
        assert_eq!(press(&mut collect, Way::Event, &[(100, 'A')]), [Step::Wait], "no key of an extension");
        assert_eq!(collect.deadline(), Some(PROMPT), "nor one that silences the prompt");
    }

    #[test]
    fn three_seconds_after_the_last_digit_what_was_typed_is_all() {
        let mut collect = Collect::begin(4, PROMPT);
        press(&mut collect, Way::Event, &[(500, '1'), (900, '2')]);
        assert_eq!(collect.deadline(), Some(ms(1_000) + INTER_DIGIT));
        assert_eq!(collect.on_time(ms(3_999)), Step::Wait);
        assert_eq!(collect.on_time(ms(4_000)), typed("12"));
        assert_eq!(collect.on_time(ms(60_000)), Step::Wait);
    }

    #[test]
    fn no_pause_is_counted_while_a_key_is_down() {
        let mut collect = Collect::begin(4, PROMPT);
        collect.on_pressed(ms(500), digit('1'), Way::Event);
        assert_eq!(collect.deadline(), Some(ms(500) + TOTAL));
        collect.on_released(ms(9_000), Way::Event);
        assert_eq!(collect.deadline(), Some(ms(9_000) + INTER_DIGIT));
    }

    #[test]
    fn twenty_seconds_are_all_there_is_from_the_end_of_the_prompt() {
        let mut collect = Collect::begin(4, PROMPT);
        assert_eq!(collect.deadline(), Some(PROMPT));
        assert_eq!(collect.on_time(PROMPT), Step::Wait);
        assert_eq!(collect.deadline(), Some(PROMPT + TOTAL));
        assert_eq!(collect.on_time(PROMPT + TOTAL), typed(""));
        // Somebody who types on and on gets no longer.
        let mut collect = Collect::begin(4, PROMPT);
        let mut at = 0;
        while Duration::from_millis(at) < TOTAL {
            assert!(matches!(
                press(&mut collect, Way::Event, &[(at, '1'), (at + 500, '*')])[1],
                Step::Wait | Step::Hush
            ));
            at += 1_000;
        }
        assert_eq!(collect.on_time(TOTAL), typed(""));
    }

    #[test]
    fn three_tries_and_no_more() {
        let mut collect = Collect::begin(1, PROMPT);
        for (at, is_left) in [(0, true), (5_000, true), (10_000, false)] {
            assert_eq!(press(&mut collect, Way::Event, &[(at, '9')]), [typed("9")]);
            assert_eq!(collect.again(ms(at) + PROMPT), is_left);
        }
    }

    #[test]
    fn the_hash_behind_a_whole_extension_is_no_try() {
        let mut collect = Collect::begin(2, PROMPT);
        assert_eq!(press(&mut collect, Way::Event, &[(100, '1'), (400, '2')]).pop(), Some(typed("12")));
        assert!(collect.again(ms(3_000)));
        assert_eq!(press(&mut collect, Way::Event, &[(700, '#')]), [Step::Wait]);
        assert_eq!(collect.deadline(), Some(ms(3_000)), "the prompt goes on");
        assert_eq!(press(&mut collect, Way::Event, &[(1_500, '#')]), [typed("")], "a second one is one");
    }

    #[test]
    fn a_press_that_comes_in_three_ways_counts_once() {
        let mut collect = Collect::begin(4, PROMPT);
        // 1 1 2, by tone first, by event 60 ms later, by INFO each 400 ms after that.
        let mut steps = Vec::new();
        let mut told: Vec<(u64, Way, char)> = Vec::new();
        for (at, key) in [(0, '1'), (250, '1'), (500, '2')] {
            told.extend([(at, Way::Tone, key), (at + 60, Way::Event, key), (at + 460, Way::Info, key)]);
        }
        told.sort_by_key(|(at, ..)| *at);
        for (at, way, key) in told {
            match way {
                Way::Info => steps.push(collect.on_info(ms(at), digit(key), 160)),
                Way::Event | Way::Tone => {
                    steps.push(collect.on_pressed(ms(at), digit(key), way));
                    collect.on_released(ms(at + 80), way);
                }
            }
        }
        steps.retain(|step| *step != Step::Wait);
        assert_eq!(steps, [Step::Hush]);
        assert_eq!(press(&mut collect, Way::Event, &[(2_000, '#')]), [typed("112")]);
    }

    #[test]
    fn what_comes_late_in_another_way_does_not_begin_the_next_try() {
        let mut collect = Collect::begin(1, PROMPT);
        assert_eq!(collect.on_pressed(ms(100), digit('5'), Way::Tone), typed("5"));
        assert!(collect.again(ms(3_000)));
        assert_eq!(collect.on_pressed(ms(160), digit('5'), Way::Event), Step::Wait);
        assert_eq!(collect.on_info(ms(700), digit('5'), 200), Step::Wait);
        assert_eq!(collect.on_info(ms(1_700), digit('5'), 200), typed("5"), "pressed again");
    }

    #[test]
    fn a_key_held_for_long_is_one_press_whichever_way_tells_it_at_last() {
        let mut collect = Collect::begin(4, PROMPT);
        assert_eq!(collect.on_pressed(ms(100), digit('5'), Way::Event), Step::Hush);
        collect.on_released(ms(6_000), Way::Event);
        assert_eq!(collect.on_info(ms(6_100), digit('5'), 160), Step::Wait);
        assert_eq!(press(&mut collect, Way::Event, &[(7_000, '#')]), [typed("5")]);
    }

    #[test]
    fn a_way_that_misses_digits_takes_none_away() {
        let mut collect = Collect::begin(4, PROMPT);
        // The tone detector misses the first of two equal digits.
        collect.on_pressed(ms(0), digit('3'), Way::Event);
        collect.on_released(ms(100), Way::Event);
        collect.on_pressed(ms(300), digit('3'), Way::Tone);
        collect.on_pressed(ms(320), digit('3'), Way::Event);
        assert_eq!(press(&mut collect, Way::Event, &[(700, '#')]), [typed("33")]);
    }

    #[test]
    fn a_lost_release_holds_nothing_up() {
        let mut collect = Collect::begin(4, PROMPT);
        collect.on_pressed(ms(0), digit('1'), Way::Event);
        assert_eq!(collect.deadline(), Some(TOTAL), "it is down");
        collect.on_pressed(ms(500), digit('2'), Way::Event);
        collect.on_released(ms(600), Way::Event);
        assert_eq!(collect.deadline(), Some(ms(600) + INTER_DIGIT));
    }

    #[test]
    fn nothing_grows() {
        let mut collect = Collect::begin(4, PROMPT);
        for at in 0..1_000 {
            collect.on_pressed(ms(at * 40), digit('*'), Way::Event);
        }
        assert!(collect.presses.len() <= MAX_PRESSES && collect.digits.is_empty());
    }
}
