use std::collections::BTreeMap;
use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};

use numbering::{
    AppId, Area, Ax, Axb, Axe, CallBack, CallDirection, Extension, LastCaller, NumberState, Temporary, TimeUnit, Voice,
};
use tempfile::TempDir;

use super::*;
use crate::clock::Clock;
use crate::notify::Channel;

const NOBODY: AppId = AppId(u32::MAX);

fn n(value: u64) -> Number {
    Number::from_u64(value).unwrap()
}

fn a() -> Number {
    n(8_613_800_000_001)
}

fn b() -> Number {
    n(8_613_800_000_002)
}

fn x() -> Number {
    n(8_617_000_000_001)
}

fn put(app: &str, binding: Binding) -> Change {
    Change::PutBinding { app: app.into(), binding: Arc::new(binding) }
}

fn pair(id: u128) -> Binding {
    Binding::Axb(Axb::new(SubscriptionId(id), NOBODY, a(), x(), b()))
}

/// Everything that a store holds, by name.
#[derive(Clone, PartialEq, Debug, Default)]
struct State {
    apps: Vec<AppRow>,
    numbers: Vec<(Arc<str>, VirtualNumber)>,
    rests: Vec<(Number, u64)>,
    prompts: Vec<PromptRow>,
    bindings: BTreeMap<u128, (Arc<str>, Binding)>,
}

fn state(store: &mut Store) -> State {
    let mut bindings = BTreeMap::new();
    let bad = store.each_binding(|app, binding| {
        bindings.insert(binding.id().0, (Arc::clone(app), binding));
    });
    assert_eq!(bad.unwrap(), 0);
    let (apps, numbers) = (store.load_apps().unwrap(), store.load_numbers().unwrap());
    let (rests, prompts) = (store.load_rests().unwrap(), store.load_prompts().unwrap());
    assert_eq!((apps.bad, numbers.bad, rests.bad, prompts.bad), (0, 0, 0, 0));
    State { apps: apps.rows, numbers: numbers.rows, rests: rests.rows, prompts: prompts.rows, bindings }
}

fn voices() -> Vec<Voice> {
    let tone = |name: &str| Some(Arc::from(name));
    vec![
        Voice::default(),
        Voice { caller_hint_tone: tone("caller"), ..Voice::default() },
        Voice { callee_hint_tone: tone("callee"), ..Voice::default() },
        Voice { record_hint_tone: tone("\"quoted\\"), ..Voice::default() },
        Voice { last_minute: tone("最后一分钟"), ..Voice::default() },
    ]
}

