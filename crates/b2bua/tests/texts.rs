//! Text messages through X (product rule S): a ladder for every way of one, each told twice, once with canaries in every header of
//! every message; what becomes of duplicates, of silence, of a bad network.

mod hand;

use std::net::SocketAddr;
use std::num::NonZeroU16;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use b2bua::observe::Drop;
use b2bua::settings::{AppTexts, TextBy, Unanswered};
use b2bua::text::{Outcome, TextIn, TextResult, Verdict};
use hand::{address, header, response, sent, target};
use numbering::{AppId, CallDirection, Mode, Number, Party, VirtualNumber};
use sip::transaction::Transport;
use testbed::{
    A, B, Challenge, Credentials, Expect, Link, PhoneId, Script, Setup, TextReply, World, assert_ladder, expect,
    leaks_of, ms, seeds,
};

const A_NUMBER: &str = "+8613811112222";
const B_NUMBER: &str = "+8613933334444";
const X: &str = "+8617055556666";

fn number(text: &str) -> Number {
    Number::parse(text).expect("a constant in global form")
}

fn answering(status: u16, after: u64) -> Script {
    Script { text_reply: TextReply { after: ms(after), status }, ..Script::default() }
}

fn silent() -> Script {
    Script { dead: true, ..Script::default() }
}

/// Told with canaries, where nothing may leak, and without, where the ladder is compared.
fn story(setup: &Setup, play: impl Fn(&mut World), ladder: &Expect) -> World {
    assert_eq!(leaks_of(setup.clone(), &play), Vec::<String>::new());
    let mut world = setup.clone().world();
    play(&mut world);
    world.finish();
    assert_ladder(&world, ladder);
    world
}

/// This phone writes, and X has it.
fn write(world: &mut World, who: PhoneId, words: &str) {
    world.text(who, words);
    let now = world.now();
    world.run_until(now);
}

fn got(world: &World, who: PhoneId) -> Vec<(String, String)> {
    world.texts_of(who)
}

fn outcomes(world: &World) -> Vec<Outcome> {
    world.texts().iter().map(|event| event.outcome).collect()
}

// ---- pairs ----------------------------------------------------------------------------------------------------

