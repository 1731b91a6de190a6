//! Digits as pairs of tones in the voice: in-band DTMF (ITU-T Q.23, Q.24).
//!
//! ```text
//!          1209 1336 1477 1633 Hz         samples ─▶ four windows of 20 ms, one ends every 5 ms
//!    697     1    2    3    A             window  ─▶ Goertzel at eight frequencies, and its energy
//!    770     4    5    6    B                     ─▶ the two tones and next to nothing else, both in tune, the one about
//!    852     7    8    9    C                        as loud as the other?
//!    941     *    0    #    D
//!
//!               five windows of a digit            six windows without it, or 250 ms without audio
//!        ┌──────┐ ───────────────────▶ ┌──────┐ ─────────────────────────▶ ┌──────┐
//!        │ None │       Pressed        │ Held │          Released          │ None │
//!        └──────┘                      └──────┘                            └──────┘
//! ```
//!
//! What Q.24 asks for is what the figures here are made for, at any place in a packet: 40 ms of a digit are found and 20 ms
//! are not; an interruption of 10 ms is none, and a pause of 40 ms is one; tones 1.5 % out of tune are taken and 3.5 % refused;
//! the high tone may be 8 dB below the low one or 4 dB above it. **How far a tone is out of tune** is how far its phase turns
//! from one window to the next, which tells it within a few hertz however short the window is.
//!
//! Speech is told from digits by the same measure: of a window's energy nearly all must be in two tones that are in tune. The
//! second harmonics, which a voice has and a keypad has not, and the neighbours of a tone are in what must not be there.
//!
//! Packets are placed by their timestamps (RFC 3550 §5.1); those that come late or twice are left out. Time of which nothing
//! came was silence where the sequence numbers say that nothing was lost. Where something was, nobody can know: it counts as
//! what is on both sides of it, tone or pause, up to 100 ms.

use crate::digits::{Note, Notes};
use crate::rtp::Header;
use crate::{Codec, Digit, g711};
use std::time::Duration;

/// The low group, by row, and the high group, by column, in Hz (Q.23).
const FREQUENCIES: [f64; TONES] = [697.0, 770.0, 852.0, 941.0, 1209.0, 1336.0, 1477.0, 1633.0];

const TONES: usize = 8;

/// Samples a second.
const RATE: f64 = 8000.0;

/// A window ends every so many samples: 5 ms.
const STEP: usize = 40;

/// So many windows are open at a time.
const BANKS: usize = 4;

/// Samples of a window.
const LEN: usize = STEP * BANKS;

/// Hann's window: what is 100 Hz or more away from a tone does not disturb it.
static WINDOW: [f32; LEN] = hann();

/// Sum of the window, and of its squares.
const SUM: f32 = LEN as f32 / 2.0;
const SQUARES: f32 = LEN as f32 * 0.375;

/// 2 cos ω of each tone.
static GOERTZEL: [f32; TONES] = turned(1.0, Part::TwiceCosine);

/// By how much each tone turns in one sample, and in one step.
static SAMPLE: [[f32; TONES]; 2] = [turned(1.0, Part::Cosine), turned(1.0, Part::Sine)];
static TURN: [[f32; TONES]; 2] = [turned(STEP as f64, Part::Cosine), turned(STEP as f64, Part::Sine)];

/// A tone is in tune when it turns in one step by no more than what 2.3 % of its frequency makes: between what must be taken
/// and what must not (Q.24). The tangent of it.
static IN_TUNE: [f32; TONES] = tangents(0.023);

/// The least power of a tone, in the square of a 16-bit sample: -41 dBm0. A full-scale sine is 3.14 dBm0 (G.711).
const LEAST: f32 = 2.0e4;

/// Of a window's power so much is in the two tones when they fill 64 % of it, and so much in most windows of a digit: all of
/// it but for noise that is 11 dB weaker. Speech comes near the first and hardly ever the second.
const TONE: f32 = 0.7;
const CLEAR: f32 = 0.92;

/// The high tone may be below the low one by 8 dB (normal twist), or above it by 4 dB (reverse twist); 1.5 dB are for noise.
const NORMAL_TWIST: f32 = 8.9;
const REVERSE_TWIST: f32 = 3.55;