/// Bindings of every kind: as usual, with each field as it is not, and with all of them.
fn every_binding() -> Vec<Binding> {
    let mut next = 0x0190_0000_0000_7000_8000_0000_0000_0000_u128;
    let mut id = move || {
        next += 1;
        SubscriptionId(next)
    };
    let mut all = Vec::new();

    let mut axb = |change: &dyn Fn(&mut Axb)| {
        let mut axb = Axb::new(id(), NOBODY, a(), x(), b());
        change(&mut axb);
        all.push(Binding::Axb(axb));
    };
    axb(&|_| {});
    axb(&|it| it.id = SubscriptionId(0));
    axb(&|it| it.id = SubscriptionId(u128::MAX));
    axb(&|it| it.direction = CallDirection::AToB);
    axb(&|it| it.direction = CallDirection::BToA);
    axb(&|it| it.max_minutes = 1440);
    axb(&|it| it.record = true);
    axb(&|it| it.sms = false);
    axb(&|it| it.duration = u32::MAX);
    axb(&|it| it.ends = u64::MAX);
    axb(&|it| it.user_text = Some("".into()));
    axb(&|it| it.user_text = Some("a\n\"b\"\\\0 名 \u{1f642}".into()));
    axb(&|it| it.a = n(10_000));
    axb(&|it| it.b = n(999_999_999_999_999_999));
    for voice in voices() {
        axb(&|it| it.voice = Some(Box::new(voice.clone())));
    }
    axb(&|it| {
        *it = Axb {
            direction: CallDirection::BToA,
            max_minutes: 7,
            record: true,
            sms: false,
            duration: 3600,
            ends: 1_795_466_165_123,
            voice: Some(Box::new(voices()[1].clone())),
            user_text: Some("all".into()),
            ..it.clone()
        };
    });

    let mut ax = |change: &dyn Fn(&mut Ax)| {
        let mut ax = Ax {
            id: id(),
            app: NOBODY,
            a: a(),
            x: x(),
            direction: CallDirection::Both,
            is_on: true,
            shows_caller: false,
            max_minutes: 0,
            record: false,
            sms: true,
            voice: None,
            user_text: None,
            temporary: None,
        };
        change(&mut ax);
        all.push(Binding::Ax(Box::new(ax)));
    };
    ax(&|_| {});
    ax(&|it| it.direction = CallDirection::AToB);
    ax(&|it| it.is_on = false);
    ax(&|it| it.shows_caller = true);
    ax(&|it| it.max_minutes = 1);
    ax(&|it| it.record = true);
    ax(&|it| it.sms = false);
    ax(&|it| it.user_text = Some("words".into()));
    for voice in voices() {
        ax(&|it| it.voice = Some(Box::new(voice.clone())));
    }
    for user_text in [None, Some("for this call".into())] {
        ax(&|it| it.temporary = Some(Temporary { callee: b(), ends: u64::MAX, user_text: user_text.clone() }));
        ax(&|it| it.temporary = Some(Temporary { callee: n(8_695_588), ends: 0, user_text: user_text.clone() }));
    }

    let mut axe = |change: &dyn Fn(&mut Axe)| {
        let mut axe = Axe {
            id: id(),
            app: NOBODY,
            a: a(),
            x: x(),
            extension: Extension::parse("7").unwrap(),
            shows_caller: false,
            record: false,
            record_hint_tone: None,
            call_back: CallBack::App,
            unit: TimeUnit::Hours,
            bind_for: 0,
            call_back_for: 0,
            ends: 0,
            user_text: None,
            last_caller: None,
        };
        change(&mut axe);
        all.push(Binding::Axe(Box::new(axe)));
    };
    axe(&|_| {});
    for extension in ["1", "07", "99", "001", "0001", "9999"] {
        axe(&|it| it.extension = Extension::parse(extension).unwrap());
    }
    axe(&|it| it.shows_caller = true);
    axe(&|it| it.record = true);
    axe(&|it| it.record_hint_tone = Some("tone".into()));
    axe(&|it| it.call_back = CallBack::Tone("tone".into()));
    axe(&|it| it.call_back = CallBack::Number(b()));
    axe(&|it| it.unit = TimeUnit::Minutes);
    axe(&|it| it.bind_for = 1);
    axe(&|it| it.call_back_for = u32::MAX);
    axe(&|it| it.ends = 1);
    axe(&|it| it.user_text = Some("words".into()));
    axe(&|it| it.last_caller = Some(LastCaller { number: b(), at: 0 }));
    axe(&|it| it.last_caller = Some(LastCaller { number: n(999_999_999_999_999_999), at: u64::MAX }));
    all
}

fn prompt(app: &str, name: &str, state: PromptState) -> PromptRow {
    PromptRow {
        app: app.into(),
        name: name.into(),
        state,
        remark: "too loud".into(),
        alaw: vec![0xd5; 20_000].into(),
        changed: 1_795_466_165_123,
    }
}

#[test]
fn every_binding_comes_back_as_it_was() {
    let folder = TempDir::new().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    let mut expected = BTreeMap::new();
    let mut changes = Vec::new();
    for (place, binding) in every_binding().into_iter().enumerate() {
        let app = ["food", "cars"][place % 2];
        expected.insert(binding.id().0, (Arc::from(app), binding.clone()));
        changes.push(put(app, binding));
    }
    assert_eq!(expected.len(), changes.len());
    store.commit(&changes).unwrap();
    assert_eq!(state(&mut store).bindings, expected);
    drop(store);

    let mut store = Store::open(folder.path()).unwrap();
    assert_eq!(state(&mut store).bindings, expected);
    // A changed one takes the place of the old one; an ended one is gone.
    let ids: Vec<u128> = expected.keys().copied().collect();
    let mut changed = pair(ids[0]);
    if let Binding::Axb(axb) = &mut changed {
        axb.record = true;
    }
    store.commit(&[put("third", changed.clone()), Change::EndBinding(SubscriptionId(ids[1]))]).unwrap();
    expected.insert(ids[0], ("third".into(), changed));
    expected.remove(&ids[1]);
    assert_eq!(state(&mut store).bindings, expected);
    store.commit(&ids.iter().map(|id| Change::EndBinding(SubscriptionId(*id))).collect::<Vec<_>>()).unwrap();
    assert_eq!(state(&mut store), State::default());
}