#[test]
fn a_writes_to_b_and_b_sees_x() {
    let setup = Setup::new(1);
    let world = story(
        &setup,
        |world| world.text(A, "你好, are you there?"),
        &expect![[r#"
        0.000  A ─▶ X          MESSAGE X         From: A, "你好, are you there?"
        0.000         X ─▶ B   MESSAGE B         From: X, "你好, are you there?"
        0.000         X ◀─ B   200 to MESSAGE
        0.000  A ◀─ X          200 to MESSAGE
    "#]],
    );
    assert_eq!(got(&world, B), [(X.to_owned(), "你好, are you there?".to_owned())]);
    let [event] = world.texts() else { panic!("one event: {:?}", world.texts()) };
    assert_eq!((event.outcome, event.parts, event.called), (Outcome::Delivered, 1, Some(number(B_NUMBER))));
    let text = &event.text;
    assert_eq!((text.calling, text.x, text.sender_is), (Some(number(A_NUMBER)), number(X), Some(Party::A)));
    assert_eq!((&*text.content, &*text.app, text.is_asked), ("你好, are you there?", "app", false));
    assert_eq!((text.id.len(), text.mode, text.binding), (32, Some(Mode::Axb), Some(setup.binding.id)));
    assert!(!format!("{text:?}").contains("there"), "{text:?}");
    let forwarded = world.wire().iter().find(|on| on.by_x && on.bytes.starts_with(b"MESSAGE")).expect("it went on");
    let forwarded = String::from_utf8_lossy(&forwarded.bytes).into_owned();
    assert_eq!(header(&forwarded, "Content-Type"), "text/plain;charset=UTF-8");
    assert_eq!(header(&forwarded, "Max-Forwards"), "69");
    assert_eq!(header(&forwarded, "P-Asserted-Identity"), "<sip:+8617055556666@10.0.0.1:5060>");
    assert!(!forwarded.contains("Contact:"), "RFC 3428 §4: {forwarded}");
}

#[test]
fn b_writes_back_and_a_sees_x() {
    let world = story(
        &Setup::new(1).reversed(),
        |world| world.text(B, "yes"),
        &expect![[r#"
        0.000  B ─▶ X          MESSAGE X         From: B, "yes"
        0.000         X ─▶ A   MESSAGE A         From: X, "yes"
        0.000         X ◀─ A   200 to MESSAGE
        0.000  B ◀─ X          200 to MESSAGE
    "#]],
    );
    assert_eq!(got(&world, A), [(X.to_owned(), "yes".to_owned())]);
    assert_eq!(world.texts()[0].text.sender_is, Some(Party::B));
}

#[test]
fn over_tcp_it_is_the_same() {
    let world = story(
        &Setup::new(1).tcp(),
        |world| {
            world.text(A, "one");
            world.text(A, "two");
        },
        &expect![[r#"
            0.000  A ─▶ X          MESSAGE X         From: A, "one"
            0.000         X ─▶ B   MESSAGE B         From: X, "one"
            0.000  A ─▶ X          MESSAGE X         From: A, "two"
            0.000         X ─▶ B   MESSAGE B         From: X, "two"
            0.000         X ◀─ B   200 to MESSAGE
            0.000  A ◀─ X          200 to MESSAGE
            0.000         X ◀─ B   200 to MESSAGE
            0.000  A ◀─ X          200 to MESSAGE
        "#]],
    );
    assert_eq!(got(&world, B).len(), 2);
}

#[test]
fn two_thousand_chinese_characters_arrive_by_udp_where_there_is_nothing_else_and_by_tcp_where_there_is() {
    let words = "短信🙂".repeat(666) + "完。";
    assert_eq!(words.chars().count(), 2_000);
    for has_tcp in [false, true] {
        let mut setup = Setup::new(1);
        if has_tcp {
            let mut stream = setup.settings.trunks[1].targets[0].clone();
            stream.transport = Some(Transport::Tcp);
            setup.settings.trunks[1].targets.push(stream);
        }
        let mut world = setup.world();
        write(&mut world, A, &words);
        write(&mut world, A, "short");
        world.finish();
        assert_eq!(got(&world, B), [(X.to_owned(), words.clone()), (X.to_owned(), "short".to_owned())]);
        assert_eq!(world.text_statuses(A), [200, 200]);
        let ways: Vec<_> = world
            .wire()
            .iter()
            .filter(|on| on.by_x && on.bytes.starts_with(b"MESSAGE"))
            .map(|on| on.protocol == testbed_protocol(has_tcp))
            .collect();
        assert_eq!(ways, [true, !has_tcp], "the long one, the short one");
    }
}

fn testbed_protocol(is_stream: bool) -> testbed::Protocol {
    if is_stream { testbed::Protocol::Tcp } else { testbed::Protocol::Udp }
}

#[test]
fn a_long_text_goes_in_pieces_one_after_another() {
    let mut setup = Setup::new(1).b(answering(200, 300));
    setup.settings.trunks[1].texts.longest = NonZeroU16::new(5);
    let world = story(
        &setup,
        |world| world.text(A, "一二三四五六七八九十ab"),
        &expect![[r#"
        0.000  A ─▶ X          MESSAGE X         From: A, "一二三四五六七八九十ab"
        0.000         X ─▶ B   MESSAGE B         From: X, "一二三四五"
        0.300         X ◀─ B   200 to MESSAGE
        0.300         X ─▶ B   MESSAGE B         From: X, "六七八九十"
        0.500  A ─▶ X          MESSAGE X         From: A, "一二三四五六七八九十ab"
        0.600         X ◀─ B   200 to MESSAGE
        0.600         X ─▶ B   MESSAGE B         From: X, "ab"
        0.900         X ◀─ B   200 to MESSAGE
        0.900  A ◀─ X          200 to MESSAGE
    "#]],
    );
    let pieces: Vec<String> = got(&world, B).into_iter().map(|(_, content)| content).collect();
    assert_eq!(pieces, ["一二三四五", "六七八九十", "ab"]);
    assert_eq!((world.texts()[0].parts, world.texts()[0].outcome), (3, Outcome::Delivered));
}

#[test]
fn the_first_piece_that_fails_is_the_last() {
    let mut setup = Setup::new(1).b(answering(480, 0));
    setup.settings.trunks[1].texts.longest = NonZeroU16::new(2);
    let world = story(
        &setup,
        |world| world.text(A, "abcd"),
        &expect![[r#"
        0.000  A ─▶ X          MESSAGE X         From: A, "abcd"
        0.000         X ─▶ B   MESSAGE B         From: X, "ab"
        0.000         X ◀─ B   480 to MESSAGE
        0.000  A ◀─ X          480 to MESSAGE
    "#]],
    );
    let [event] = world.texts() else { panic!("one event") };
    assert_eq!((event.parts, event.outcome, event.called), (0, Outcome::Unreachable, None));
}

#[test]
fn where_a_piece_has_arrived_nobody_is_told_to_try_the_whole_again() {
    for (status, expected) in
        [("503 Service Unavailable", 504), ("480 Temporarily Unavailable", 504), ("404 Not Found", 404)]
    {
        let mut setup = hand::setup(Script::default());
        setup.settings.trunks[1].texts.longest = NonZeroU16::new(2);
        let mut world = setup.world();
        write(&mut world, A, "abcd");
        for (place, status) in ["200 OK", status].into_iter().enumerate() {
            let request = sent(&world, hand::far()).remove(place);
            world.inject_sip(hand::far(), &response(&request, status, "far", "", ""));
        }
        world.run_until(ms(100));
        assert_eq!(world.text_statuses(A), [expected], "{status}");
        assert_eq!((world.texts()[0].parts, world.texts()[0].called), (1, None));
    }
}

#[test]
fn the_other_parts_of_a_body_and_the_headers_of_a_cpim_go_nowhere() {
    let mixed = "--b\r\nContent-Type: image/png\r\n\r\nkingfisher-A\r\n--b\r\nContent-Type: text/plain;charset=UTF-8\r\n\r\n\
                 words\r\n--b--\r\n";
    let cpim = "From: Wang Xiaoming <tel:+8613811112222>\r\nTo: <tel:+8617055556666>\r\nSubject: kingfisher-A\r\n\r\n\
                Content-Type: text/plain;charset=UTF-8\r\nContent-ID: <kingfisher-A@10.1.0.10>\r\n\r\nwords";
    let world = story(
        &Setup::new(1),
        |world| {
            world.text_to(A, X, "multipart/mixed;boundary=b", mixed.as_bytes());
            world.text_to(A, X, "message/cpim", cpim.as_bytes());
        },
        &expect![[r#"
            0.000  A ─▶ X          MESSAGE X         From: A, multipart/mixed
            0.000         X ─▶ B   MESSAGE B         From: X, "words"
            0.000  A ─▶ X          MESSAGE X         From: A, message/cpim
            0.000         X ─▶ B   MESSAGE B         From: X, "words"
            0.000         X ◀─ B   200 to MESSAGE
            0.000  A ◀─ X          200 to MESSAGE
            0.000         X ◀─ B   200 to MESSAGE
            0.000  A ◀─ X          200 to MESSAGE
        "#]],
    );
    assert_eq!(got(&world, B), vec![(X.to_owned(), "words".to_owned()); 2]);
}

// ---- one user -------------------------------------------------------------------------------------------------

#[test]
fn whoever_writes_to_the_x_of_one_user_is_named_behind_the_words() {
    let setup = Setup::new(1).ax(None).reversed();
    let play = |world: &mut World| world.text(B, "你好");
    // The rule tells A who B is, in this one place and no other.
    let leaks = leaks_of(setup.clone(), play);
    let is_the_mark =
        |leak: &String| leak.contains("Number of B") && leak.to_lowercase().contains("[from+8613933334444]");
    assert!(!leaks.is_empty() && leaks.iter().all(is_the_mark), "{leaks:?}");
    let mut world = setup.world();
    play(&mut world);
    assert!(world.run_until_idle(ms(100_000)));
    assert_ladder(
        &world,
        &expect![[r#"
        0.000  B ─▶ X          MESSAGE X         From: B, "你好"
        0.000         X ─▶ A   MESSAGE A         From: X, "你好[From+8613933334444]"
        0.000         X ◀─ A   200 to MESSAGE
        0.000  B ◀─ X          200 to MESSAGE
    "#]],
    );
    assert_eq!(got(&world, A), [(X.to_owned(), "你好[From+8613933334444]".to_owned())]);
    let [event] = world.texts() else { panic!("one event") };
    assert_eq!((&*event.text.content, event.text.sender_is), ("你好", Some(Party::B)));
}

#[test]
fn the_user_names_behind_the_words_who_gets_them() {
    let world = story(
        &Setup::new(1).ax(None),
        |world| {
            world.text(A, "好的@13933334444");
            world.text(A, "mail: wang@example.com @+86 139-3333-4444 ");
        },
        &expect![[r#"
            0.000  A ─▶ X          MESSAGE X         From: A, "好的@13933334444"
            0.000         X ─▶ B   MESSAGE B         From: X, "好的"
            0.000  A ─▶ X          MESSAGE X         From: A, 42 characters
            0.000         X ─▶ B   MESSAGE B         From: X, "mail: wang@example.com "
            0.000         X ◀─ B   200 to MESSAGE
            0.000  A ◀─ X          200 to MESSAGE
            0.000         X ◀─ B   200 to MESSAGE
            0.000  A ◀─ X          200 to MESSAGE
        "#]],
    );
    let contents: Vec<String> = got(&world, B).into_iter().map(|(_, content)| content).collect();
    assert_eq!(contents, ["好的", "mail: wang@example.com "]);
    assert!(world.texts().iter().all(|event| event.called == Some(number(B_NUMBER))));
    assert_eq!(&*world.texts()[0].text.content, "好的@13933334444");
}

// ---- refused --------------------------------------------------------------------------------------------------

#[test]
fn what_may_not_go_on_is_refused_and_nobody_gets_it() {
    type Row = (Outcome, PhoneId, &'static str, (String, Vec<u8>), fn(&mut Setup));
    let words = |words: &str| ("text/plain".to_owned(), words.as_bytes().to_vec());
    let rows: Vec<Row> = vec![
        (Outcome::UnknownX, A, "+8617000000000", words("w"), |_| {}),
        (Outcome::UnreadableNumber, A, "anonymous", words("w"), |_| {}),
        (Outcome::NotBound, PhoneId(2), X, words("w"), |_| {}),
        (Outcome::WrongDirection, A, X, words("w"), |setup| setup.binding.direction = CallDirection::BToA),
        (Outcome::Off, A, X, words("w"), |setup| setup.binding.sms = false),
        (Outcome::Off, A, X, words("w"), |setup| setup.app().texts = AppTexts::Off),
        (Outcome::FixedLine, A, X, words("w"), |setup| {
            setup.binding.a = number("+8675528780001");
            setup.phones[0].number = "+8675528780001".to_owned();
            setup.phones[0].headers.retain(|(name, _)| name != "P-Asserted-Identity");
        }),
        (Outcome::Extensions, A, X, words("w"), |setup| *setup = setup.clone().axe("42")),
        (Outcome::SwitchedOff, B, X, words("w"), |setup| {
            *setup = setup.clone().ax(None).reversed();
            setup.last_ax().is_on = false;
        }),
        (Outcome::NoReceiver, A, X, words("nobody"), |setup| *setup = setup.clone().ax(None)),
        (Outcome::NoReceiver, A, X, words("x@17055556666"), |setup| *setup = setup.clone().ax(None)),
        (Outcome::NoReceiver, A, X, words("me@13811112222"), |setup| *setup = setup.clone().ax(None)),
        (Outcome::Unreadable, A, X, words("@13933334444"), |setup| *setup = setup.clone().ax(None)),
        (Outcome::Unreadable, A, X, ("text/plain".to_owned(), vec![0xc4, 0xe3]), |_| {}),
        (Outcome::TooLong, A, X, words(&"汉".repeat(2_001)), |_| {}),
        (Outcome::ContentType, A, X, ("text/html".to_owned(), b"<b>".to_vec()), |_| {}),
        (Outcome::NoRoute, A, X, words("w"), |setup| setup.settings.trunks[1].targets.clear()),
        (Outcome::NoRoute, A, X, words("w"), |setup| setup.numbers[0].trunk = Some("nobody".into())),
    ];
    for (outcome, who, to, (kind, body), change) in rows {
        let mut setup = Setup::new(1).stranger("+8613755551234", Script::default());
        change(&mut setup);
        let mut world = setup.world();
        world.text_to(who, to, &kind, &body);
        world.finish();
        assert_eq!(world.text_statuses(who), [outcome.row().status], "{outcome:?}\n{}", world.ladder());
        let forwarded = world.wire().iter().any(|on| on.by_x && on.bytes.starts_with(b"MESSAGE"));
        assert!(!forwarded, "{outcome:?}\n{}", world.ladder());
        assert_eq!(world.core.counters().texts[outcome as usize], 1, "{outcome:?}");
        assert!(world.texts().iter().all(|event| event.outcome == outcome && event.called.is_none()));
    }
}

#[test]
fn a_refusal_tells_what_would_be_taken() {
    let mut world = Setup::new(1).world();
    world.text_to(A, X, "text/html", b"<b>");
    world.finish();
    let answer = world.wire().iter().rfind(|on| on.by_x).expect("an answer");
    let answer = String::from_utf8_lossy(&answer.bytes).into_owned();
    assert!(header(&answer, "Accept").starts_with("text/plain, message/cpim"), "{answer}");
}

#[test]
fn every_refusal_of_the_receiver_s_network_has_its_answer() {
    for (status, outcome) in [
        (202, Outcome::Accepted),
        (302, Outcome::Unreachable),
        (401, Outcome::Refused),
        (403, Outcome::Refused),
        (404, Outcome::NoSuchNumber),
        (405, Outcome::Refused),
        (408, Outcome::NoResponse),
        (413, Outcome::NotTaken),
        (415, Outcome::NotTaken),
        (480, Outcome::Unreachable),
        (483, Outcome::Loop),
        (486, Outcome::Unreachable),
        (488, Outcome::NotTaken),
        (500, Outcome::FarFailure),
        (503, Outcome::FarFailure),
        (603, Outcome::Refused),
        (604, Outcome::NoSuchNumber),
    ] {
        let mut world = Setup::new(1).b(answering(status, 200)).world();
        write(&mut world, A, "words");
        world.finish();
        assert_eq!(world.text_statuses(A), [outcome.row().status], "{status}");
        assert_eq!(outcomes(&world), [outcome], "{status}");
        let is_forwarded = (200..300).contains(&status);
        assert_eq!(world.texts()[0].called.is_some(), is_forwarded, "{status}");
        assert_eq!(world.texts()[0].parts, u16::from(is_forwarded), "{status}");
        assert_eq!(outcome.row().send_result == 0, is_forwarded, "{status}");
    }
}

#[test]
fn rows_of_the_table_are_in_order_and_their_labels_differ() {
    let labels: std::collections::BTreeSet<_> = Outcome::ALL.iter().map(|outcome| outcome.row().label).collect();
    assert_eq!(labels.len(), Outcome::ALL.len());
    assert!(Outcome::ALL.iter().enumerate().all(|(place, outcome)| *outcome as usize == place));
}

#[test]
fn silence_is_answered_before_the_sender_gives_up_and_the_receiver_is_left_alone() {
    let world = story(
        &Setup::new(1).b(silent()),
        |world| world.text(A, "words"),
        &expect![[r#"
         0.000  A ─▶ X          MESSAGE X         From: A, "words"
         0.000         X ─▶ B   MESSAGE B         From: X, "words"
         0.500         X ─▶ B   MESSAGE B         From: X, "words"
         0.500  A ─▶ X          MESSAGE X         From: A, "words"
         1.500         X ─▶ B   MESSAGE B         From: X, "words"
         1.500  A ─▶ X          MESSAGE X         From: A, "words"
         3.500         X ─▶ B   MESSAGE B         From: X, "words"
         3.500  A ─▶ X          MESSAGE X         From: A, "words"
         7.500         X ─▶ B   MESSAGE B         From: X, "words"
         7.500  A ─▶ X          MESSAGE X         From: A, "words"
        11.500         X ─▶ B   MESSAGE B         From: X, "words"
        11.500  A ─▶ X          MESSAGE X         From: A, "words"
        15.500         X ─▶ B   MESSAGE B         From: X, "words"
        15.500  A ─▶ X          MESSAGE X         From: A, "words"
        19.500         X ─▶ B   MESSAGE B         From: X, "words"
        19.500  A ─▶ X          MESSAGE X         From: A, "words"
        23.500         X ─▶ B   MESSAGE B         From: X, "words"
        23.500  A ─▶ X          MESSAGE X         From: A, "words"
        24.000  A ◀─ X          504 to MESSAGE
    "#]],
    );
    assert_eq!(world.text_statuses(A), [504]);
    assert_eq!(outcomes(&world), [Outcome::NoResponse]);
}

// ---- the customer decides -------------------------------------------------------------------------------------

fn block(within: u64, unanswered: Unanswered) -> Setup {
    let mut setup = Setup::new(1);
    setup.app().texts = AppTexts::Block { within: ms(within), unanswered };
    setup
}

/// A writes; a second later the customer says this.
fn decided(setup: &Setup, words: &'static str, verdict: Verdict, ladder: &Expect) -> World {
    story(
        setup,
        |world| {
            world.text(A, words);
            world.run_until(ms(1_000));
            let (key, text) = world.asked()[0].clone();
            assert_eq!((&*text.content, text.is_asked, text.calling), (words, true, Some(number(A_NUMBER))));
            world.decide_text(key, verdict);
            // It has been decided.
            world.decide_text(key, Verdict::Discard);
        },
        ladder,
    )
}

#[test]
fn the_customer_says_who_gets_it() {
    let to_b = Verdict::Route { called: number(B_NUMBER), calling: None };
    let world = decided(
        &block(5_000, Unanswered::Discard),
        "words",
        to_b,
        &expect![[r#"
        0.000  A ─▶ X          MESSAGE X         From: A, "words"
        0.500  A ─▶ X          MESSAGE X         From: A, "words"
        1.000         X ─▶ B   MESSAGE B         From: X, "words"
        1.000         X ◀─ B   200 to MESSAGE
        1.000  A ◀─ X          200 to MESSAGE
    "#]],
    );
    assert_eq!(got(&world, B), [(X.to_owned(), "words".to_owned())]);
    let [event] = world.texts() else { panic!("one event") };
    assert!(event.text.is_asked && event.called == Some(number(B_NUMBER)));
}

#[test]
fn the_customer_shows_a_number_of_its_own_or_x_and_nobody_else_s() {
    for (calling, shown) in [("+8617055557777", "+8617055557777"), (A_NUMBER, X), ("+8617055558888", X)] {
        let mut setup = block(5_000, Unanswered::Discard);
        setup.numbers.push(VirtualNumber::new(number("+8617055557777"), AppId(0), Some("carrier-b".into())));
        setup.numbers.push(VirtualNumber::new(number("+8617055558888"), AppId(1), Some("carrier-b".into())));
        let mut world = setup.world();
        write(&mut world, A, "words");
        let key = world.asked()[0].0;
        world.decide_text(key, Verdict::Route { called: number(B_NUMBER), calling: Some(number(calling)) });
        world.finish();
        assert_eq!(got(&world, B), [(shown.to_owned(), "words".to_owned())], "{calling}");
    }
}

#[test]
fn the_customer_routes_to_a_number_of_ours_and_it_goes_nowhere() {
    let mut world = block(5_000, Unanswered::Discard).world();
    write(&mut world, A, "words");
    let key = world.asked()[0].0;
    world.decide_text(key, Verdict::Route { called: number(X), calling: None });
    world.finish();
    assert_eq!((outcomes(&world), world.text_statuses(A)), (vec![Outcome::Loop], vec![482]));
}

#[test]
fn the_customer_throws_it_away() {
    let world = decided(
        &block(5_000, Unanswered::Forward),
        "words",
        Verdict::Discard,
        &expect![[r#"
        0.000  A ─▶ X          MESSAGE X         From: A, "words"
        0.500  A ─▶ X          MESSAGE X         From: A, "words"
        1.000  A ◀─ X          202 to MESSAGE
    "#]],
    );
    assert_eq!((outcomes(&world), world.texts()[0].called), (vec![Outcome::Discarded], None));
}

#[test]
fn without_an_answer_the_app_s_own_word_holds() {
    let world = story(
        &block(3_000, Unanswered::Forward),
        |world| world.text(A, "words"),
        &expect![[r#"
        0.000  A ─▶ X          MESSAGE X         From: A, "words"
        0.500  A ─▶ X          MESSAGE X         From: A, "words"
        1.500  A ─▶ X          MESSAGE X         From: A, "words"
        3.000         X ─▶ B   MESSAGE B         From: X, "words"
        3.000         X ◀─ B   200 to MESSAGE
        3.000  A ◀─ X          200 to MESSAGE
    "#]],
    );
    assert_eq!(outcomes(&world), [Outcome::Delivered]);
    let world = story(
        &block(3_000, Unanswered::Discard),
        |world| world.text(A, "words"),
        &expect![[r#"
        0.000  A ─▶ X          MESSAGE X         From: A, "words"
        0.500  A ─▶ X          MESSAGE X         From: A, "words"
        1.500  A ─▶ X          MESSAGE X         From: A, "words"
        3.000  A ◀─ X          202 to MESSAGE
    "#]],
    );
    assert_eq!(outcomes(&world), [Outcome::Discarded]);
    for (unanswered, outcome) in [(Unanswered::Forward, Outcome::Delivered), (Unanswered::Discard, Outcome::Discarded)]
    {
        let mut world = block(10_000, unanswered).world();
        write(&mut world, A, "words");
        let key = world.asked()[0].0;
        world.decide_text(key, Verdict::Unanswered);
        world.run_until(ms(0));
        assert_eq!(outcomes(&world), [outcome], "at once");
        world.finish();
    }
}

#[test]
fn of_one_user_the_customer_is_asked_also_where_nobody_is_named() {
    let mut setup = block(5_000, Unanswered::Forward).ax(None);
    let to_b = Verdict::Route { called: number(B_NUMBER), calling: None };
    let world = decided(
        &setup,
        "to whom",
        to_b,
        &expect![[r#"
        0.000  A ─▶ X          MESSAGE X         From: A, "to whom"
        0.500  A ─▶ X          MESSAGE X         From: A, "to whom"
        1.000         X ─▶ B   MESSAGE B         From: X, "to whom"
        1.000         X ◀─ B   200 to MESSAGE
        1.000  A ◀─ X          200 to MESSAGE
    "#]],
    );
    assert_eq!(got(&world, B), [(X.to_owned(), "to whom".to_owned())]);
    // Nobody to forward it to.
    let mut world = setup.clone().world();
    write(&mut world, A, "to whom");
    world.finish();
    assert_eq!(outcomes(&world), [Outcome::NoReceiver]);
    // B's words go to A with B's number, and to anybody else without.
    setup = setup.reversed().stranger("+8613755551234", Script::default());
    for (called, who, words) in [(A_NUMBER, A, "hi[From+8613933334444]"), ("+8613755551234", PhoneId(2), "hi")] {
        let mut world = setup.clone().world();
        write(&mut world, B, "hi");
        let key = world.asked()[0].0;
        world.decide_text(key, Verdict::Route { called: number(called), calling: None });
        assert!(world.run_until_idle(ms(100_000)));
        assert_eq!(got(&world, who), [(X.to_owned(), words.to_owned())], "{}", world.ladder());
    }
}

// ---- duplicates -----------------------------------------------------------------------------------------------

fn by_hand(branch: &str, call_id: &str, cseq: u32, transport: &str) -> Vec<u8> {
    format!(
        "MESSAGE sip:{X}@10.0.0.1 SIP/2.0\r\nVia: SIP/2.0/{transport} 10.1.7.7;branch=z9hG4bK{branch}\r\nMax-Forwards: 70\r\n\
         From: <sip:{A_NUMBER}@10.1.7.7>;tag=a1\r\nTo: <sip:{X}@10.0.0.1>\r\nCall-ID: {call_id}\r\nCSeq: {cseq} MESSAGE\r\n\
         Content-Type: text/plain\r\nContent-Length: 5\r\n\r\nwords"
    )
    .into_bytes()
}

fn hand() -> SocketAddr {
    address("10.1.7.7:5060")
}

fn answers_by_branch(world: &World) -> Vec<(String, String)> {
    let answers = sent(world, hand());
    answers
        .iter()
        .map(|answer| {
            let branch = header(answer, "Via").split("branch=z9hG4bK").nth(1).unwrap_or_default();
            (branch.split(';').next().unwrap_or_default().to_owned(), answer[8..11].to_owned())
        })
        .collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected.iter().map(|(branch, status)| ((*branch).to_owned(), (*status).to_owned())).collect()
}

#[test]
fn the_same_message_goes_on_once_however_it_comes_again() {
    for (protocol, transport) in [(testbed::Protocol::Udp, "UDP"), (testbed::Protocol::Tcp, "TCP")] {
        let mut world = Setup::new(1).b(answering(200, 1_000)).world();
        let give = |world: &mut World, branch: &str, call_id: &str, cseq: u32| {
            world.inject_sip_by(protocol, hand(), &by_hand(branch, call_id, cseq, transport));
        };
        // Repeated while it is under way, in its transaction and by another way, twice.
        give(&mut world, "one", "c", 1);
        give(&mut world, "one", "c", 1);
        give(&mut world, "two", "c", 1);
        give(&mut world, "two", "c", 1);
        assert_eq!(answers_by_branch(&world), [], "{transport}");
        world.run_until(ms(2_000));
        assert_eq!(answers_by_branch(&world), pairs(&[("one", "200"), ("two", "200")]), "{transport}");
        // And after it: in the transaction where there is one still, by another way, long after.
        give(&mut world, "one", "c", 1);
        give(&mut world, "three", "c", 1);
        world.run_until(ms(100_000));
        give(&mut world, "one", "c", 1);
        give(&mut world, "four", "c", 1);
        assert_eq!(
            answers_by_branch(&world)[2..],
            pairs(&[("one", "200"), ("three", "200"), ("one", "200"), ("four", "200")]),
            "{transport}"
        );
        assert_eq!(got(&world, B).len(), 1, "{transport}");
        assert_eq!(outcomes(&world), [Outcome::Delivered], "{transport}");
        // Others: another CSeq, another Call-ID.
        give(&mut world, "five", "c", 2);
        give(&mut world, "six", "d", 1);
        world.run_until(ms(110_000));
        assert_eq!(got(&world, B).len(), 3, "{transport}");
        assert!(world.run_until_idle(ms(100_000)));
        assert!(world.core.is_idle());
    }
}

#[test]
fn copies_that_wait_are_few() {
    let mut world = Setup::new(1).b(answering(200, 1_000)).world();
    for branch in 0..20 {
        world.inject_sip(hand(), &by_hand(&format!("b{branch:02}"), "c", 1, "UDP"));
    }
    world.run_until(ms(2_000));
    assert_eq!(answers_by_branch(&world).len(), 5, "the first, and four copies");
    assert_eq!(got(&world, B).len(), 1);
    assert_eq!(world.core.counters().dropped[Drop::Merged as usize], 15);
}

#[test]
fn a_refusal_is_repeated_and_told_once() {
    let mut setup = Setup::new(1);
    setup.binding.sms = false;
    let mut world = setup.world();
    for branch in ["one", "two", "one"] {
        world.inject_sip(hand(), &by_hand(branch, "c", 1, "UDP"));
    }
    assert_eq!(answers_by_branch(&world), pairs(&[("one", "403"), ("two", "403"), ("one", "403")]));
    assert_eq!(outcomes(&world), [Outcome::Off]);
}

#[test]
fn by_a_bad_network_each_text_is_answered_and_arrives_once_at_most() {
    seeds(0..300, |seed| {
        let percent = u8::try_from(seed % 4).expect("below 4") * 10;
        let mut setup = Setup::new(seed).link(Link::bad(percent)).b(answering(200, seed % 7 * 100));
        let is_cut = seed % 3 == 0;
        setup.settings.trunks[1].texts.longest = NonZeroU16::new(9).filter(|_| is_cut);
        let mut world = setup.world();
        for text in 0..5 {
            write(&mut world, A, &format!("text {text} of 5: {text}"));
            let now = world.now();
            world.run_until(now + ms(50));
        }
        assert!(world.run_until_idle(ms(200_000)));
        let statuses = world.text_statuses(A);
        assert_eq!(statuses.len(), 5, "each is answered\n{}", world.ladder());
        assert!(statuses.iter().all(|status| matches!(status, 200 | 504)), "{statuses:?}");
        assert_eq!(world.texts().len(), 5, "each is told once");
        let mut contents: Vec<String> = got(&world, B).into_iter().map(|(_, content)| content).collect();
        let arrived = contents.len();
        contents.sort();
        contents.dedup();
        assert_eq!(contents.len(), arrived, "one came twice: {contents:?}");
        let delivered = statuses.iter().filter(|status| **status == 200).count();
        assert!(arrived >= delivered * if is_cut { 2 } else { 1 }, "{}", world.ladder());
        assert!(percent > 20 || delivered == 5, "{statuses:?}");
        world
    });
}

/// A panic is our bug. It ends the text that was at work, and nothing is left of it that would keep its repeat from being one.
#[test]
fn a_text_that_a_panic_ended_may_come_again() {
    let mut setup = Setup::new(1);
    let settings = setup.settings.clone();
    // No time comes after this one.
    setup.app().texts = AppTexts::Block { within: Duration::MAX, unanswered: Unanswered::Forward };
    let mut world = setup.world();
    world.run_until(ms(10));
    let give = |world: &mut World, branch: &str| world.inject_sip(hand(), &by_hand(branch, "c", 1, "UDP"));
    let panicked = catch_unwind(AssertUnwindSafe(|| give(&mut world, "one")));
    assert!(panicked.is_err());
    world.core.abandon_current();
    assert!(world.core.is_idle(), "{:?}", world.core.gauges());
    assert_eq!((world.core.counters().panics, world.texts().len()), (1, 0));
    world.reload(settings);
    give(&mut world, "one");
    world.run_until(ms(1_000));
    give(&mut world, "two");
    assert_eq!(answers_by_branch(&world), pairs(&[("one", "200"), ("two", "200")]));
    assert_eq!(got(&world, B).len(), 1);
    assert!(world.run_until_idle(ms(100_000)) && world.core.is_idle());
}

// ---- trunks ---------------------------------------------------------------------------------------------------

#[test]
fn both_networks_may_ask_who_it_is() {
    let challenge = Challenge::new(407, "carrier", "axbridge", "secret");
    let mut setup = Setup::new(1).b(Script::default().challenges(challenge));
    setup.phones[0].credentials = Some(Credentials { username: "wang".to_owned(), password: "open sesame".to_owned() });
    setup.settings.trunks[0].challenge = Some(Arc::new(sip::digest::Account {
        realm: "axbridge".into(),
        user: "wang".into(),
        password: sip::digest::Password::new(b"open sesame".to_vec()),
        hashes: vec![sip::digest::Hash::Sha256, sip::digest::Hash::Md5],
    }));
    setup.settings.trunks[1].auth = Some(Arc::new(sip::digest::Credentials {
        user: "axbridge".into(),
        password: sip::digest::Password::new(b"secret".to_vec()),
        realm: None,
    }));
    let world = story(
        &setup,
        |world| world.text(A, "words"),
        &expect![[r#"
        0.000  A ─▶ X          MESSAGE X         From: A, "words"
        0.000  A ◀─ X          401 to MESSAGE    challenge
        0.000  A ─▶ X          MESSAGE X         From: A, "words", with credentials
        0.000         X ─▶ B   MESSAGE B         From: X, "words"
        0.000         X ◀─ B   407 to MESSAGE    challenge
        0.000         X ─▶ B   MESSAGE B         From: X, "words", with credentials
        0.000         X ◀─ B   200 to MESSAGE
        0.000  A ◀─ X          200 to MESSAGE
    "#]],
    );
    assert_eq!(outcomes(&world), [Outcome::Delivered]);
}

#[test]
fn another_target_is_tried_where_one_has_no_room_and_not_where_one_is_silent() {
    let first = address("10.2.9.9:5060");
    for (answer, reaches) in [(Some("503 Service Unavailable"), true), (Some("480 Away"), false), (None, false)] {
        let mut setup = Setup::new(1);
        setup.settings.trunks[1].targets.insert(0, target(first));
        setup.silent.push(first);
        let mut world = setup.world();
        write(&mut world, A, "words");
        let message = sent(&world, first)[0].clone();
        if let Some(answer) = answer {
            world.inject_sip(first, &response(&message, answer, "t", "", ""));
        }
        world.run_until(ms(30_000));
        assert_eq!(got(&world, B).len(), usize::from(reaches), "{answer:?}\n{}", world.ladder());
        let outcome = match answer {
            Some(_) if reaches => Outcome::Delivered,
            Some(_) => Outcome::Unreachable,
            None => Outcome::NoResponse,
        };
        assert_eq!(outcomes(&world), [outcome]);
        assert_eq!(world.text_statuses(A), [outcome.row().status]);
        assert!(world.run_until_idle(ms(100_000)) && world.core.is_idle());
    }
}

#[test]
fn a_stream_that_does_not_open_is_passed_over() {
    let refusing = address("10.2.9.9:5060");
    let mut setup = Setup::new(1);
    let mut stream = target(refusing);
    stream.transport = Some(Transport::Tcp);
    setup.settings.trunks[1].targets.insert(0, stream);
    let mut world = setup.world();
    world.refuse(refusing);
    write(&mut world, A, "words");
    world.finish();
    assert_eq!((got(&world, B).len(), world.text_statuses(A)), (1, vec![200]));
}

#[test]
fn an_answer_from_elsewhere_than_its_trunk_changes_nothing() {
    let far = address("10.2.9.9:5060");
    let mut setup = Setup::new(1);
    setup.settings.trunks[1].targets = vec![target(far)];
    setup.silent.push(far);
    let mut world = setup.world();
    write(&mut world, A, "words");
    let message = sent(&world, far)[0].clone();
    world.inject_sip(hand(), &response(&message, "200 OK", "evil", "", ""));
    assert_eq!(world.text_statuses(A), []);
    assert_eq!(world.core.counters().dropped[Drop::ForeignResponse as usize], 1);
    world.inject_sip(far, &response(&message, "200 OK", "t", "", ""));
    world.run_until(ms(0));
    assert_eq!(world.text_statuses(A), [200]);
    // Once more, and for one that is gone.
    world.inject_sip(far, &response(&message, "480 Away", "t", "", ""));
    assert!(world.run_until_idle(ms(100_000)) && world.core.is_idle());
    assert_eq!(outcomes(&world), [Outcome::Delivered]);
}

#[test]
fn limits_are_answered_with_a_time_to_come_again() {
    let slow = || Setup::new(1).b(answering(200, 5_000));
    let mut rate = slow();
    rate.settings.trunks[0].texts.per_second = 3;
    let mut room = slow();
    room.settings.limits.texts = 3;
    for setup in [rate, room] {
        let mut world = setup.world();
        for _ in 0..5 {
            write(&mut world, A, "words");
        }
        world.finish();
        assert_eq!(world.text_statuses(A), [503, 503, 200, 200, 200]);
        assert_eq!(world.core.counters().dropped[Drop::Texts as usize], 2);
        assert_eq!(world.core.counters().texts[Outcome::Full as usize], 2);
        assert_eq!(world.texts().len(), 3, "nothing became of the others");
        let refused = world.wire().iter().find(|on| on.by_x && on.bytes.starts_with(b"SIP/2.0 503")).expect("refused");
        assert_ne!(header(&String::from_utf8_lossy(&refused.bytes), "Retry-After"), "");
        // Later there is room.
        write(&mut world, A, "words");
        world.run_until_idle(ms(100_000));
        assert_eq!(world.text_statuses(A).last(), Some(&200));
    }
}

#[test]
fn shutting_down_ends_what_is_under_way_and_takes_nothing_more() {
    let mut world = Setup::new(1).b(silent()).world();
    write(&mut world, A, "words");
    world.core.drain();
    assert!(!world.core.has_no_calls());
    write(&mut world, A, "more");
    assert_eq!(world.text_statuses(A), [503]);
    let now = world.now();
    world.core.end_all(now);
    world.finish();
    // It has left, and may arrive.
    assert_eq!(world.text_statuses(A), [503, 504]);
    assert!(world.core.has_no_calls());
}

#[test]
fn a_trunk_that_only_takes_calls_may_not_write() {
    let mut setup = Setup::new(1);
    setup.settings.trunks[0].sources = vec!["10.1.9.9/32".parse().expect("a network")];
    let mut world = setup.world();
    world.inject_sip(address("10.1.0.1:5060"), &by_hand("one", "c", 1, "UDP"));
    let answers = sent(&world, address("10.1.0.1:5060"));
    assert!(matches!(&*answers, [answer] if answer.starts_with("SIP/2.0 403 ")), "{answers:?}");
    assert!(got(&world, B).is_empty() && world.texts().is_empty());
}

// ---- the driver's own protocol --------------------------------------------------------------------------------

#[test]
fn the_driver_sends_what_goes_to_a_trunk_of_its_own() {
    for (result, outcome, parts) in [
        (TextResult::Delivered { parts: 2 }, Outcome::Delivered, 2),
        (TextResult::Accepted { parts: 1 }, Outcome::Accepted, 1),
        (TextResult::Failed(Outcome::NoSuchNumber), Outcome::NoSuchNumber, 0),
        (TextResult::Failed(Outcome::Delivered), Outcome::FarFailure, 0),
    ] {
        let mut setup = Setup::new(1);
        setup.settings.trunks[1].texts.by = TextBy::Driver;
        let mut world = setup.world();
        write(&mut world, A, "words");
        let [order] = world.to_send() else { panic!("one order") };
        let order = order.clone();
        assert_eq!(
            (&*order.trunk, order.from, order.to, &*order.content),
            ("carrier-b", number(X), number(B_NUMBER), "words")
        );
        world.run_until(ms(2_000));
        assert_eq!(world.text_statuses(A), []);
        world.text_result(order.key, result);
        world.text_result(order.key, TextResult::Failed(Outcome::FarFailure));
        world.finish();
        assert_eq!((outcomes(&world), world.text_statuses(A)), (vec![outcome], vec![outcome.row().status]));
        assert_eq!((world.texts()[0].parts, world.texts()[0].called.is_some()), (parts, parts > 0));
    }
    // And the driver is silent.
    let mut setup = Setup::new(1);
    setup.settings.trunks[1].texts.by = TextBy::Driver;
    let mut world = setup.world();
    write(&mut world, A, "words");
    world.finish();
    assert_eq!(world.text_statuses(A), [504]);
}

#[test]
fn the_driver_brings_what_comes_from_a_trunk_of_its_own() {
    let mut setup = Setup::new(1);
    setup.settings.trunks[0].texts.by = TextBy::Driver;
    let mut world = setup.world();
    let text = |reply, content: &str| TextIn {
        sender: Some(number(A_NUMBER)),
        x: Some(number(X)),
        content: content.into(),
        reply,
    };
    world.take_in_text("carrier-a", text(7, "words"));
    world.run_until(ms(0));
    assert_eq!(got(&world, B), [(X.to_owned(), "words".to_owned())]);
    world.take_in_text("carrier-a", text(8, ""));
    world.take_in_text("carrier-a", text(9, &"汉".repeat(2_001)));
    world.take_in_text("carrier-b", text(10, "by SIP only"));
    world.take_in_text("nobody", text(11, "words"));
    world.take_in_text("carrier-a", TextIn { sender: None, ..text(12, "words") });
    world.take_in_text("carrier-a", TextIn { x: None, ..text(13, "words") });
    let answers = [
        (7, Outcome::Delivered),
        (8, Outcome::Unreadable),
        (9, Outcome::TooLong),
        (10, Outcome::NoRoute),
        (11, Outcome::NoRoute),
        (12, Outcome::NotBound),
        (13, Outcome::UnreadableNumber),
    ];
    assert_eq!(world.answers(), answers);
    // Its SIP side takes none.
    write(&mut world, A, "words");
    world.finish();
    assert_eq!(world.text_statuses(A), [405]);
}

#[test]
fn a_changed_binding_is_believed_at_once() {
    let mut world = Setup::new(1).world();
    write(&mut world, A, "one");
    let id = world.texts()[0].text.binding.expect("a binding");
    world.bindings.unbind(id).expect("it is bound");
    write(&mut world, A, "two");
    world.finish();
    assert_eq!(outcomes(&world), [Outcome::Delivered, Outcome::NotBound]);
}
