//! The registry over a real store in a folder of its own.

use std::path::Path;
use std::sync::Mutex;

use crossbeam_channel::bounded as channel;
use numbering::{
    AppId, Axb, Axe, Decision, Extension, LastCaller, Mode, Number, Party, Refusal, SubscriptionId, Table,
};

use super::*;
use crate::config;
use crate::store::{PromptRow, PromptState, sqlite};

const FILE: &str = r#"
[sip]
listen = ["udp:127.0.0.1:5060"]
[media]
bind = "127.0.0.1"
[[trunk]]
name = "carrier"
sources = ["192.0.2.1"]
targets = ["udp:192.0.2.1:5060"]
[[app]]
name = "shop"
require_hint_tone = false
cool_off = "0s"
[[number]]
x = "+8675512340001"
app = "shop"
[[number]]
x = "+8675512340002"
app = "shop"
"#;

fn number(text: &str) -> Number {
    Number::parse(text).unwrap()
}

/// A mobile.
fn m(n: u64) -> Number {
    Number::from_u64(8_613_800_000_000 + n).unwrap()
}

fn x(n: u64) -> Number {
    Number::from_u64(8_675_512_340_000 + n).unwrap()
}

fn file(text: &str) -> File {
    config::parse(text, Path::new("c.toml")).unwrap_or_else(|complaints| panic!("{complaints:?}")).into_file()
}

/// A registry that runs, and what it has told calls.
struct Running {
    registry: Registry,
    keeper: Keeper,
    callers: Callers,
    table: Table,
    told: Arc<Mutex<Vec<Arc<Settings>>>>,
}

fn run(dir: &Path, text: &str) -> Running {
    run_on(Store::open(dir).unwrap(), text)
}

fn run_on(store: Store, text: &str) -> Running {
    run_with(store, file(text))
}

fn run_with(store: Store, file: File) -> Running {
    let clock = Clock::start();
    let (bindings, table) = Bindings::new(numbering::Limits::default());
    let opened = Opened::read(store, file, bindings, clock, 7).unwrap();
    let callers = opened.callers();
    let told = Arc::new(Mutex::new(vec![Arc::new(opened.settings.clone())]));
    let tell = Arc::clone(&told);
    let apply = Box::new(move |settings| tell.lock().unwrap().push(settings));
    let (registry, keeper) = opened.spawn(clock, apply).unwrap();
    Running { registry, keeper, callers, table, told }
}

impl Running {
    fn work<T: Send + 'static>(&self, work: impl FnOnce(&mut Books) -> T + Send + 'static) -> T {
        self.registry.transact_blocking(work).unwrap()
    }

    fn bind(&self, a: Number, x: Number, b: Number) -> Result<SubscriptionId, BindError> {
        self.work(move |books| {
            let id = books.new_id();
            let app = books.accounts().named("shop").unwrap().id;
            books.bindings.bind(Binding::Axb(Axb::new(id, app, a, x, b))).map(|()| id)
        })
    }

    fn settings(&self) -> Arc<Settings> {
        Arc::clone(self.told.lock().unwrap().last().unwrap())
    }

    fn end(self) {
        drop(self.registry);
        self.keeper.finish();
    }
}

#[test]
fn what_is_acknowledged_is_there_after_a_restart_and_what_has_ended_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let running = run(dir.path(), FILE);
    let kept = running.bind(m(1), x(1), m(2)).unwrap();
    let gone = running.bind(m(3), x(1), m(4)).unwrap();
    assert_eq!(running.bind(m(2), x(1), m(9)), Err(BindError::NumberTaken(m(2))));
    running.work(move |books| books.bindings.unbind(gone)).unwrap();
    let moved = running.work(move |books| {
        books.bindings.modify(kept, |binding| {
            if let Binding::Axb(axb) = binding {
                axb.b = m(5);
            }
        })
    });
    assert_eq!(running.table.len(), 1);
    running.end();

    let running = run(dir.path(), FILE);
    assert_eq!(running.table.binding(x(1), m(5)).map(|(binding, _)| binding), Some(moved.unwrap()));
    assert_eq!((running.table.len(), running.table.binding(x(1), m(3))), (1, None));
    // Names go on: a new one is not an old one.
    assert_ne!(running.bind(m(7), x(1), m(8)).unwrap(), kept);
    running.end();
}