#[test]
fn a_row_from_before_there_were_callers_is_read_as_before() {
    let folder = TempDir::new().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    let axe = |id, last_caller| {
        let axe = Axe::new(SubscriptionId(id), NOBODY, a(), x(), Extension::parse("07").unwrap());
        Binding::Axe(Box::new(Axe { record: true, bind_for: 168, last_caller, ..axe }))
    };
    store.commit(&[put("food", axe(1, None))]).unwrap();
    let terms = |store: &Store, id: u128| -> String {
        let sql = "SELECT terms FROM bindings WHERE id = ?1";
        store.connection().query_row(sql, [id.to_be_bytes()], |row| row.get(0)).unwrap()
    };
    // What has always been written, and what is written where nobody has called.
    assert_eq!(terms(&store, 1), r#"{"record":true,"duration":168}"#);
    store
        .connection()
        .execute_batch(
            r#"INSERT INTO bindings SELECT x'00000000000000000000000000000002', app, mode, x, a, b, ends,
                '{"record":true,"duration":168}' FROM bindings;
               INSERT INTO bindings SELECT x'00000000000000000000000000000003', app, mode, x, a, b, ends,
                '{"last_caller":{"number":12,"at":1}}' FROM bindings WHERE id = x'00000000000000000000000000000002';"#,
        )
        .unwrap();
    let called = LastCaller { number: b(), at: 1_795_466_165_123 };
    store.commit(&[put("food", axe(4, Some(called)))]).unwrap();
    let mut found = BTreeMap::new();
    let bad = store.each_binding(|_, binding| drop(found.insert(binding.id().0, binding))).unwrap();
    assert_eq!(bad, 1, "12 is no number");
    let expected = [(1, axe(1, None)), (2, axe(2, None)), (4, axe(4, Some(called)))];
    assert_eq!(found, expected.into_iter().collect());
}

#[test]
fn every_other_change_comes_back_as_it_was() {
    let folder = TempDir::new().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    let mut numbers: Vec<(Arc<str>, VirtualNumber)> = NumberState::ALL
        .into_iter()
        .zip(1..)
        .map(|(state, last)| {
            let number = VirtualNumber::new(n(8_617_000_000_000 + last), NOBODY, None);
            (Arc::from("food"), VirtualNumber { state, ..number })
        })
        .collect();
    let fixed = VirtualNumber::new(n(8_675_528_780_001), NOBODY, Some("carrier".into()));
    assert!(fixed.area.is_some());
    numbers.push(("cars".into(), fixed));
    let settled = VirtualNumber { area: Area::parse("010"), ..numbers[0].1.clone() };
    numbers[0] = ("cars".into(), VirtualNumber { trunk: Some("名".into()), ..settled });
    let put_number = |(app, number): &(Arc<str>, VirtualNumber)| Change::PutNumber {
        app: Arc::clone(app),
        number: Arc::new(number.clone()),
    };
    let app = |name: &str, settings: &str| AppRow { name: name.into(), settings: settings.into() };
    let prompts: Vec<PromptRow> =
        PromptState::ALL.into_iter().map(|state| prompt("food", state.as_str(), state)).collect();

    let mut changes: Vec<Change> = numbers.iter().map(put_number).collect();
    changes.extend([Change::Rest { x: a(), until: 5 }, Change::Rest { x: b(), until: u64::MAX }]);
    changes.extend([Change::PutApp(app("food", "{}")), Change::PutApp(app("cars", "{\"mode\":\"ax\"}"))]);
    changes.extend(prompts.iter().cloned().map(Change::PutPrompt));
    changes.push(Change::PutPrompt(prompt("cars", "approved", PromptState::Approved)));
    store.commit(&changes).unwrap();
    drop(store);

    let mut store = Store::open(folder.path()).unwrap();
    let mut loaded = state(&mut store);
    loaded.prompts.sort_by_key(|prompt| prompt.state as u8);
    numbers.sort_by_key(|(_, number)| number.number);
    assert_eq!(loaded.numbers, numbers);
    assert_eq!(loaded.rests, [(a(), 5), (b(), u64::MAX)]);
    assert_eq!(loaded.apps, [app("cars", "{\"mode\":\"ax\"}"), app("food", "{}")]);
    assert_eq!(loaded.prompts.len(), 5);
    assert!(prompts.iter().all(|prompt| loaded.prompts.contains(prompt)));

    let x = numbers[0].1.number;
    store
        .commit(&[
            Change::Rest { x, until: 9 },
            Change::EndNumber(x),
            Change::Rest { x: a(), until: 6 },
            Change::Rest { x: b(), until: 0 },
            Change::PutApp(app("food", "[]")),
            Change::EndPrompt { app: "food".into(), name: "draft".into() },
            Change::PutPrompt(prompt("food", "rejected", PromptState::Submitted)),
            Change::EndApp("cars".into()),
        ])
        .unwrap();
    let after = state(&mut store);
    assert_eq!(after.numbers, numbers[1..]);
    assert_eq!(after.rests, [(a(), 6)]);
    assert_eq!(after.apps, [app("food", "[]")]);
    let states: Vec<(&str, &str)> = after.prompts.iter().map(|prompt| (&*prompt.name, prompt.state.as_str())).collect();
    assert_eq!(states, [("approved", "approved"), ("rejected", "submitted"), ("submitted", "submitted")]);
}

#[test]
fn equal_names_share_their_letters_and_usual_terms_take_no_room() {
    let folder = TempDir::new().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    let spoken = |id| {
        let Binding::Axb(mut axb) = pair(id) else { panic!("a pair") };
        axb.voice = Some(Box::new(voices()[1].clone()));
        Binding::Axb(axb)
    };
    store.commit(&[put("food", spoken(1)), put("food", spoken(2)), put("food", pair(3))]).unwrap();
    let mut seen = Vec::new();
    store
        .each_binding(|app, binding| {
            seen.push((Arc::clone(app), binding.announcement(numbering::Party::A).cloned()));
        })
        .unwrap();
    // The newest comes first.
    seen.reverse();
    assert!(Arc::ptr_eq(&seen[0].0, &seen[2].0));
    assert!(Arc::ptr_eq(seen[0].1.as_ref().unwrap(), seen[1].1.as_ref().unwrap()));
    let usual: i64 = store
        .connection()
        .query_row("SELECT count(*) FROM bindings WHERE terms IS NULL", [], |row| row.get(0))
        .unwrap();
    assert_eq!(usual, 1);
}

#[test]
fn rows_that_make_no_sense_are_left_out_and_counted() {
    let folder = TempDir::new().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    store.commit(&[put("food", pair(1)), put("food", pair(2))]).unwrap();
    store
        .connection()
        .execute_batch(
            "PRAGMA foreign_keys = off;
             INSERT INTO bindings VALUES (x'00', 1, 0, 8617000000001, 8613800000001, 8613800000002, 0, NULL);
             INSERT INTO bindings SELECT randomblob(16), 9, mode, x, a, b, ends, terms FROM bindings WHERE length(id) = 16 LIMIT 1;
             INSERT INTO bindings SELECT randomblob(16), app, 3, x, a, b, ends, terms FROM bindings WHERE app = 1 LIMIT 1;
             INSERT INTO bindings SELECT randomblob(16), app, 2, x, a, 50000, ends, terms FROM bindings WHERE app = 1 LIMIT 1;
             INSERT INTO bindings SELECT randomblob(16), app, 0, x, 12, b, ends, terms FROM bindings WHERE app = 1 AND mode = 0 LIMIT 1;
             INSERT INTO bindings SELECT randomblob(16), app, 0, x, a, NULL, ends, terms FROM bindings WHERE app = 1 AND mode = 0 LIMIT 1;
             INSERT INTO bindings SELECT randomblob(16), app, 0, x, a, b, ends, '{' FROM bindings WHERE app = 1 AND mode = 0 LIMIT 1;
             INSERT INTO bindings SELECT randomblob(16), app, 0, x, a, b, ends, '{\"new\":1}' FROM bindings WHERE app = 1 AND mode = 0 LIMIT 1;
             INSERT INTO bindings SELECT randomblob(16), app, 0, x, a, b, ends, '{\"direction\":3}' FROM bindings WHERE app = 1 AND mode = 0 LIMIT 1;
             INSERT INTO bindings SELECT randomblob(16), app, 1, x, a, b, ends, '{\"temporary\":{\"callee\":1,\"ends\":1}}' FROM bindings WHERE app = 1 AND mode = 0 LIMIT 1;
             INSERT INTO numbers VALUES (1, 1, NULL, NULL, 5), (8617000000001, 1, NULL, NULL, 6), (8617000000002, 1, NULL, '755', 5),
                 (8617000000003, 9, NULL, NULL, 5), (8617000000004, 1, NULL, NULL, 5);
             INSERT INTO rests VALUES (1, 1), (8617000000001, 1);
             INSERT INTO prompts VALUES ('a', 'b', 'odd', '', x'', 1), ('a', 'c', 'draft', '', x'', 1);",
        )
        .unwrap();
    let mut whole = Vec::new();
    let bad = store.each_binding(|_, binding| whole.push(binding.id().0)).unwrap();
    assert_eq!((whole, bad), (vec![2, 1], 10), "the newest first");
    let (numbers, rests, prompts) =
        (store.load_numbers().unwrap(), store.load_rests().unwrap(), store.load_prompts().unwrap());
    assert_eq!((numbers.rows.len(), numbers.bad), (1, 4));
    assert_eq!((rests.rows.len(), rests.bad), (1, 1));
    assert_eq!((prompts.rows.len(), prompts.bad), (1, 1));
}

#[test]
fn a_commit_that_fails_changes_nothing_and_the_next_one_works() {
    let folder = TempDir::new().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    store.commit(&[put("food", pair(1))]).unwrap();
    let before = state(&mut store);
    let pages: i64 = store.connection().query_row("PRAGMA page_count", [], |row| row.get(0)).unwrap();
    let set = |store: &Store, what: &str| store.connection().query_row(what, [], |_| Ok(())).unwrap();
    let all = [
        Change::EndBinding(SubscriptionId(1)),
        put("new app", pair(2)),
        Change::PutPrompt(prompt("new app", "long", PromptState::Draft)),
        put("new app", pair(3)),
    ];

    set(&store, &format!("PRAGMA max_page_count = {pages}"));
    for _ in 0..3 {
        assert!(matches!(store.commit(&all), Err(StoreError::Database(_))));
        assert_eq!(state(&mut store), before);
    }
    // What needs no room goes through.
    store.commit(&[put("food", pair(1))]).unwrap();
    set(&store, "PRAGMA max_page_count = 1000000");
    store.connection().execute_batch("PRAGMA query_only = on").unwrap();
    assert!(matches!(store.commit(&all), Err(StoreError::Database(_))));
    assert_eq!(state(&mut store), before);
    store.connection().execute_batch("PRAGMA query_only = off").unwrap();

    store.commit(&all).unwrap();
    let after = state(&mut store);
    assert_eq!(after.bindings.keys().copied().collect::<Vec<_>>(), [2, 3]);
    assert_eq!(after.bindings[&2].0, "new app".into());
    drop(store);
    assert_eq!(state(&mut Store::open(folder.path()).unwrap()), after);
}

/// Commits until a file may not grow further: the write fails as it does on a full disk. In a process of its own, since the
/// limit is the process's.
#[test]
fn a_full_disk_changes_nothing_and_later_there_is_room() {
    let Some(dir) = child_folder() else {
        let folder = TempDir::new().unwrap();
        let (mut child, lines) = start_child("a_full_disk_changes_nothing_and_later_there_is_room", folder.path());
        let said: Vec<String> = lines.lines().map_while(Result::ok).filter(|line| line.contains("said ")).collect();
        assert!(child.wait().unwrap().success(), "{said:?}");
        assert_eq!(said.len(), 1, "{said:?}");
        return;
    };
    let mut store = Store::open(&dir).unwrap();
    store.commit(&[put("food", pair(1))]).unwrap();
    limit_files(400_000);
    let mut ids = 2_u128..;
    let mut failed = 0;
    while failed < 5 {
        let before = state(&mut store);
        let first = ids.next().unwrap();
        let changes: Vec<Change> = (0..300).map(|more| put("food", pair(first << 64 | more))).collect();
        if store.commit(&changes).is_err() {
            failed += 1;
            assert_eq!(state(&mut store), before);
        }
    }
    let before = state(&mut store);
    limit_files(libc::RLIM_INFINITY);
    store.commit(&[put("food", pair(u128::MAX))]).unwrap();
    let after = state(&mut store);
    assert_eq!(after.bindings.len(), before.bindings.len() + 1);
    drop(store);
    assert_eq!(state(&mut Store::open(&dir).unwrap()), after);
    say("said it all");
}

#[allow(unsafe_code)]
fn limit_files(bytes: libc::rlim_t) {
    let limit = libc::rlimit { rlim_cur: bytes, rlim_max: libc::RLIM_INFINITY };
    // SAFETY: the limit is on the stack for the time of the call; ignoring a signal runs no code of ours.
    unsafe {
        libc::signal(libc::SIGXFSZ, libc::SIG_IGN);
        assert_eq!(libc::setrlimit(libc::RLIMIT_FSIZE, &raw const limit), 0);
    }
}

#[test]
fn a_log_that_the_power_cut_opens_to_a_whole_number_of_commits() {
    let folder = TempDir::new().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    store.commit(&[put("food", pair(1)), put("food", pair(2))]).unwrap();
    store.connection().query_row("PRAGMA wal_checkpoint(TRUNCATE)", [], |_| Ok(())).unwrap();
    let mut states = vec![state(&mut store)];
    let mut lengths = vec![0];
    let log = folder.path().join("axbridge.db-wal");
    for round in 0..12_u128 {
        let mut changes: Vec<Change> = (0..=round * 9)
            .map(|more| put(["food", "cars"][more as usize % 2], pair(round << 32 | more | 4)))
            .collect();
        changes.push(Change::EndBinding(SubscriptionId(round - round % 3 + 1)));
        changes.push(Change::Rest { x: x(), until: round as u64 + 1 });
        store.commit(&changes).unwrap();
        states.push(state(&mut store));
        lengths.push(fs::metadata(&log).unwrap().len() as usize);
    }
    let database = fs::read(folder.path().join(FILE)).unwrap();
    let log = fs::read(&log).unwrap();
    assert_eq!(log.len(), *lengths.last().unwrap());

    // Around each end of a frame, and here and there within.
    let mut cuts: Vec<usize> = (0..log.len()).step_by(9_777).collect();
    for frame in (32..log.len()).step_by(24 + 4096) {
        cuts.extend([frame - 1, frame, frame + 24]);
    }
    cuts.extend(lengths.iter().copied());
    for cut in cuts {
        // What was committed within the cut is there, and nothing that was begun behind it.
        let whole = lengths.iter().rposition(|length| *length <= cut).unwrap();
        for tail in [0, log.len() - cut] {
            let crashed = TempDir::new().unwrap();
            fs::write(crashed.path().join(FILE), &database).unwrap();
            let mut torn = log[..cut].to_vec();
            // Sectors that never reached the disk.
            torn.resize((cut + tail).min(log.len()), 0);
            fs::write(crashed.path().join("axbridge.db-wal"), torn).unwrap();
            assert_eq!(state(&mut Store::open(crashed.path()).unwrap()), states[whole], "cut at {cut}, {tail} zeros");
        }
    }
}

#[test]
fn two_cannot_have_it_and_a_lock_of_the_dead_does_not_matter() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("lock"), "4711\n").unwrap();
    let store = Store::open(folder.path()).unwrap();
    assert!(matches!(Store::open(folder.path()), Err(StoreError::InUse(dir)) if dir == folder.path()));
    drop(store);
    Store::open(folder.path()).unwrap();
}