/// Windows in a row that make a digit, and how many of them must be clear. 20 ms of a tone fill three windows well enough, 40 ms
/// six.
const PRESSED: u16 = 5;
const MOSTLY: u16 = 3;

/// Windows without it that end a digit. An interruption of 10 ms spoils four at most, a pause of 40 ms nine at least.
const RELEASED: u16 = 6;

/// A digit has ended when no audio came for so long.
const RELEASED_AFTER: Duration = Duration::from_millis(250);

/// The longest loss that a digit outlasts, in samples: 100 ms.
const MAX_LOST: u32 = 800;

/// The shortest time without audio and without loss that is a silence, in samples: 20 ms. Less is a clock that slips.
const MIN_SILENCE: u32 = 160;

/// After so many packets in a row that come from the past the sender has begun anew.
const MAX_STALE: u8 = 10;

/// When audio has come within this time before collection began, a digit may have begun before it too.
const FLOWING: Duration = Duration::from_millis(100);

/// Listens for a party's tones.
#[derive(Debug)]
pub(crate) struct Tones {
    stream: Option<Stream>,
    /// From the youngest to the one that is in its last quarter.
    banks: [Bank; BANKS],
    /// Samples of the present step.
    filled: usize,
    /// The tones of the window before.
    before: Spectrum,
    /// So many windows will not be whole: they begin with what was lost.
    blind: u8,
    /// Windows of which nothing is known, since the last one that was.
    unknown: u16,
    /// Nothing has been heard yet, and a digit that is there has begun before.
    begins_inside: bool,
    run: Option<Run>,
    held: Option<Held>,
    notes: Notes,
}

/// Where the next packet is expected.
#[derive(Debug)]
struct Stream {
    ssrc: u32,
    sequence_number: u16,
    timestamp: u32,
    /// Length of the last packet in samples.
    length: u32,
    /// When the last packet came.
    at: Duration,
    stale: u8,
}

/// One window while it is being filled: the state of eight Goertzel filters.
#[derive(Clone, Copy, Debug)]
struct Bank {
    last: [f32; TONES],
    last_but_one: [f32; TONES],
    energy: f32,
}

/// Amplitude and phase of each tone in a window.
type Spectrum = [[f32; TONES]; 2];

/// Windows in a row that are of one digit.
#[derive(Debug)]
struct Run {
    digit: Digit,
    windows: u16,
    clear: u16,
}

#[derive(Debug)]
struct Held {
    digit: Digit,
    /// Windows without it, since the last one with it.
    missed: u16,
    /// Its release is to be told.
    telling: bool,
}

/// What a window holds.
#[derive(Clone, Copy, Debug)]
enum Heard {
    /// Part of it was lost.
    Unknown,
    /// No digit.
    Other,
    Tone {
        digit: Digit,
        clear: bool,
    },
}

/// How a packet follows the one before.
enum Place {
    /// It is of a time that has been heard.
    Stale,
    /// In samples.
    After { lost: u32, silent: u32 },
}

impl Tones {
    /// Begins to listen. `since` is how long ago the party's last packet came.
    pub(crate) const fn new(since: Option<Duration>) -> Tones {
        let flowing = matches!(since, Some(since) if since.as_nanos() < FLOWING.as_nanos());
        Tones {
            stream: None,
            banks: [Bank::EMPTY; BANKS],
            filled: 0,
            before: [[0.0; TONES]; 2],
            blind: if flowing { BANKS as u8 - 1 } else { 0 },
            unknown: 0,
            begins_inside: flowing,
            run: None,
            held: None,
            notes: Notes::new(),
        }
    }

    /// Takes the audio of one packet, without header and padding. Does not allocate.
    pub(crate) fn on_audio(&mut self, now: Duration, header: &Header, codec: Codec, payload: &[u8]) {
        let length = payload.len() as u32;
        match self.place(now, header, length) {
            Place::Stale => return,
            Place::After { lost: 0, silent: 0 } => {}
            Place::After { lost, silent } => self.skip(lost, silent),
        }
        let mut rest = payload;
        while !rest.is_empty() {
            let (piece, after) = rest.split_at(rest.len().min(STEP - self.filled));
            self.hear(codec, piece);
            rest = after;
            if self.filled == STEP {
                self.filled = 0;
                let heard = self.judge();
                self.on_window(now, heard);
            }
        }
    }