#[test]
fn of_many_that_want_one_number_at_once_exactly_one_gets_it() {
    let dir = tempfile::tempdir().unwrap();
    let running = run(dir.path(), FILE);
    let won: Vec<bool> = std::thread::scope(|scope| {
        let running = &running;
        let all: Vec<_> = (0..16).map(|n| scope.spawn(move || running.bind(m(1), x(1), m(10 + n)).is_ok())).collect();
        all.into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    assert_eq!(won.iter().filter(|won| **won).count(), 1);
    running.end();
    assert_eq!(run(dir.path(), FILE).table.len(), 1);
}

#[test]
fn what_the_disk_does_not_take_has_not_happened() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    store.refuse_growth();
    let running = run_on(store, FILE);
    let mut refused = 0;
    for n in 0..20_000 {
        let result = running.registry.transact_blocking(move |books| {
            let app = books.accounts().named("shop").unwrap().id;
            let x = if n < 5_000 { x(1) } else { x(2) };
            let id = books.new_id();
            let text = "some words of the customer that take room ".repeat(5).into_boxed_str();
            let axb = Axb { user_text: Some(text), ..Axb::new(id, app, m(2 * n), x, m(2 * n + 1)) };
            books.bindings.bind(Binding::Axb(axb))
        });
        if result == Err(Unavailable) {
            refused = n;
            break;
        }
        result.unwrap().unwrap();
    }
    assert_ne!(refused, 0, "the disk takes everything");
    assert_eq!(running.table.len() as u64, refused);
    assert_eq!(running.table.binding(x(1), m(2 * refused)), None);
    // An app that the disk does not take is none either.
    let more = running.registry.transact_blocking(|books| {
        // More than the free pages hold.
        books.put_app(AppSettings { language: "z".repeat(1_000_000), ..AppSettings::new("more".into(), Mode::Ax) })
    });
    assert_eq!(more, Err(Unavailable));
    assert!(running.work(|books| books.accounts().named("more").is_none()));
    assert!(running.registry.accounts().named("more").is_none());
    assert_eq!(running.registry.counters().failed.load(Relaxed), 2);
    running.end();
    assert_eq!(run(dir.path(), FILE).table.len() as u64, refused);
}

#[test]
fn a_panic_ends_one_piece_of_work_and_leaves_nothing_of_it() {
    let dir = tempfile::tempdir().unwrap();
    let running = run(dir.path(), FILE);
    running.bind(m(1), x(1), m(2)).unwrap();
    let broken = running.registry.transact_blocking(|books| -> () {
        let app = books.accounts().named("shop").unwrap().id;
        let id = books.new_id();
        books.bindings.bind(Binding::Axb(Axb::new(id, app, m(3), x(1), m(4)))).unwrap();
        books.put_app(AppSettings::new("more".into(), Mode::Ax)).unwrap();
        panic!("on purpose");
    });
    assert_eq!(broken, Err(Unavailable));
    running.work(|books| assert_eq!(books.bindings.len(), 1));
    assert_eq!(running.table.len(), 1);
    assert!(running.work(|books| books.accounts().named("more").is_none()));
    running.bind(m(3), x(1), m(4)).unwrap();
    running.end();
    assert_eq!(run(dir.path(), FILE).table.len(), 2);
}

#[test]
fn bindings_of_the_file_live_beside_those_of_the_api_and_reload() {
    let dir = tempfile::tempdir().unwrap();
    let with = |a: &str, b: &str| format!("{FILE}\n[[binding]]\nx = \"+8675512340001\"\na = \"{a}\"\nb = \"{b}\"\n");
    let running = run(dir.path(), &with("+8613800000001", "+8613800000002"));
    running.bind(m(3), x(1), m(4)).unwrap();
    let of_file = running.table.binding(x(1), m(1)).unwrap().0.id();
    assert_eq!(running.work(move |books| books.bindings.unbind(of_file)), Err(BindError::Configured));
    // Another B in the file; the API's stays.
    let summary = running.registry.reload(file(&with("+8613800000001", "+8613800000009"))).unwrap();
    assert_eq!((summary.added, summary.removed), (1, 1));
    assert!(running.table.binding(x(1), m(9)).is_some() && running.table.binding(x(1), m(2)).is_none());
    assert!(running.table.binding(x(1), m(4)).is_some());
    // One that is in the API's way is not taken, nor is a file without an X that carries bindings of the API.
    let clash = file(&with("+8613800000003", "+8613800000005"));
    assert_eq!(running.registry.reload(clash), Err(ReloadError::Bindings(BindError::NumberTaken(m(3)))));
    let without = FILE.replace("[[number]]\nx = \"+8675512340001\"\napp = \"shop\"\n", "");
    assert_eq!(running.registry.reload(file(&without)), Err(ReloadError::Bindings(BindError::InUse)));
    assert_eq!(running.table.len(), 2);
    running.end();
    // Where the file has changed meanwhile, what was acknowledged goes first, and the rest of the file is served.
    let running = run(dir.path(), &with("+8613800000003", "+8613800000005"));
    assert!(running.table.binding(x(1), m(4)).is_some() && running.table.binding(x(1), m(5)).is_none());
    running.end();
    // An X that is gone from the file keeps its bindings in the store.
    let running = run(dir.path(), &without);
    assert_eq!((running.table.len(), running.registry.counters().parked.load(Relaxed)), (0, 1));
    running.end();
    assert_eq!(run(dir.path(), FILE).table.len(), 1);
}

#[test]
fn an_app_of_the_api_serves_at_once_and_after_a_restart_by_its_name() {
    let dir = tempfile::tempdir().unwrap();
    let running = run(dir.path(), FILE);
    let settings = AppSettings {
        secret: Some(crate::apps::Secret::new(b"s")),
        cool_off_seconds: 60,
        ..AppSettings::new("taxi".into(), Mode::Ax)
    };
    let shop = AppSettings::new("shop".into(), Mode::Axb);
    assert_eq!(running.work(|books| books.put_app(shop)), Err(AppError::Configured));
    let taxi = settings.clone();
    running.work(move |books| books.put_app(taxi)).unwrap();
    let toned = AppSettings { hint_tone: Some("ours.wav".into()), ..settings };
    let early = toned.clone();
    let unknown = Err(AppError::UnknownPrompt("ours.wav".into()));
    assert_eq!(running.work(move |books| books.put_app(early)), unknown, "nothing has been approved");
    let id = running.registry.accounts().named("taxi").unwrap().id;
    assert_eq!(id, AppId(1));
    let app =
        |running: &Running| running.settings().app(running.registry.accounts().named("taxi").unwrap().id).cloned();
    let prompt = |state| PromptRow {
        app: "taxi".into(),
        name: "ours.wav".into(),
        state,
        remark: String::new(),
        alaw: vec![0xd5; 800].into(),
        changed: 1,
    };
    running.work(move |books| books.put_prompt(prompt(PromptState::Submitted)));
    let early = toned.clone();
    assert_eq!(running.work(move |books| books.put_app(early)), unknown);
    running
        .work(move |books| {
            books.put_prompt(prompt(PromptState::Approved));
            books.put_app(toned)
        })
        .unwrap();
    assert_eq!(app(&running).unwrap().hint_tone.unwrap().alaw.len(), 800);
    assert_eq!(&*app(&running).unwrap().prompts.busy.unwrap().name, "zh/busy.wav");
    running.work(move |books| books.bindings.add_number(VirtualNumber::new(x(7), id, None))).unwrap();
    assert_eq!(running.work(|books| books.remove_app("taxi")), Err(AppError::InUse));
    running.end();

    // Another app stands before it in the file now: its place is another one, its number is its own.
    let more = format!("{FILE}\n[[app]]\nname = \"first\"\n");
    let running = run(dir.path(), &more);
    let account = Arc::clone(running.registry.accounts().named("taxi").unwrap());
    assert_eq!((account.id, account.rules.cool_off, account.rules.mode), (AppId(2), 60_000, Mode::Ax));
    assert_eq!(running.table.virtual_number(x(7)).unwrap().app, account.id);
    assert_eq!(app(&running).unwrap().hint_tone.unwrap().alaw.len(), 800);
    // A file that takes its name is not taken.
    let taken = file(&format!("{FILE}\n[[app]]\nname = \"taxi\"\n"));
    assert_eq!(running.registry.reload(taken), Err(ReloadError::App("taxi".into())));
    running.work(|books| books.bindings.remove_number(number("+8675512340007"))).unwrap();
    running.work(|books| books.remove_app("taxi")).unwrap();
    assert!(running.registry.accounts().named("taxi").is_none());
    running.end();
    let running = run(dir.path(), FILE);
    assert!(running.registry.accounts().named("taxi").is_none() && running.table.virtual_number(x(7)).is_none());
    assert_eq!(running.work(|books| books.prompts("taxi").count()), 0);
    running.end();
}

#[test]
fn what_an_app_of_the_api_says_of_calls_to_extensions_reaches_calls_and_outlives_a_restart() {
    use b2bua::settings::SecondCall;
    let dir = tempfile::tempdir().unwrap();
    let running = run(dir.path(), FILE);
    let mut desks = AppSettings::new("desks".into(), Mode::Axe);
    desks.language = "en".into();
    desks.second_call = Some(SecondCall::Refuse);
    desks.call_back_number = Some(m(9));
    desks.prompts =
        [("no_call_back".to_owned(), "zh/busy.wav".to_owned()), ("empty_extension".to_owned(), String::new())].into();
    running.work(move |books| books.put_app(desks)).unwrap();
    running.work(|books| books.put_app(AppSettings::new("one".into(), Mode::Ax))).unwrap();
    let check = |running: &Running| {
        let account = |name| Arc::clone(running.registry.accounts().named(name).unwrap());
        let app = |name| running.settings().app(account(name).id).cloned().unwrap();
        assert_eq!(account("desks").rules.call_back, Some(m(9)));
        let name = |prompt: Option<Arc<media::Prompt>>| prompt.map(|prompt| prompt.name.to_string());
        let (desks, one) = (app("desks"), app("one"));
        assert_eq!((desks.second_call, one.second_call), (SecondCall::Refuse, SecondCall::Refuse));
        assert_eq!(name(desks.prompts.enter_extension).as_deref(), Some("en/enter_extension.wav"));
        assert_eq!(name(desks.prompts.wrong_extension).as_deref(), Some("en/wrong_extension.wav"));
        assert_eq!(name(desks.prompts.empty_extension), None);
        assert_eq!(name(desks.prompts.no_call_back).as_deref(), Some("zh/busy.wav"));
        assert_eq!(name(one.prompts.no_callee).as_deref(), Some("zh/no_callee.wav"));
    };
    check(&running);
    // What the file says of its own is taken by a reload, and leaves these alone.
    let more = FILE.replace("name = \"shop\"", "name = \"shop\"\nsecond_call = \"refuse\"");
    assert_ne!(more, FILE);
    running.registry.reload(file(&more)).unwrap();
    let shop = running.registry.accounts().named("shop").unwrap().id;
    assert_eq!(running.settings().app(shop).unwrap().second_call, SecondCall::Refuse);
    check(&running);
    running.end();
    let running = run(dir.path(), FILE);
    check(&running);
    running.end();
}

#[test]
fn what_has_run_out_while_nothing_ran_is_not_taken_up_again() {
    let dir = tempfile::tempdir().unwrap();
    let running = run(dir.path(), FILE);
    running.work(|books| {
        let app = books.accounts().named("shop").unwrap().id;
        for (n, ends) in [(1, 1), (2, u64::MAX / 2)] {
            let id = books.new_id();
            let axb = Axb { duration: 1, ends, ..Axb::new(id, app, m(2 * n), x(1), m(2 * n + 1)) };
            books.bindings.bind(Binding::Axb(axb)).unwrap();
        }
    });
    // The one that ended in 1970 goes with the next turn, whatever that is about.
    running.work(|books| assert_eq!(books.bindings.len(), 1));
    assert_eq!(running.registry.counters().expired.load(Relaxed), 1);
    running.end();
    let running = run(dir.path(), FILE);
    assert_eq!((running.table.len(), running.registry.counters().expired.load(Relaxed)), (1, 0));
    running.end();
}

// ---- who called A by an extension -----------------------------------------------------------------------------

/// An app with extensions beside the shop, with one X.
fn desks() -> String {
    format!(
        "{FILE}\n[[app]]\nname = \"desks\"\nmode = \"axe\"\nextension_width = 3\nrequire_hint_tone = false\n\
         [[number]]\nx = \"+8675512340007\"\napp = \"desks\"\n"
    )
}

impl Running {
    /// Binds A to X 7 with this extension.
    fn extend(&self, a: Number, value: u16) -> SubscriptionId {
        self.work(move |books| {
            let id = books.new_id();
            let app = books.accounts().named("desks").unwrap().id;
            let axe = Axe::new(id, app, a, x(7), Extension::new(3, value).unwrap());
            books.bindings.bind(Binding::Axe(Box::new(axe))).map(|()| id)
        })
        .unwrap()
    }

    /// What the loop does when somebody calls, and a little later.
    fn called(&mut self, id: SubscriptionId, a: Number, caller: Number) {
        self.callers.note(id, a, LastCaller { number: caller, at: 1 });
        self.callers.hand_over();
    }

    /// Whom A reaches by X 7.
    fn calls_back(&self, a: Number) -> Option<Number> {
        whom(&self.table, a)
    }

    /// Occupies the registry until the answer is dropped or sent to.
    fn occupy(&self) -> Sender<()> {
        let (release, released) = channel::<()>(1);
        let (begun, begins) = channel::<()>(1);
        let work = move |_: &mut Books| {
            begun.send(()).unwrap();
            let _ = released.recv();
        };
        let (work, _) = with_answer(work);
        self.registry.try_order(Order::Alone(work)).unwrap();
        begins.recv().unwrap();
        release
    }

    fn count(&self, counter: fn(&Counters) -> &AtomicU64) -> u64 {
        counter(self.registry.counters()).load(Relaxed)
    }
}

fn whom(table: &Table, a: Number) -> Option<Number> {
    match table.decide(x(7), Some(a)) {
        Decision::Connect { caller: Party::A, callee, .. } => Some(callee),
        Decision::Refuse { refusal: Refusal::NoCallBack, .. } | Decision::Ask { .. } => None,
        other @ (Decision::Connect { .. } | Decision::Refuse { .. }) => panic!("{other:?}"),
    }
}

/// What a `kill -9` at this moment would leave: what the system has been given.
fn as_killed(dir: &Path) -> tempfile::TempDir {
    let copy = tempfile::tempdir().unwrap();
    for file in std::fs::read_dir(dir).unwrap() {
        let file = file.unwrap();
        std::fs::copy(file.path(), copy.path().join(file.file_name())).unwrap();
    }
    copy
}

#[test]
fn who_called_last_can_be_called_back_after_a_restart_and_after_a_kill() {
    let dir = tempfile::tempdir().unwrap();
    let mut running = run(dir.path(), &desks());
    let (first, second) = (running.extend(m(1), 1), running.extend(m(2), 2));
    running.called(first, m(1), m(50));
    running.called(second, m(2), m(60));
    running.called(first, m(1), m(51));
    // Behind the callers in the queue: when it is answered they have had their commit.
    running.work(|_| ());
    assert_eq!((running.calls_back(m(1)), running.calls_back(m(2))), (Some(m(51)), Some(m(60))));
    let killed = as_killed(dir.path());
    // Noted, and never handed over: that is lost with the process.
    running.callers.note(first, m(1), LastCaller { number: m(52), at: 2 });
    running.end();

    for dir in [killed.path(), dir.path()] {
        let mut running = run(dir, &desks());
        assert_eq!((running.calls_back(m(1)), running.calls_back(m(2))), (Some(m(51)), Some(m(60))));
        assert_eq!(running.count(|counters| &counters.parked), 0);
        running.called(first, m(1), m(53));
        // An unbind takes its callers along, from the disk too.
        running.work(move |books| books.bindings.unbind(second)).unwrap();
        let killed = as_killed(dir);
        running.end();
        let running = run(killed.path(), &desks());
        assert_eq!((running.calls_back(m(1)), running.calls_back(m(2)), running.table.len()), (Some(m(53)), None, 1));
        running.end();
    }
}

#[test]
fn thousands_of_callers_share_a_commit_with_each_other_and_with_the_work_beside_them() {
    let dir = tempfile::tempdir().unwrap();
    let mut running = run(dir.path(), &desks());
    let all: Vec<(SubscriptionId, Number)> =
        (1..=50).map(|n| (running.extend(m(n), u16::try_from(n).unwrap()), m(n))).collect();
    let before = running.count(|counters| &counters.commits);
    let release = running.occupy();
    for n in 0..5_000 {
        let (id, a) = all[n % all.len()];
        running.callers.note(id, a, LastCaller { number: m(1_000 + n as u64), at: n as u64 });
        if n % 500 == 499 {
            running.callers.hand_over();
        }
    }
    let binds: Vec<_> = (0..20)
        .map(|n| {
            let bind = move |books: &mut Books| {
                let id = books.new_id();
                let app = books.accounts().named("shop").unwrap().id;
                books.bindings.bind(Binding::Axb(Axb::new(id, app, m(2 * n), x(1), m(2 * n + 1))))
            };
            running.registry.order(bind).unwrap()
        })
        .collect();
    drop(release);
    for bind in binds {
        bind.blocking_recv().unwrap().unwrap().unwrap();
    }
    assert_eq!(running.count(|counters| &counters.commits), before + 1);
    // Ten times fifty: of those of one binding that were handed over together the last counts.
    assert_eq!(running.count(|counters| &counters.callers), 500);
    for (place, (_, a)) in all.iter().enumerate() {
        assert_eq!(running.calls_back(*a), Some(m(1_000 + 4_950 + place as u64)));
    }
    running.end();
    let running = run(dir.path(), &desks());
    assert_eq!(running.calls_back(m(50)), Some(m(1_000 + 4_999)));
    running.end();
}

#[test]
fn a_caller_who_comes_too_late_is_nobodys_and_one_too_many_is_counted() {
    let dir = tempfile::tempdir().unwrap();
    let mut running = run(dir.path(), &desks());
    let id = running.extend(m(1), 1);
    let gone = running.extend(m(2), 2);
    let give = move |books: &mut Books| {
        books.bindings.unbind(gone).unwrap();
        let change = |binding: &mut Binding| {
            if let Binding::Axe(axe) = binding {
                axe.a = m(3);
            }
        };
        books.bindings.modify(id, change).map(drop)
    };
    running.work(give).unwrap();
    // Their calls were on while the one was handed over and the other ended; the third is no number to be called.
    running.called(id, m(1), m(50));
    running.called(gone, m(2), m(50));
    running.called(id, m(3), number("+86110"));
    running.work(|_| ());
    assert_eq!((running.calls_back(m(1)), running.calls_back(m(3))), (None, None));
    let counts = |running: &Running| {
        let all: [fn(&Counters) -> &AtomicU64; 3] =
            [|counters| &counters.callers, |counters| &counters.callers_passed_over, |counters| &counters.callers_lost];
        all.map(|one| running.count(one))
    };
    assert_eq!(counts(&running), [0, 3, 0]);

    // A registry that has no room is asked again; what waits has a limit.
    let release = running.occupy();
    while running.registry.order(|_| ()).is_ok() {}
    running.called(id, m(3), m(51));
    assert_eq!(counts(&running), [0, 3, 0]);
    for n in 1..20_000 {
        running.callers.note(SubscriptionId(n), m(9), LastCaller { number: m(10), at: 1 });
    }
    let lost = counts(&running)[2];
    assert!((1_000..19_000).contains(&lost), "{lost}");
    // One that waits already is replaced all the same.
    running.callers.note(id, m(3), LastCaller { number: m(52), at: 2 });
    assert_eq!(counts(&running)[2], lost);
    drop(release);
    while running.registry.depth() > 0 {
        std::thread::yield_now();
    }
    running.callers.hand_over();
    running.work(|_| ());
    assert_eq!(running.calls_back(m(3)), Some(m(52)));
    assert_eq!(counts(&running), [1, 3 + 19_999 - lost, lost]);

    // Nobody is there any more.
    let Running { registry, keeper, mut callers, .. } = running;
    let counters = Arc::clone(registry.counters());
    drop(registry);
    keeper.finish();
    callers.note(id, m(3), LastCaller { number: m(53), at: 3 });
    callers.hand_over();
    assert_eq!(counters.callers_lost.load(Relaxed), lost + 1);
}

#[test]
fn a_disk_that_takes_no_callers_refuses_nobody_and_they_are_remembered_and_written_later() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    store.refuse_callers_above(20);
    let mut running = run_on(store, &desks());
    let all: Vec<(SubscriptionId, Number)> =
        (1..=10).map(|n| (running.extend(m(n), u16::try_from(n).unwrap()), m(n))).collect();
    let others: Vec<SubscriptionId> = (20..40).map(|n| running.bind(m(2 * n), x(1), m(2 * n + 1)).unwrap()).collect();
    for (id, a) in &all {
        running.callers.note(*id, *a, LastCaller { number: m(50), at: 1 });
    }
    // In one turn with a bind, which does not suffer from it.
    let commits = running.count(|counters| &counters.commits);
    let release = running.occupy();
    running.callers.hand_over();
    let bind = |books: &mut Books| {
        let id = books.new_id();
        let app = books.accounts().named("shop").unwrap().id;
        books.bindings.bind(Binding::Axb(Axb::new(id, app, m(98), x(1), m(99)))).map(|()| id)
    };
    let bound = running.registry.order(bind).unwrap();
    drop(release);
    let late = bound.blocking_recv().unwrap().unwrap().unwrap();
    let counted = (running.count(|counters| &counters.failed), running.count(|counters| &counters.commits));
    assert_eq!(counted, (1, commits + 1));
    assert!(all.iter().all(|(_, a)| running.calls_back(*a) == Some(m(50))), "they are remembered");
    let killed = as_killed(dir.path());
    // Room comes: they go with what is written later, at the latest at the end.
    running.work(move |books| others.into_iter().for_each(|id| drop(books.bindings.unbind(id).unwrap())));
    running.end();

    let back = |dir: &Path| {
        let running = run(dir, &desks());
        assert!(running.table.binding(x(1), m(98)).is_some_and(|(binding, _)| binding.id() == late));
        let back = all.iter().filter(|(_, a)| running.calls_back(*a) == Some(m(50))).count();
        let there = running.table.len();
        running.end();
        (back, there)
    };
    assert_eq!(back(killed.path()), (0, 31));
    assert_eq!(back(dir.path()), (10, 11));
}

