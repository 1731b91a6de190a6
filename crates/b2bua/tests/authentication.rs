//! Digest authentication in calls (RFC 3261 §22, RFC 7616, RFC 8760): carriers that want to know who we are, and callers that must
//! prove who they are. A ladder each; the phones compute their digests by themselves.

mod story;

use std::sync::Arc;

use b2bua::outcome::Cause;
use sip::digest::{Account, Credentials, Hash, Password};
use story::story;
use testbed::{Algorithm, Challenge, Script, Setup, expect, ms};

/// Carrier-b knows us by a password.
fn known_to_b(mut setup: Setup) -> Setup {
    let credentials = Credentials {
        user: "axbridge".into(),
        password: Password::new(b"secret".to_vec()),
        realm: Some("carrier".into()),
    };
    setup.settings.trunks[1].auth = Some(Arc::new(credentials));
    setup
}

/// Carrier-a must authenticate its calls; A's password is this.
fn must_prove(mut setup: Setup, password: &str) -> Setup {
    let account = Account {
        realm: "axbridge".into(),
        user: "carrier-a".into(),
        password: Password::new(b"secret".to_vec()),
        hashes: vec![Hash::Sha256, Hash::Md5],
    };
    setup.settings.trunks[0].challenge = Some(Arc::new(account));
    setup.phones[0].credentials =
        Some(testbed::Credentials { username: "carrier-a".to_owned(), password: password.to_owned() });
    setup
}

/// 407 with MD5: the INVITE goes out again, its credentials also on the ACK and later requests.
#[test]
fn b_asks_who_we_are() {
    let setup = known_to_b(
        Setup::new(1)
            .mute()
            .a(Script::default().hangs_up(ms(2_000)))
            .b(Script::answers(ms(1_000)).challenges(Challenge::new(407, "carrier", "axbridge", "secret"))),
    );
    story(
        setup,
        Cause::HungUp,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000         X ─▶ B   INVITE B          From: X
        0.000         X ◀─ B   407               challenge
        0.000         X ─▶ B   ACK
        0.000         X ─▶ B   INVITE B          From: X, with credentials
        0.040         X ◀─ B   180
        0.040  A ◀─ X          180
        1.000         X ◀─ B   200 (sdp)
        1.000         X ─▶ B   ACK               with credentials
        1.000  A ◀─ X          200 (sdp)         ♪ hint tone to both
        1.000  A ─▶ X          ACK
        2.200                                    ♪ joined
        3.000  A ─▶ X          BYE
        3.000  A ◀─ X          200 to BYE
        3.000         X ─▶ B   BYE               Reason: Q.850;cause=16, with credentials
        3.000         X ◀─ B   200 to BYE
        3.000  CDR  hung_up by A, rang 0.960, talked 2.000, A 200, B 200
               A heard  hint tone 1.200
               B heard  hint tone 1.200
    "#]],
    );
}

/// SHA-256 is answered where MD5 is offered beside it (RFC 8760).
#[test]
fn b_asks_with_every_request_and_every_algorithm() {
    let setup = known_to_b(Setup::new(1).mute().a(Script::default().hangs_up(ms(2_000))).b(
        Script::answers(ms(1_000)).challenges(Challenge {
            algorithms: vec![Algorithm::Sha256, Algorithm::Md5],
            every_request: true,
            ..Challenge::new(401, "carrier", "axbridge", "secret")
        }),
    ));
    story(
        setup,
        Cause::HungUp,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000         X ─▶ B   INVITE B          From: X
        0.000         X ◀─ B   401               challenge
        0.000         X ─▶ B   ACK
        0.000         X ─▶ B   INVITE B          From: X, with credentials
        0.040         X ◀─ B   180
        0.040  A ◀─ X          180
        1.000         X ◀─ B   200 (sdp)
        1.000         X ─▶ B   ACK               with credentials
        1.000  A ◀─ X          200 (sdp)         ♪ hint tone to both
        1.000  A ─▶ X          ACK
        2.200                                    ♪ joined
        3.000  A ─▶ X          BYE
        3.000  A ◀─ X          200 to BYE
        3.000         X ─▶ B   BYE               Reason: Q.850;cause=16, with credentials
        3.000         X ◀─ B   200 to BYE
        3.000  CDR  hung_up by A, rang 0.960, talked 2.000, A 200, B 200
               A heard  hint tone 1.200
               B heard  hint tone 1.200
    "#]],
    );
}

#[test]
fn a_stale_nonce_is_replaced_once() {
    let setup = known_to_b(
        Setup::new(1).mute().a(Script::default().hangs_up(ms(2_000))).b(Script::answers(ms(1_000))
            .challenges(Challenge { stale_once: true, ..Challenge::new(407, "carrier", "axbridge", "secret") })),
    );
    story(
        setup,
        Cause::HungUp,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000         X ─▶ B   INVITE B          From: X
        0.000         X ◀─ B   407               challenge
        0.000         X ─▶ B   ACK
        0.000         X ─▶ B   INVITE B          From: X, with credentials
        0.000         X ◀─ B   407               challenge, stale
        0.000         X ─▶ B   ACK
        0.000         X ─▶ B   INVITE B          From: X, with credentials
        0.040         X ◀─ B   180
        0.040  A ◀─ X          180
        1.000         X ◀─ B   200 (sdp)
        1.000         X ─▶ B   ACK               with credentials
        1.000  A ◀─ X          200 (sdp)         ♪ hint tone to both
        1.000  A ─▶ X          ACK
        2.200                                    ♪ joined
        3.000  A ─▶ X          BYE
        3.000  A ◀─ X          200 to BYE
        3.000         X ─▶ B   BYE               Reason: Q.850;cause=16, with credentials
        3.000         X ◀─ B   200 to BYE
        3.000  CDR  hung_up by A, rang 0.960, talked 2.000, A 200, B 200
               A heard  hint tone 1.200
               B heard  hint tone 1.200
    "#]],
    );
}

