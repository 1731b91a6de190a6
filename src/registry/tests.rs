//! The registry over a real store in a folder of its own.

use std::path::Path;
use std::sync::Mutex;

use numbering::{AppId, Axb, Mode, Number, SubscriptionId};

use super::*;
use crate::config;
use crate::store::{PromptRow, PromptState};

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
    table: numbering::Table,
    told: Arc<Mutex<Vec<Arc<Settings>>>>,
}

fn run(dir: &Path, text: &str) -> Running {
    run_on(Store::open(dir).unwrap(), text)
}

fn run_on(store: Store, text: &str) -> Running {
    let clock = Clock::start();
    let (bindings, table) = Bindings::new(numbering::Limits::default());
    let opened = Opened::read(store, file(text), bindings, clock, 7).unwrap();
    let told = Arc::new(Mutex::new(vec![Arc::new(opened.settings.clone())]));
    let tell = Arc::clone(&told);
    let apply = Box::new(move |settings| tell.lock().unwrap().push(settings));
    let (registry, keeper) = opened.spawn(clock, apply).unwrap();
    Running { registry, keeper, table, told }
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