#[test]
fn a_store_of_a_newer_axbridge_is_left_alone() {
    let folder = TempDir::new().unwrap();
    let store = Store::open(folder.path()).unwrap();
    store.connection().pragma_update(None, "user_version", 3).unwrap();
    drop(store);
    let before = fs::read(folder.path().join(FILE)).unwrap();
    assert!(matches!(Store::open(folder.path()), Err(StoreError::TooNew(3))));
    assert_eq!(fs::read(folder.path().join(FILE)).unwrap(), before);
}

#[test]
fn what_is_to_be_told_is_kept_in_its_order_until_it_is_told_also_in_a_store_of_an_older_axbridge() {
    let folder = TempDir::new().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    store.commit(&[put("food", pair(1))]).unwrap();
    store.connection().execute_batch("DROP TABLE untold; PRAGMA user_version = 1").unwrap();
    drop(store);
    let notice = |place: u64, channel| Notice {
        id: format!("numbers-7-{place}"),
        app: "food".into(),
        channel,
        session: "numbers".to_owned(),
        created: place,
        body: format!("{{\"number\":\"{place}\"}}"),
    };
    let all = [notice(9, Channel::Number), notice(8, Channel::Status), notice(10, Channel::Number)];
    let mut store = Store::open(folder.path()).unwrap();
    store.commit(&all.clone().map(Change::Tell)).unwrap();
    drop(store);
    let mut store = Store::open(folder.path()).unwrap();
    assert_eq!(state(&mut store).bindings.len(), 1);
    assert_eq!(store.load_untold().unwrap(), Loaded { rows: all.to_vec(), bad: 0 });
    store.commit(&[Change::Told(all[0].id.clone()), Change::Told("numbers-7-11".to_owned())]).unwrap();
    store.connection().execute("UPDATE untold SET channel = 'drum' WHERE created = 8", []).unwrap();
    assert_eq!(store.load_untold().unwrap(), Loaded { rows: all[2..].to_vec(), bad: 1 });
}