#[test]
fn an_old_registrar_without_qop_is_answered_too() {
    let setup = known_to_b(
        Setup::new(1).mute().a(Script::default().hangs_up(ms(2_000))).b(Script::answers(ms(1_000))
            .challenges(Challenge { qop: false, ..Challenge::new(401, "carrier", "axbridge", "secret") })),
    );
    story(
        setup,
        Cause::HungUp,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000         X ─▶ B   INVITE B          From: X
        0.000         X ◀─ B   401               challenge
        0.000         X ─▶ B   ACK
        0.000         X ─▶ B   INVITE B          From: X, with credentials
        0.040         X ◀─ B   180
        0.040  A ◀─ X          180
        1.000         X ◀─ B   200 (sdp)
        1.000         X ─▶ B   ACK               with credentials
        1.000  A ◀─ X          200 (sdp)         ♪ hint tone to both
        1.000  A ─▶ X          ACK
        2.200                                    ♪ joined
        3.000  A ─▶ X          BYE
        3.000  A ◀─ X          200 to BYE
        3.000         X ─▶ B   BYE               Reason: Q.850;cause=16, with credentials
        3.000         X ◀─ B   200 to BYE
        3.000  CDR  hung_up by A, rang 0.960, talked 2.000, A 200, B 200
               A heard  hint tone 1.200
               B heard  hint tone 1.200
    "#]],
    );
}

#[test]
fn wrong_credentials_are_not_tried_again() {
    let setup = known_to_b(
        Setup::new(1)
            .mute()
            .b(Script::answers(ms(1_000)).challenges(Challenge::new(407, "carrier", "axbridge", "another"))),
    );
    story(
        setup,
        Cause::Refused,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000         X ─▶ B   INVITE B          From: X
        0.000         X ◀─ B   407               challenge
        0.000         X ─▶ B   ACK
        0.000         X ─▶ B   INVITE B          From: X, with credentials
        0.000         X ◀─ B   403
        0.000         X ─▶ B   ACK
        0.000  A ◀─ X          403               Reason: Q.850;cause=21
        0.000  A ─▶ X          ACK
        0.000  CDR  refused by B, A 403, B 403
    "#]],
    );
}

/// Whoever asks for it is not the carrier that the password is for.
#[test]
fn another_realm_gets_no_digest() {
    let setup = known_to_b(Setup::new(1).mute().b(Script::answers(ms(1_000)).challenges(Challenge::new(
        407,
        "elsewhere",
        "axbridge",
        "secret",
    ))));
    story(
        setup,
        Cause::Refused,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000         X ─▶ B   INVITE B          From: X
        0.000         X ◀─ B   407               challenge
        0.000         X ─▶ B   ACK
        0.000  A ◀─ X          403               Reason: Q.850;cause=21
        0.000  A ─▶ X          ACK
        0.000  CDR  refused by B, A 403, B 407
    "#]],
    );
}

#[test]
fn without_credentials_a_challenge_is_a_refusal() {
    let setup = Setup::new(1)
        .mute()
        .b(Script::answers(ms(1_000)).challenges(Challenge::new(407, "carrier", "axbridge", "secret")));
    story(
        setup,
        Cause::Refused,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          100
        0.000         X ─▶ B   INVITE B          From: X
        0.000         X ◀─ B   407               challenge
        0.000         X ─▶ B   ACK
        0.000  A ◀─ X          403               Reason: Q.850;cause=21
        0.000  A ─▶ X          ACK
        0.000  CDR  refused by B, A 403, B 407
    "#]],
    );
}

/// The trunk is to authenticate: 401, then the call.
#[test]
fn a_caller_must_prove_who_it_is() {
    let setup = must_prove(
        Setup::new(1).mute().a(Script::default().hangs_up(ms(2_000))).b(Script::answers(ms(1_000))),
        "secret",
    );
    story(
        setup,
        Cause::HungUp,
        &expect![[r#"
        0.000  A ─▶ X          INVITE X          From: A
        0.000  A ◀─ X          401               challenge
        0.000  A ─▶ X          ACK
        0.000  A ─▶ X          INVITE X          From: A, with credentials
        0.000  A ◀─ X          100
        0.000         X ─▶ B   INVITE B          From: X
        0.040         X ◀─ B   180
        0.040  A ◀─ X          180
        1.000         X ◀─ B   200 (sdp)
        1.000         X ─▶ B   ACK
        1.000  A ◀─ X          200 (sdp)         ♪ hint tone to both
        1.000  A ─▶ X          ACK
        2.200                                    ♪ joined
        3.000  A ─▶ X          BYE               with credentials
        3.000  A ◀─ X          200 to BYE
        3.000         X ─▶ B   BYE               Reason: Q.850;cause=16
        3.000         X ◀─ B   200 to BYE
        3.000  CDR  hung_up by A, rang 0.960, talked 2.000, A 200, B 200
               A heard  hint tone 1.200
               B heard  hint tone 1.200
    "#]],
    );
}