#[test]
fn where_only_700_numbers_serve_the_others_stay_in_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let only = |only_700: bool| {
        let mut file = file(FILE);
        file.base.only_700 = only_700;
        file
    };
    let running = run(dir.path(), FILE);
    let app = running.registry.accounts().named("shop").unwrap().id;
    let add = move |n: u64| move |books: &mut Books| books.bindings.add_number(VirtualNumber::new(x(n), app, None));
    running.work(add(8)).unwrap();
    running.bind(m(1), x(8), m(2)).unwrap();
    running.bind(m(1), x(1), m(2)).unwrap();
    running.end();

    let running = run_with(Store::open(dir.path()).unwrap(), only(true));
    assert_eq!((running.table.len(), running.count(|counters| &counters.parked)), (2, 0));
    let refusal = |running: &Running, x| match running.table.decide(x, Some(m(1))) {
        Decision::Refuse { refusal, .. } => Some(refusal),
        Decision::Connect { .. } | Decision::Ask { .. } => None,
    };
    for x in [x(1), x(8)] {
        assert_eq!(refusal(&running, x), Some(Refusal::NumberUnusable));
        assert_eq!(running.bind(m(3), x, m(4)), Err(BindError::Not700));
    }
    assert_eq!(running.work(add(9)), Err(BindError::Not700));
    // A new file says otherwise, and the next one so again; both at once for calls.
    running.registry.reload(only(false)).unwrap();
    assert_eq!((refusal(&running, x(1)), refusal(&running, x(8))), (None, None));
    running.work(add(9)).unwrap();
    running.registry.reload(only(true)).unwrap();
    assert_eq!(refusal(&running, x(8)), Some(Refusal::NumberUnusable));
    running.end();
    let running = run(dir.path(), FILE);
    assert_eq!((running.table.len(), refusal(&running, x(8))), (2, None));
    assert!(running.table.virtual_number(x(9)).is_some());
    running.end();
}