    /// Ends a digit when no more audio comes.
    pub(crate) fn on_timeout(&mut self, now: Duration) {
        if self.fades_at().is_some_and(|at| at <= now)
            && let Some(held) = &mut self.held
        {
            // Should it go on after all, it is the same.
            held.telling = false;
            self.notes.release();
        }
    }

    /// When a digit ends if no audio comes; a time that has been when there is something to tell.
    pub(crate) fn poll_timeout(&self) -> Option<Duration> {
        if self.notes.is_empty() { self.fades_at() } else { self.stream.as_ref().map(|stream| stream.at) }
    }

    /// The next note of a digit.
    pub(crate) fn poll(&mut self) -> Option<Note> {
        self.notes.poll()
    }

    /// Digits that came faster than they could be told.
    pub(crate) const fn refused(&self) -> u64 {
        self.notes.refused()
    }

    fn fades_at(&self) -> Option<Duration> {
        let (stream, held) = (self.stream.as_ref()?, self.held.as_ref()?);
        held.telling.then(|| stream.at.saturating_add(RELEASED_AFTER))
    }

    // ---- placing ------------------------------------------------------------------------------------------------

    fn place(&mut self, now: Duration, header: &Header, length: u32) -> Place {
        let next = header.timestamp.wrapping_add(length);
        let begun = Stream {
            ssrc: header.ssrc,
            sequence_number: header.sequence_number,
            timestamp: next,
            length,
            at: now,
            stale: 0,
        };
        let Some(stream) = &mut self.stream else {
            self.stream = Some(begun);
            return Place::After { lost: 0, silent: 0 };
        };
        let newer = header.sequence_number.wrapping_sub(stream.sequence_number) as i16;
        let ahead = header.timestamp.wrapping_sub(stream.timestamp) as i32;
        let is_stale = newer == 0 || (newer < 0 && ahead < 0);
        if header.ssrc == stream.ssrc && is_stale && stream.stale < MAX_STALE {
            stream.stale += 1;
            return Place::Stale;
        }
        let place = if header.ssrc == stream.ssrc && !is_stale {
            // Where the numbers go on and the time goes back, the sender's clock is wrong and its audio is not.
            let ahead = u32::try_from(ahead).unwrap_or(0);
            let missing = u32::try_from(newer - 1).map_or(ahead, |packets| packets.saturating_mul(stream.length));
            let lost = missing.min(ahead);
            Place::After { lost, silent: ahead - lost }
        } else {
            // Another clock: only the time of arrival tells how long nothing came.
            let since = now.saturating_sub(stream.at).as_micros() / 125;
            let lost = u32::try_from(since).unwrap_or(u32::MAX).saturating_sub(length);
            Place::After { lost: lost.max(1), silent: 0 }
        };
        *stream = begun;
        place
    }

    /// Time passes of which there is no audio, in samples.
    fn skip(&mut self, lost: u32, silent: u32) {
        let windows = u16::try_from((lost.saturating_add(silent)) / STEP as u32).unwrap_or(u16::MAX);
        self.banks = [Bank::EMPTY; BANKS];
        self.filled = 0;
        self.blind = 0;
        if silent >= MIN_SILENCE || lost.saturating_add(silent) > MAX_LOST {
            self.unknown = self.unknown.saturating_add(windows.saturating_sub(1));
            self.on_other();
        } else {
            self.unknown = self.unknown.saturating_add(windows);
            self.blind = BANKS as u8 - 1;
        }
    }

    // ---- hearing ------------------------------------------------------------------------------------------------

    /// Fills the windows with at most what is left of a step.
    fn hear(&mut self, codec: Codec, piece: &[u8]) {
        let mut samples = [0.0_f32; STEP];
        let samples = &mut samples[..piece.len()];
        for (sample, byte) in samples.iter_mut().zip(piece) {
            *sample = f32::from(g711::to_linear(codec, *byte));
        }
        let [first, second, third, fourth] = &mut self.banks;
        let quarter = |number: usize| &WINDOW[number * STEP + self.filled..][..samples.len()];
        Bank::hear([first, second], samples, [quarter(0), quarter(1)]);
        Bank::hear([third, fourth], samples, [quarter(2), quarter(3)]);
        self.filled += piece.len();
    }

