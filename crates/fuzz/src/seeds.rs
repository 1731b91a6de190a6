//! Inputs to begin with, and those that once broke an oracle.

#[path = "../../sip/tests/torture/messages.rs"]
#[allow(dead_code, reason = "their names matter to the tests that table them")]
mod torture;

/// What the fuzzer found, kept so that it stays mended: target and input.
const FOUND: &[(&str, &[u8])] = &[
    // NUL goes out as a blank, and what was no branch became one.
    ("message", include_bytes!("../found/message-nul-before-branch")),
    // An element of nothing but NUL was counted, and went out as none.
    ("message", include_bytes!("../found/message-nul-in-a-via")),
    // We skip the byte of padding behind an odd chunk, hound does not: it found another file in this one.
    ("wav", include_bytes!("../found/wav-two-in-one")),
    // A quote that nobody closed took in what we write behind it.
    ("message", include_bytes!("../found/message-open-quote-in-via")),
    // A phone that asks every request for credentials, X's BYE too, complained that X had not ended the session.
    ("calls", include_bytes!("../found/calls-bye-without-credentials")),
    // Audio that spells a number goes through as it is: no program says one.
    ("calls", include_bytes!("../found/calls-number-said-as-audio")),
];

/// Seeds of a target; of an unknown one none.
#[must_use]
pub fn seeds(target: &str) -> Vec<Vec<u8>> {
    let mut seeds = match target {
        "message" => messages(),
        "stream" => streams(),
        "sdp" => descriptions(),
        "rtp" => programs(),
        "wav" => files(),
        "number" => spellings(),
        "calls" => stories(),
        "smpp" => sessions(),
        _ => Vec::new(),
    };
    seeds.extend(FOUND.iter().filter(|(of, _)| *of == target).map(|(_, input)| input.to_vec()));
    seeds
}

fn messages() -> Vec<Vec<u8>> {
    let rfcs = torture::RFC_4475.iter().chain(torture::RFC_5118).map(torture::Torture::wire);
    let invite = b"INVITE sip:+8617055556666@203.0.113.9:5060;user=phone SIP/2.0\r\n\
        Via: SIP/2.0/UDP 198.51.100.7:5060;rport;branch=z9hG4bKa, SIP/2.0/TCP b;received=192.0.2.1;maddr=239.1.1.1\r\n\
        Record-Route: <sip:p1;lr>, <sip:p2:5070;transport=UDP;lr>\r\nMax-Forwards: 70\r\n\
        From: \"\xc0\xee\" <sip:+8613800000001@198.51.100.7>;tag=a\r\nTo: <sip:+8617055556666@203.0.113.9>\r\nCall-ID: 1@b\r\n\
        CSeq: 1 INVITE\r\nContact: <sip:198.51.100.7:5060;transport=UDP>;q=0.5\r\nSupported: 100rel, timer\r\n\
        P-Asserted-Identity: \"A\" <tel:+8613800000001;phone-context=x>\r\nReason: Q.850;cause=16;text=\"x\"\r\n\
        Content-Type: multipart/mixed;boundary=\"b\"\r\nContent-Length: 97\r\n\r\n\
        --b\r\nContent-Type: application/sdp\r\n\r\nv=0\r\n\r\n--b\r\nContent-Type: application/isup\r\n\r\n\x01\0\r\n--b--\r\n";
    let busy = b"SIP/2.0 486 Busy Here\r\nv: SIP/2.0/UDP 203.0.113.9;branch=z9hG4bKa;rport=5060;received=203.0.113.9\r\n\
        f: <sip:a@b>;tag=1\r\nt: <sip:c@d>;tag=2\r\ni: x\r\nCSeq: 5 INVITE\r\nRetry-After: 5 (busy);duration=1\r\nl: 0\r\n\r\n";
    rfcs.chain([invite.to_vec(), busy.to_vec()]).collect()
}