#[test]
fn rules_of_an_app_reach_calls_and_go_with_what_the_disk_does_not_take() {
    let dir = tempfile::tempdir().unwrap();
    let mut store = Store::open(dir.path()).unwrap();
    store.refuse_growth();
    let running = run_on(store, FILE);
    let width = |running: &Running| match running.table.decide(x(9), Some(m(1))) {
        Decision::Ask { width, .. } => Some(width),
        Decision::Connect { .. } | Decision::Refuse { .. } => None,
    };
    let put = |extension_width: u8, language: usize| {
        let settings = AppSettings {
            extension_width,
            // More than the free pages hold, at times.
            language: "z".repeat(language),
            ..AppSettings::new("desks".into(), Mode::Axe)
        };
        running.registry.transact_blocking(move |books| books.put_app(settings))
    };
    put(2, 2).unwrap().unwrap();
    let id = running.registry.accounts().named("desks").unwrap().id;
    running.work(move |books| books.bindings.add_number(VirtualNumber::new(x(9), id, None))).unwrap();
    assert_eq!(width(&running), Some(2));
    put(3, 2).unwrap().unwrap();
    assert_eq!(width(&running), Some(3));
    assert_eq!(put(4, 10_000_000), Err(Unavailable));
    assert_eq!(width(&running), Some(3));
    running.end();
    let running = run(dir.path(), FILE);
    assert_eq!(width(&running), Some(3));
    running.end();
}