#[test]
fn nobody_else_can_read_it() {
    let folder = TempDir::new().unwrap();
    let dir = folder.path().join("new/data");
    let mut store = Store::open(&dir).unwrap();
    store.commit(&[put("food", pair(1))]).unwrap();
    let mode = |path: &Path| fs::metadata(path).unwrap().permissions().mode() & 0o777;
    assert_eq!(mode(&dir), 0o700);
    for file in fs::read_dir(&dir).unwrap() {
        let path = file.unwrap().path();
        assert_eq!(mode(&path), 0o600, "{}", path.display());
    }
    let file = folder.path().join("file");
    fs::write(&file, "").unwrap();
    assert!(matches!(Store::open(&file), Err(StoreError::Io(..))));
}

#[test]
fn a_file_that_is_no_database_is_refused() {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join(FILE), "nothing that SQLite would know ".repeat(300)).unwrap();
    assert!(matches!(Store::open(folder.path()), Err(StoreError::Database(_))));
}

#[test]
fn a_secret_is_made_once() {
    let folder = TempDir::new().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    let key = store.secret_key("links").unwrap();
    assert_ne!(key, [0; 32]);
    assert_ne!(key, store.secret_key("others").unwrap());
    drop(store);
    assert_eq!(Store::open(folder.path()).unwrap().secret_key("links").unwrap(), key);
}