fn streams() -> Vec<Vec<u8>> {
    let with_head = |seed: u8, small: u8, bytes: &[u8]| [&[seed, small], bytes].concat();
    let messages = messages();
    let mut streams: Vec<Vec<u8>> = messages.iter().map(|message| with_head(7, 0, message)).collect();
    for (place, pair) in messages.chunks(2).enumerate() {
        streams.push(with_head(place as u8, 200, &pair.join(&b"\r\n\r\n"[..])));
    }
    streams.push(with_head(3, 1, &b"\r\n\r\n".repeat(20)));
    streams.push(with_head(1, 9, b"A\nl : 3\n\nabc\r\nB\r\nContent-Length:\r\n 0\r\n\r\n"));
    streams
}

fn descriptions() -> Vec<Vec<u8>> {
    let carrier = "v=0\r\no=- 8871 8871 IN IP4 198.51.100.20\r\ns=-\r\nc=IN IP4 198.51.100.20\r\nt=0 0\r\n\
        m=audio 41270 RTP/AVP 8 0 101 18\r\na=rtpmap:101 telephone-event/8000\r\na=fmtp:101 0-15\r\na=ptime:20\r\na=maxptime:40\r\n\
        a=rtcp:41271 IN IP4 198.51.100.21\r\na=sendonly\r\n";
    let several = "v=0\ns=\nm=video 0 RTP/AVP 31\nm=audio 9 RTP/SAVP 8\nm=audio 4000 RTP/AVPF 96 97 8\nc=IN IP6 ::1\n\
        a=rtpmap:96 PCMA/8000/1\na=rtpmap:97 telephone-event/8000\na=inactive\nm=image 5000 udptl t38\n";
    let hold = "v=0\r\nc=IN IP4 0.0.0.0\r\nm=audio 4000 RTP/AVP 0\r\n";
    let rfcs = messages().into_iter().filter_map(|message| {
        let at = message.windows(4).position(|window| window == b"v=0\r")?;
        Some(message[at..].to_vec())
    });
    let all = [carrier, several, hold].map(|text| text.as_bytes().to_vec()).into_iter().chain(rfcs);
    all.enumerate().map(|(place, text)| [&[place as u8, (place * 3) as u8], &text[..]].concat()).collect()
}

/// Joins two parties, lets them talk, plays prompts, records, closes.
fn programs() -> Vec<Vec<u8>> {
    let mut joined = vec![3, 0, 0, 0, 7];
    for side in [0, 1] {
        joined.extend([10, side, side, 0, 0]);
        joined.extend([12, side, 1, 0]);
    }
    let mut talk = joined.clone();
    talk.push(14);
    for number in 0..100_u8 {
        for side in [0, 1] {
            let timestamp = u32::from(number) * 160;
            talk.extend([4, side, side, 0, 0, 0, number]);
            talk.extend(timestamp.to_be_bytes());
            talk.push(side);
        }
        talk.extend([0, 20, 1]);
    }
    let mut events = joined.clone();
    for number in 0..20_u8 {
        events.extend([4, 0, 0, 10, 2, 0, number, 0, 0, 0, 80, 0, 5, if number > 15 { 0x8a } else { 10 }, 0, number]);
        events.extend([0, 20, 1]);
    }
    let mut prompts = joined.clone();
    for flags in [2, 3, 0x13, 0x23, 0, 1] {
        prompts.extend([12, 0, flags, 1, 12, 1, flags, 2, 0, 200, 0]);
    }
    let mut moves = joined.clone();
    for source in 0..6 {
        moves.extend([4, 0, source, 0, 0, 0, source, 0, 0, 0, 0, 1, 0, 100, 1, 11, 0, source, 32 + source, 1]);
        moves.extend([9, 0, source, 8, 0x80, 201, 0, 1, 0, 0, 0, 9]);
    }
    let mut silent = joined.clone();
    silent.extend([0, 255, 0, 0, 255, 0, 0, 255, 0, 15, 0]);
    vec![talk, events, prompts, moves, silent, joined]
}

fn files() -> Vec<Vec<u8>> {
    let recording = |stated: u32, samples: usize| {
        let mut file = media::wav::header(stated).to_vec();
        file.resize(file.len() + samples, 0xd5);
        file
    };
    let mut pcm =
        b"RIFF\x34\0\0\0WAVEfmt \x10\0\0\0\x01\0\x01\0\x40\x1f\0\0\x80\x3e\0\0\x02\0\x10\0data\x10\0\0\0".to_vec();
    pcm.extend((0..16).map(|byte| byte * 9));
    let mut list = b"RIFF\x40\0\0\0WAVELIST\x03\0\0\0abc\0".to_vec();
    list.extend_from_slice(&pcm[12..]);
    vec![recording(160, 160), recording(0, 161), recording(161, 162), recording(900, 60), pcm, list]
}