    /// Says what the oldest window holds, which is full, and opens a new one.
    fn judge(&mut self) -> Heard {
        let full = self.banks[BANKS - 1];
        self.banks.rotate_right(1);
        self.banks[0] = Bank::EMPTY;
        let spectrum = full.spectrum();
        let before = std::mem::replace(&mut self.before, spectrum);
        if self.blind > 0 {
            self.blind -= 1;
            return Heard::Unknown;
        }
        let power = |tone: usize| {
            let [re, im] = [spectrum[0][tone], spectrum[1][tone]];
            (re * re + im * im) * (2.0 / (SUM * SUM))
        };
        let loudest = |group: std::ops::Range<usize>| group.max_by(|a, b| power(*a).total_cmp(&power(*b))).unwrap_or(0);
        let (row, column) = (loudest(0..4), loudest(4..8));
        let total = full.energy / SQUARES;
        let (low, high) = (power(row), power(column));
        if low < LEAST || high < LEAST || low + high < total * 0.5 {
            return Heard::Other;
        }
        let (Some(low), Some(high)) = (
            tuned(&before, &spectrum, row).map(|gain| low * gain),
            tuned(&before, &spectrum, column).map(|gain| high * gain),
        ) else {
            return Heard::Other;
        };
        let is_even = low <= high * NORMAL_TWIST && high <= low * REVERSE_TWIST;
        match digit(row, column - 4) {
            Some(digit) if is_even && low + high >= total * TONE => {
                Heard::Tone { digit, clear: low + high >= total * CLEAR }
            }
            Some(_) | None => Heard::Other,
        }
    }

    // ---- telling ------------------------------------------------------------------------------------------------

    fn on_window(&mut self, now: Duration, heard: Heard) {
        match heard {
            Heard::Unknown => self.unknown = self.unknown.saturating_add(1),
            Heard::Other => self.on_other(),
            Heard::Tone { digit, clear } => self.on_tone(now, digit, clear),
        }
    }

    /// A window without a digit, and the unknown ones before it.
    fn on_other(&mut self) {
        self.run = None;
        self.begins_inside = false;
        let windows = std::mem::take(&mut self.unknown).saturating_add(1);
        self.miss(windows);
    }

    fn on_tone(&mut self, now: Duration, digit: Digit, clear: bool) {
        let windows = std::mem::take(&mut self.unknown).saturating_add(1);
        if std::mem::take(&mut self.begins_inside) {
            self.held = Some(Held { digit, missed: 0, telling: false });
        }
        if let Some(held) = self.held.as_mut().filter(|held| held.digit == digit) {
            // What was lost after the tone had ceased belongs to the pause.
            if held.missed == 0 || held.missed.saturating_add(windows) <= RELEASED {
                held.missed = 0;
                self.run = None;
                return;
            }
        }
        self.miss(windows);
        let run = match &mut self.run {
            Some(run) if run.digit == digit => {
                run.windows = run.windows.saturating_add(windows);
                run
            }
            other => other.insert(Run { digit, windows: 1, clear: 0 }),
        };
        run.clear = run.clear.saturating_add(u16::from(clear));
        if run.windows >= PRESSED && run.clear >= MOSTLY {
            self.run = None;
            self.release();
            let telling = self.notes.begin(now, Note::Pressed(digit));
            self.held = Some(Held { digit, missed: 0, telling });
        }
    }

    fn miss(&mut self, windows: u16) {
        if let Some(held) = &mut self.held {
            held.missed = held.missed.saturating_add(windows);
            if held.missed >= RELEASED {
                self.release();
            }
        }
    }

    fn release(&mut self) {
        if self.held.take().is_some_and(|held| held.telling) {
            self.notes.release();
        }
    }
}

impl Bank {
    const EMPTY: Bank = Bank { last: [0.0; TONES], last_but_one: [0.0; TONES], energy: 0.0 };

    /// Two at once: what one sample does to a filter takes longer than what the next sample has to wait for, and the other
    /// window's filters fill that time.
    fn hear(banks: [&mut Bank; 2], samples: &[f32], windows: [&[f32]; 2]) {
        let [first, second] = banks;
        let (mut one, mut other) = (*first, *second);
        for ((sample, weight), other_weight) in samples.iter().zip(windows[0]).zip(windows[1]) {
            one.take(sample * weight);
            other.take(sample * other_weight);
        }
        (*first, *second) = (one, other);
    }