fn audit(at: u64, who: &str) -> AuditRow {
    AuditRow {
        at,
        who: who.into(),
        from: "192.0.2.1".into(),
        action: "POST /admin/v1/apps".into(),
        status: 201,
        detail: "food".into(),
    }
}

#[test]
fn the_audit_is_read_by_pages_while_it_is_written() {
    let folder = TempDir::new().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    let reader = Reader::open(folder.path()).unwrap();
    let rows: Vec<AuditRow> = (0..2500).map(|at| audit(at, ["ann", "bob"][at as usize % 2])).collect();
    store.commit(&rows.iter().cloned().map(Change::Audit).collect::<Vec<_>>()).unwrap();
    let page = |query: AuditQuery| reader.audit(&query).unwrap();
    let first = page(AuditQuery { limit: 5000, ..AuditQuery::default() });
    assert_eq!(first.len(), 1000);
    let mut read: Vec<AuditRow> = first.iter().map(|(_, row)| row.clone()).collect();
    let mut before = first.last().map(|(id, _)| *id);
    // A line that comes between two pages is in neither.
    store.commit(&[Change::Audit(audit(9999, "late"))]).unwrap();
    while before.is_some() {
        let next = page(AuditQuery { before, limit: 700, ..AuditQuery::default() });
        before = next.last().map(|(id, _)| *id);
        read.extend(next.into_iter().map(|(_, row)| row));
    }
    read.reverse();
    assert_eq!(read, rows);

    let bobs = page(AuditQuery { who: Some("bob".into()), limit: 2, ..AuditQuery::default() });
    assert_eq!(bobs.iter().map(|(_, row)| row.at).collect::<Vec<_>>(), [2499, 2497]);
    let between = page(AuditQuery { since: Some(10), until: Some(13), limit: 9, ..AuditQuery::default() });
    assert_eq!(between.iter().map(|(_, row)| row.at).collect::<Vec<_>>(), [12, 11, 10]);
}