#[test]
fn customers_are_told_what_becomes_of_their_x() {
    use crate::notify;

    let with_url = |text: &str| {
        let mut file = file(text);
        for account in &mut file.base.accounts {
            account.notify.number_url = Some("http://127.0.0.1:9/num".into());
        }
        file
    };
    let dir = tempfile::tempdir().unwrap();
    let (clock, (bindings, _)) = (Clock::start(), Bindings::new(numbering::Limits::default()));
    let mut opened = Opened::read(Store::open(dir.path()).unwrap(), with_url(FILE), bindings, clock, 7).unwrap();
    let (outbox, queue, thread) =
        Outbox::open(dir.path(), clock, opened.accounts(), notify::Limits::default()).unwrap();
    opened.tell(outbox.clone());
    let (registry, keeper) = opened.spawn(clock, Box::new(|_| {})).unwrap();
    let told = |count: u64| -> Vec<String> {
        for _ in 0..2000 {
            if outbox.counters().posted[3].load(Relaxed) >= count {
                break;
            }
            let _ = crossbeam_channel::after(Duration::from_millis(5)).recv();
        }
        let log = queue
            .log(&notify::LogQuery { limit: notify::PAGE, has_bodies: true, ..notify::LogQuery::default() })
            .unwrap();
        log.into_iter().rev().map(|delivery| delivery.body.unwrap()).collect()
    };
    let with = |state| VirtualNumber { state, ..VirtualNumber::new(x(3), AppId(0), None) };
    // What an app gets it is not told of; nor is what stays as it is.
    let add = registry.transact_blocking(move |books| {
        let shop = books.app_id("shop").unwrap();
        books.bindings.add_number(VirtualNumber { app: shop, ..with(NumberState::Normal) })
    });
    assert_eq!(add, Ok(Ok(())));
    for state in [NumberState::Normal, NumberState::Frozen] {
        let change = registry.transact_blocking(move |books| books.bindings.change_number(with(state)));
        assert_eq!(change, Ok(Ok(())));
    }
    assert_eq!(told(1), [r#"{"number":"+8675512340003","status":11}"#]);
    assert_eq!(registry.transact_blocking(|books| books.bindings.remove_number(x(3))), Ok(Ok(())));
    // The operator's file says what it likes of its own.
    let file = FILE
        .replace("x = \"+8675512340001\"", "x = \"+8675512340001\"\nstate = \"suspended\"")
        .replace("[[number]]\nx = \"+8675512340002\"\napp = \"shop\"\n", "");
    registry.reload(with_url(&file)).unwrap();
    registry.reload(with_url(&file)).unwrap();
    let expected = [
        r#"{"number":"+8675512340003","status":11}"#,
        r#"{"number":"+8675512340003","status":10,"cause":1}"#,
        r#"{"number":"+8675512340001","status":9},{"number":"+8675512340002","status":10,"cause":1}"#,
    ];
    assert_eq!(told(3), expected);
    drop(registry);
    keeper.finish();
    drop((outbox, queue));
    thread.join().unwrap();
}

/// A registry that tells.
struct Telling {
    registry: Registry,
    keeper: Keeper,
    outbox: Outbox,
    thread: JoinHandle<()>,
}

impl Telling {
    fn start(store: &Path, outbox: &Path, file: File, apply: Apply) -> Telling {
        let (clock, (bindings, _)) = (Clock::start(), Bindings::new(numbering::Limits::default()));
        let mut opened = Opened::read(Store::open(store).unwrap(), file, bindings, clock, 7).unwrap();
        let limits = crate::notify::Limits::default();
        let (outbox, _, thread) = Outbox::open(outbox, clock, opened.accounts(), limits).unwrap();
        opened.tell(outbox.clone());
        let (registry, keeper) = opened.spawn(clock, apply).unwrap();
        Telling { registry, keeper, outbox, thread }
    }

    fn end(self) {
        let Telling { registry, keeper, outbox, thread } = self;
        drop(registry);
        keeper.finish();
        drop(outbox);
        thread.join().unwrap();
    }
}

/// The shop is told what becomes of its X.
fn file_with_url() -> File {
    let mut file = file(FILE);
    file.base.accounts[0].notify.number_url = Some("http://127.0.0.1:9/num".into());
    file
}

/// An X of the API's in the shop.
fn of_shop(books: &Books, state: NumberState) -> VirtualNumber {
    let shop = books.app_id("shop").unwrap();
    VirtualNumber { state, ..VirtualNumber::new(x(3), shop, None) }
}

/// All that an outbox has ever been given: ids and bodies, in their order.
fn told_in(outbox: &Path) -> Vec<(String, String)> {
    let connection = sqlite::open_to_read(&outbox.join("outbox.db")).unwrap();
    let mut rows = connection.prepare("SELECT notice_id, body FROM notices ORDER BY id").unwrap();
    let all = rows.query_map([], |row| Ok((row.get(0)?, row.get(1)?))).unwrap();
    all.map(Result::unwrap).collect()
}

fn untold_in(store: &Path) -> Vec<(String, String)> {
    let rows = Store::open(store).unwrap().load_untold().unwrap().rows;
    rows.into_iter().map(|notice| (notice.id, notice.body)).collect()
}

/// What a crash would leave of a store now.
fn copy(from: &Path, to: &Path) {
    for name in ["axbridge.db", "axbridge.db-wal"].into_iter().filter(|name| from.join(name).exists()) {
        std::fs::copy(from.join(name), to.join(name)).unwrap();
    }
}

#[test]
fn what_a_crash_keeps_from_being_told_is_told_at_the_next_start_and_once() {
    let folders: [_; 7] = std::array::from_fn(|_| tempfile::tempdir().unwrap());
    let [store, outbox, crashed, second, third, fourth, other_outbox] = folders.each_ref().map(|dir| dir.path());
    // Calls hear of a new app when the disk has the turn that made it, and before anybody is told what else happened in it.
    let (from, to) = (store.to_owned(), crashed.to_owned());
    let telling = Telling::start(store, outbox, file_with_url(), Box::new(move |_| copy(&from, &to)));
    let added = telling.registry.transact_blocking(|books| {
        let number = of_shop(books, NumberState::Normal);
        books.bindings.add_number(number)
    });
    assert_eq!(added, Ok(Ok(())));
    let frozen = telling.registry.transact_blocking(|books| {
        books.put_app(AppSettings::new("new".to_owned(), Mode::Axb)).unwrap();
        let number = of_shop(books, NumberState::Frozen);
        books.bindings.change_number(number)
    });
    assert_eq!(frozen, Ok(Ok(())));
    // It goes from the store by itself: nothing else has to happen.
    let reader = sqlite::open_to_read(&store.join("axbridge.db")).unwrap();
    let untold = || reader.query_row("SELECT count(*) FROM untold", [], |row| row.get::<_, u32>(0)).unwrap();
    for _ in 0..2_000 {
        if untold() == 0 {
            break;
        }
        let _ = crossbeam_channel::after(Duration::from_millis(5)).recv();
    }
    assert_eq!(untold(), 0);
    telling.end();
    let told = told_in(outbox);
    let bodies: Vec<&str> = told.iter().map(|(_, body)| &**body).collect();
    assert_eq!(bodies, [r#"{"number":"+8675512340003","status":11}"#]);

    for copied in [second, third, fourth] {
        copy(crashed, copied);
    }
    assert_eq!(untold_in(crashed), told, "written down with what it tells, under the same id");
    // The outbox of one that crashed before it told, and crashed so again; and that of one that crashed right afterwards.
    for (store, outbox) in [(crashed, other_outbox), (second, other_outbox), (third, outbox)] {
        Telling::start(store, outbox, file_with_url(), Box::new(|_| {})).end();
        assert_eq!(told_in(outbox), told);
        assert_eq!(untold_in(store), []);
    }
    // An app that has no URL any more is told nothing, neither now nor later.
    for file in [file(FILE), file_with_url()] {
        let empty = tempfile::tempdir().unwrap();
        Telling::start(fourth, empty.path(), file, Box::new(|_| {})).end();
        assert_eq!((told_in(empty.path()), untold_in(fourth)), (vec![], vec![]));
    }
}

#[test]
fn what_a_panic_keeps_from_being_told_is_told_with_the_next_turn() {
    let dir = tempfile::tempdir().unwrap();
    let telling = Telling::start(dir.path(), dir.path(), file_with_url(), Box::new(|_| panic!("as a test wants it")));
    let added = telling.registry.transact_blocking(|books| {
        let number = of_shop(books, NumberState::Normal);
        books.bindings.add_number(number)
    });
    assert_eq!(added, Ok(Ok(())));
    let lost = telling.registry.transact_blocking(|books| {
        books.put_app(AppSettings::new("new".to_owned(), Mode::Axb)).unwrap();
        let number = of_shop(books, NumberState::Frozen);
        books.bindings.change_number(number)
    });
    assert_eq!(lost, Err(Unavailable), "the disk has it, but the turn has not come to its end");
    let more = telling.registry.transact_blocking(|books| {
        let number = of_shop(books, NumberState::Normal);
        books.bindings.change_number(number)
    });
    assert_eq!(more, Ok(Ok(())));
    telling.end();
    let bodies: Vec<String> = told_in(dir.path()).into_iter().map(|(_, body)| body).collect();
    let expected = [11, 5].map(|status| format!(r#"{{"number":"+8675512340003","status":{status}}}"#));
    assert_eq!((bodies, untold_in(dir.path())), (expected.to_vec(), vec![]));
}