fn spellings() -> Vec<Vec<u8>> {
    let texts = [
        "+8613800000001",
        "8613800000001",
        "008613800000001",
        "13800000001",
        "0755-28000001",
        "(0755)28000001",
        "28000001",
        "95588",
        "4001234567",
        "700123456781234",
        "tel:+86-138-0000-0001;ext=5",
        "%2B8613800000001;npdi",
        "+14155550100",
        "17951013800000001",
        "+860755 28000001",
        "00852.23456789",
    ];
    let mut seeds = Vec::new();
    for (place, text) in texts.iter().enumerate() {
        seeds.push([&[0, 0, 0], text.as_bytes()].concat());
        seeds.push([&[place as u8, (place / 2) as u8, (place / 3) as u8], text.as_bytes()].concat());
    }
    seeds
}

/// Worlds and programs that a random generator makes up: of a world few things are unusual, in a program anything may happen.
/// The first is of no bytes at all, a usual call; two recorded ones last as long as they may, a minute and the ceiling.
fn stories() -> Vec<Vec<u8>> {
    let mut state = 0x1234_5678_9abc_def0_u64;
    let mut next = move || {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        (state >> 24) as u8
    };
    let usual = [0; 14];
    let minutes_pass = [0, 15].repeat(9);
    let minute = [&[0, 0, 0, 0, 0x11, 1], &usual[..], &minutes_pass[..6]].concat();
    let ceiling = [&[0, 0, 0, 0, 1], &usual[..], &minutes_pass].concat();
    let mut stories = vec![Vec::new(), minute, ceiling];
    for length in [10, 30, 50, 80, 120, 200, 300, 400].repeat(8) {
        let mut story: Vec<u8> = (0..24).map(|_| next() & next() & next()).collect();
        story.extend((0..length).map(|_| next()));
        stories.push(story);
    }
    stories
}

/// Programs of the target `smpp`: five bytes of configuration, then a step and its operands.
fn sessions() -> Vec<Vec<u8>> {
    let submit = |words: u8, times: u8| vec![5, words, times, 1, 0];
    let deliver = |words: u8, times: u8, place: u8| vec![3, 0, words, times, 0, place];
    let respond = |status: u8| vec![1, status];
    let (answer, second, hang_up, connect) = (vec![6, 0, 0], vec![7, 2], vec![8], vec![9]);
    let configured = |config: [u8; 6], steps: &[Vec<u8>]| [config.to_vec(), steps.concat()].concat();
    vec![
        configured(
            [0; 6],
            &[submit(0, 0), respond(0), submit(1, 200), respond(0), respond(3), second.clone(), respond(0)],
        ),
        configured(
            [0, 1, 1, 0, 0, 0],
            &[submit(1, 100), respond(0), respond(0), hang_up.clone(), second.clone(), connect.clone()],
        ),
        configured([1, 2, 2, 0, 0, 0], &[submit(2, 50), submit(0, 255), respond(5), respond(6)]),
        configured(
            [0; 6],
            &[
                deliver(0, 3, 0),
                answer.clone(),
                deliver(1, 39, 0),
                deliver(1, 39, 1),
                deliver(1, 39, 2),
                answer.clone(),
            ],
        ),
        configured(
            [0; 6],
            &[deliver(1, 39, 0), hang_up, second.clone(), connect, deliver(1, 39, 1), deliver(1, 39, 0), vec![7, 5]],
        ),
        configured([2, 0, 0, 2, 1, 1], &[submit(1, 60), second.clone(), second, respond(0), vec![7, 4], respond(0)]),
        configured(
            [0; 6],
            &[
                vec![0, 16, 0, 0, 0, 16, 0, 0, 0, 21, 0, 0, 0, 0, 0, 0, 0, 9],
                vec![4, 0, 0, 0, 6, 0, 0, 0, 0, 0, 0, 0, 1, 0],
            ],
        ),
    ]
}