#[test]
fn the_oldest_of_more_than_a_million_lines_go() {
    let folder = TempDir::new().unwrap();
    let mut store = Store::open(folder.path()).unwrap();
    let old = "INSERT INTO audit SELECT value, 0, '', '', '', 0, '' FROM (SELECT 1 AS value UNION SELECT 1472 UNION SELECT 1473)";
    store.connection().execute(old, []).unwrap();
    store.connection().execute("INSERT INTO audit VALUES (1001470, 0, '', '', '', 0, '')", []).unwrap();
    let count = |store: &Store| -> i64 {
        store.connection().query_row("SELECT count(*) FROM audit", [], |row| row.get(0)).unwrap()
    };
    store.commit(&[Change::Audit(audit(1, "ann"))]).unwrap();
    assert_eq!(count(&store), 5);
    store.commit(&[Change::Audit(audit(2, "ann"))]).unwrap();
    assert_eq!(count(&store), 4, "1 and 1472 are older than the newest million");
}

/// Commits of the child, each of so many bindings.
const EACH: u128 = 3;

/// A process that is killed while it commits loses nothing that it had acknowledged. It is this test once more, as a child.
#[test]
fn what_is_acknowledged_survives_a_kill() {
    if let Some(dir) = child_folder() {
        let mut store = Store::open(&dir).unwrap();
        let mut next = 0;
        store.each_binding(|_, binding| next = next.max(binding.id().0 / EACH + 1)).unwrap();
        loop {
            let changes: Vec<Change> = (0..EACH).map(|more| put("food", pair(next * EACH + more))).collect();
            store.commit(&changes).unwrap();
            say(&format!("acknowledged {next}"));
            next += 1;
        }
    }
    let folder = TempDir::new().unwrap();
    let mut last = None;
    for (round, acknowledged) in [1_u32, 40, 7, 113, 2, 260, 19].into_iter().enumerate() {
        let (mut child, lines) = start_child("what_is_acknowledged_survives_a_kill", folder.path());
        let mut seen = 0;
        // After the kill the lines that it had still said are read to their end.
        for line in lines.lines().map_while(Result::ok) {
            let Some((_, number)) = line.split_once("acknowledged ") else { continue };
            last = Some(number.parse::<u128>().unwrap());
            seen += 1;
            if seen == acknowledged {
                child.kill().unwrap();
            }
        }
        child.wait().unwrap();
        assert!(seen >= acknowledged, "round {round}");
        let mut store = Store::open(folder.path()).unwrap();
        let ids: Vec<u128> = state(&mut store).bindings.into_keys().collect();
        assert_eq!(ids, (0..ids.len() as u128).collect::<Vec<_>>(), "round {round}: without a gap");
        let commits = ids.len() as u128 / EACH;
        assert_eq!(ids.len() as u128 % EACH, 0, "round {round}: whole");
        let acknowledged = last.unwrap() + 1;
        assert!((acknowledged..=acknowledged + 1).contains(&commits), "round {round}: {acknowledged} {commits}");
    }
}