    #[inline(always)]
    fn take(&mut self, weighted: f32) {
        self.energy += weighted * weighted;
        for ((last, last_but_one), factor) in self.last.iter_mut().zip(&mut self.last_but_one).zip(&GOERTZEL) {
            let new = factor * *last + (weighted - *last_but_one);
            *last_but_one = std::mem::replace(last, new);
        }
    }

    /// The phase is that of the window's last sample.
    fn spectrum(&self) -> Spectrum {
        let re = |tone: usize| self.last[tone] - SAMPLE[0][tone] * self.last_but_one[tone];
        let im = |tone: usize| SAMPLE[1][tone] * self.last_but_one[tone];
        [std::array::from_fn(re), std::array::from_fn(im)]
    }
}

/// Where a tone is in tune: what its power in the window is to be multiplied with, since the window hears less of what is
/// beside its frequency.
fn tuned(before: &Spectrum, now: &Spectrum, tone: usize) -> Option<f32> {
    let (a, b) = ([before[0][tone], before[1][tone]], [now[0][tone], now[1][tone]]);
    // From one window to the next, less what the tone turns by when it is in tune.
    let (re, im) = (b[0] * a[0] + b[1] * a[1], b[1] * a[0] - b[0] * a[1]);
    let (re, im) = (re * TURN[0][tone] + im * TURN[1][tone], im * TURN[0][tone] - re * TURN[1][tone]);
    if re <= 0.0 || im.abs() > IN_TUNE[tone] * re {
        return None;
    }
    // In parts of the inverse of the window's length; Hann's window is 1 - 0.645 x² for what is less than 1.
    let beside = im.atan2(re) * (BANKS as f32 / std::f32::consts::TAU);
    let gain = 1.0 / (1.0 - 0.645 * beside * beside);
    Some(gain * gain)
}

/// The digit of a row and a column (Q.23).
fn digit(row: usize, column: usize) -> Option<Digit> {
    const KEYS: [[char; 4]; 4] =
        [['1', '2', '3', 'A'], ['4', '5', '6', 'B'], ['7', '8', '9', 'C'], ['*', '0', '#', 'D']];
    Digit::from_char(*KEYS.get(row)?.get(column)?)
}

#[derive(Clone, Copy)]
enum Part {
    Cosine,
    TwiceCosine,
    Sine,
}

/// What each tone turns by in so many samples.
const fn turned(samples: f64, part: Part) -> [f32; TONES] {
    let mut table = [0.0; TONES];
    let mut tone = 0;
    while tone < TONES {
        let turns = FREQUENCIES[tone] / RATE * samples;
        table[tone] = match part {
            Part::Cosine => cosine(turns),
            Part::TwiceCosine => 2.0 * cosine(turns),
            Part::Sine => cosine(turns + 0.75),
        } as f32;
        tone += 1;
    }
    table
}

/// The tangent of what each tone turns by in a step when it is out of tune by this part of its frequency.
const fn tangents(part: f64) -> [f32; TONES] {
    let mut table = [0.0; TONES];
    let mut tone = 0;
    while tone < TONES {
        let turns = FREQUENCIES[tone] / RATE * STEP as f64 * part;
        table[tone] = (cosine(turns + 0.75) / cosine(turns)) as f32;
        tone += 1;
    }
    table
}

const fn hann() -> [f32; LEN] {
    let mut table = [0.0; LEN];
    let mut place = 0;
    while place < LEN {
        table[place] = (0.5 - 0.5 * cosine((place as f64 + 0.5) / LEN as f64)) as f32;
        place += 1;
    }
    table
}

/// The cosine of an angle in turns, not negative: its power series, as the standard library's cannot be had in a constant.
const fn cosine(turns: f64) -> f64 {
    // cos x = -cos (x - π), and that is within π of zero.
    let x = (turns - turns as i64 as f64 - 0.5) * std::f64::consts::TAU;
    let (mut term, mut sum, mut n) = (1.0, 1.0, 0.0);
    while n < 32.0 {
        term *= -x * x / ((n + 1.0) * (n + 2.0));
        sum += term;
        n += 2.0;
    }
    -sum
}

#[cfg(test)]
pub(crate) mod tests;