const CHILD: &str = "AXBRIDGE_STORE_CHILD";

/// The folder to work in, where this process is a test's child.
fn child_folder() -> Option<std::path::PathBuf> {
    std::env::var_os(CHILD).map(Into::into)
}

/// Runs one test of this file in a process of its own.
fn start_child(test: &str, dir: &Path) -> (Child, BufReader<std::process::ChildStdout>) {
    let mut child = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "--nocapture", &format!("store::tests::{test}")])
        .env(CHILD, dir)
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let lines = BufReader::new(child.stdout.take().unwrap());
    (child, lines)
}

/// Says a line to the parent, at once; unlike `println` it is not kept back by the test's harness.
fn say(line: &str) {
    let mut out = std::io::stdout().lock();
    out.write_all(format!("{line}\n").as_bytes()).unwrap();
    out.flush().unwrap();
}

/// Not a test: what a commit and a load cost. `cargo test --release -p axbridge --lib store::tests::figures -- --ignored --nocapture`
#[test]
#[ignore = "measures"]
fn figures() {
    let folder = TempDir::new_in(std::env::var_os("AXBRIDGE_FIGURES").unwrap_or_else(|| "/tmp".into())).unwrap();
    let clock = Clock::start();
    let mut store = Store::open(folder.path()).unwrap();
    let mut ids = (1_u128..).map(|id| 0x0190_0000_0000_7000_8000_0000_0000_0000 + (id << 60));
    let mut spread = 1_u64;
    let mut next = |is_long: bool| {
        spread = spread.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        let party = |bits: u64| n(8_613_000_000_000 + bits % 1_000_000_000);
        let id = SubscriptionId(ids.next().unwrap());
        let mut axb = Axb::new(
            id,
            NOBODY,
            party(spread >> 33),
            n(8_617_000_000_000 + (spread >> 40) % 50_000),
            party(spread >> 13),
        );
        if is_long {
            axb.duration = 86_400;
            axb.ends = 1_795_466_165_123;
            axb.record = true;
        }
        put("food", Binding::Axb(axb))
    };
    let mut timed = |store: &mut Store, per_commit: usize, commits: usize, is_long: bool| {
        let batches: Vec<Vec<Change>> =
            (0..commits).map(|_| (0..per_commit).map(|_| next(is_long)).collect()).collect();
        let began = clock.now();
        for batch in &batches {
            store.commit(batch).unwrap();
        }
        let took = (clock.now() - began).as_secs_f64();
        say(&format!(
            "{per_commit:5} a commit: {:8.0} commits/s, {:8.0} rows/s",
            commits as f64 / took,
            (commits * per_commit) as f64 / took
        ));
    };
    for (per_commit, commits) in [(1, 2000), (10, 1000), (100, 300), (1000, 50)] {
        timed(&mut store, per_commit, commits, true);
    }
    for (is_long, name) in [(false, "bare"), (true, "recorded for a day")] {
        let folder = TempDir::new_in(folder.path()).unwrap();
        let mut store = Store::open(folder.path()).unwrap();
        timed(&mut store, 10_000, 100, is_long);
        drop(store);
        let began = clock.now();
        let mut store = Store::open(folder.path()).unwrap();
        let opened = clock.now();
        let mut count = 0_u32;
        store
            .each_binding(|_, binding| {
                std::hint::black_box(&binding);
                count += 1;
            })
            .unwrap();
        let size = fs::metadata(folder.path().join(FILE)).unwrap().len();
        say(&format!(
            "{name}: {count} rows, {} bytes a row, opened in {:?}, loaded in {:?}",
            size / u64::from(count),
            opened - began,
            clock.now() - opened
        ));
    }
}
