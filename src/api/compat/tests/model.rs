//! Random programs of calls of three apps, against a model that is a list of rows and a walk through it.
//!
//! The model says which code an answer has and what stands in the table afterwards. Where the platform chooses (an X, an
//! extension) the model says which choices are right and takes the one that was made; that the least loaded X is chosen, too.

use std::collections::BTreeMap;

use numbering::Extension;

use super::super::{ax, axb, axe};
use super::*;

/// A number below `below`.
pub(super) fn random(seed: &mut u64, below: u64) -> u64 {
    *seed = seed.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *seed;
    z = (z ^ z >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ z >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ z >> 31) % below
}

/// What the model knows of a binding.
#[derive(Clone, PartialEq, Debug)]
struct Row {
    app: AppId,
    x: Number,
    a: Number,
    /// Of AXB.
    b: Option<Number>,
    /// Of AXE.
    e: Option<String>,
    /// In seconds from [`START`]; `None`: never.
    ends: Option<u64>,
    minutes: u64,
    /// Of AX: whom A reaches, until when.
    callee: Option<(Number, u64)>,
}

/// Rows by their names, in the order of their making.
#[derive(Default)]
struct Model {
    rows: BTreeMap<String, Row>,
    now: u64,
}

impl Model {
    fn advance(&mut self, seconds: u64) {
        self.now += seconds;
        self.rows.retain(|_, row| row.ends.is_none_or(|ends| ends > self.now));
        for row in self.rows.values_mut() {
            row.callee = row.callee.filter(|(_, ends)| *ends > self.now);
        }
    }

    fn load(&self, x: Number) -> usize {
        self.rows.values().filter(|row| row.x == x).count()
    }

    fn has(&self, x: Number, party: Number, but: &str) -> bool {
        let own = |row: &Row| row.x == x && (row.a == party || row.b == Some(party));
        self.rows.iter().any(|(name, row)| name != but && own(row))
    }

    /// What stands in the way of a row.
    fn verdict(&self, row: &Row, but: &str) -> Code {
        let others =
            || self.rows.iter().filter(|(name, other)| *name != but && other.x == row.x).map(|(_, other)| other);
        match row.app {
            AXB if row.b == Some(row.a) => Code::InvalidRequest,
            AXB if self.has(row.x, row.a, but) || self.has(row.x, row.b.unwrap(), but) => Code::Bound,
            AX if row.callee.is_some_and(|(callee, _)| callee == row.a) => Code::InvalidRequest,
            AX if others().any(|other| other.a == row.a) => Code::Exists,
            AX if others().next().is_some() => Code::XTaken,
            AX => {
                let held = self.rows.iter().filter(|(name, other)| *name != but && other.app == AX && other.a == row.a);
                if held.count() >= 5 { Code::TooManyX } else { Code::Success }
            }
            AXE if others().any(|other| other.e == row.e) => Code::Bound,
            _ => Code::Success,
        }
    }

    /// The X that may be chosen: of these the least loaded on which nothing stands in the way.
    fn choices(&self, row: &Row, pool: &[Number]) -> Vec<Number> {
        let is_free = |x: Number| match row.app {
            AXB => !self.has(x, row.a, "") && !self.has(x, row.b.unwrap(), ""),
            AX => self.load(x) == 0,
            _ if row.e.is_some() => !self.rows.values().any(|other| other.x == x && other.e == row.e),
            _ => self.load(x) < 99,
        };
        let free: Vec<Number> = pool.iter().copied().filter(|x| is_free(*x)).collect();
        let least = free.iter().map(|x| self.load(*x)).min();
        free.into_iter().filter(|x| Some(self.load(*x)) == least).collect()
    }
}

/// A random program.
struct Program {
    seed: u64,
    desk: Desk,
    model: Model,
}

impl Program {
    fn roll(&mut self, below: u64) -> u64 {
        random(&mut self.seed, below)
    }

    fn party(&mut self) -> Number {
        let n = self.roll(9);
        m(n)
    }

    /// The name of a row of an app, or one that nobody has.
    fn name(&mut self, app: AppId) -> String {
        let names: Vec<String> =
            self.model.rows.iter().filter(|(_, row)| row.app == app).map(|(name, _)| name.clone()).collect();
        match self.roll(names.len() as u64 + 1) as usize {
            place if place < names.len() => names[place].clone(),
            _ => SubscriptionId(7).to_string(),
        }
    }

    fn bind(&mut self, app: AppId) {
        let mut row =
            Row { app, x: x(app, 0), a: self.party(), b: None, e: None, ends: None, minutes: 0, callee: None };
        let (operation, a_name, x_name): (Operation, _, _) = match app {
            AXB => (axb::bind, "callerNum", "relationNum"),
            AX => (ax::bind, "origNum", "privateNum"),
            _ => (axe::bind, "bindNum", "virtualNum"),
        };
        let mut body = json!({a_name: text(row.a)});
        if app == AXB {
            let b = self.party();
            row.b = Some(b);
            body["calleeNum"] = json!(text(b));
        }
        if app == AXE && self.roll(2) == 0 {
            let e = format!("{:02}", self.roll(4) + 1);
            body["extendNum"] = json!(e);
            row.e = Some(e);
        }
        if app != AXE {
            row.minutes = self.roll(3);
            body["maxDuration"] = json!(row.minutes);
        }
        let seconds = self.roll(3) * 3_600;
        if app != AX {
            let (name, value) = if app == AXB { ("duration", seconds) } else { ("bindExpiredTime", seconds / 3_600) };
            body[name] = json!(value);
            row.ends = (seconds != 0).then_some(self.model.now + seconds);
        }
        let named = match self.roll(3) {
            0 => None,
            1 => Some(x(OTHER_AXB, 0)),
            _ => Some(x(app, self.seed % 3)),
        };
        // The pool of a wish: a named area, or all.
        let shenzhen = self.roll(3) == 0;
        let last = if app == AX { 8 } else { 3 };
        let pool: Vec<Number> = (0..last).filter(|place| !shenzhen || *place < 2).map(|place| x(app, place)).collect();
        if shenzhen {
            body["areaCode"] = json!("0755");
            body["privateNumType"] = json!("mobile-virtual");
        }
        if let Some(named) = named {
            body[x_name] = json!(text(named));
        }
        let choices = match named {
            Some(named) => vec![named],
            None => self.model.choices(&row, &pool),
        };
        let foreign = if app == AX { Code::NoAccount } else { Code::NoX };
        let none_free = if app == AX { Code::NoneFreeAx } else { Code::NoneFree };
        let answer = self.desk.call(app, operation, body.clone());
        if let Ok(reply) = &answer {
            row.x = Number::parse(word(reply, x_name)).unwrap();
            assert!(choices.contains(&row.x), "{body} chose {}", row.x);
            if app == AXE && row.e.is_none() {
                row.e = Some(word(reply, "extendNum").to_owned());
                Extension::parse(word(reply, "extendNum")).unwrap();
            }
        } else {
            row.x = choices.first().copied().unwrap_or(row.x);
        }
        let expected = match () {
            () if app == AXB && row.b == Some(row.a) => Code::InvalidRequest,
            () if named == Some(x(OTHER_AXB, 0)) => foreign,
            () if choices.is_empty() => none_free,
            () => self.model.verdict(&row, ""),
        };
        assert_eq!(code(&answer), expected, "{body}");
        if let Ok(reply) = answer {
            self.model.rows.insert(word(&reply, "subscriptionId").to_owned(), row);
        }
    }

    fn modify(&mut self, app: AppId) {
        let name = self.name(app);
        let mut body = json!({"subscriptionId": name});
        let old = self.model.rows.get(&name).cloned();
        let mut new = old.clone();
        let (operation, a_name): (Operation, _) = match app {
            AXB => (axb::modify, "callerNum"),
            AX => (ax::modify, "origNum"),
            _ => (axe::modify, "bindNum"),
        };
        if self.roll(2) == 0 {
            let a = self.party();
            body[a_name] = json!(text(a));
            new.iter_mut().for_each(|row| row.a = a);
        }
        if app == AXB && self.roll(2) == 0 {
            let b = self.party();
            body["calleeNum"] = json!(text(b));
            new.iter_mut().for_each(|row| row.b = Some(b));
        }
        if app != AXE && self.roll(2) == 0 {
            let minutes = self.roll(5);
            body["maxDuration"] = json!(minutes);
            new.iter_mut().for_each(|row| row.minutes = minutes);
        }
        if app != AX && self.roll(2) == 0 {
            let hours = self.roll(4);
            let (name, value) = if app == AXB { ("duration", hours * 3_600) } else { ("bindExpiredTime", hours) };
            body[name] = json!(value);
            let ends = (hours != 0).then_some(self.model.now + hours * 3_600);
            new.iter_mut().for_each(|row| row.ends = ends);
        }
        let not_found = if app == AXB { Code::NoRecord } else { Code::NoBinding };
        let expected = new.as_ref().map_or(not_found, |new| self.model.verdict(new, &name));
        assert_eq!(self.desk.code(app, operation, body.clone()), expected, "{body}");
        if expected == Code::Success {
            self.model.rows.insert(name, new.unwrap());
        }
    }

    fn set_temporary(&mut self) {
        let (name, callee, seconds) = (self.name(AX), self.party(), self.roll(3) * 1_800);
        let body = json!({"subscriptionId": name, "calleeNum": text(callee), "duration": seconds});
        let life = if seconds == 0 { 60 } else { seconds };
        let mut new = self.model.rows.get(&name).cloned();
        new.iter_mut().for_each(|row| row.callee = Some((callee, self.model.now + life)));
        let expected = match &new {
            None => Code::NoBinding,
            Some(row) if row.a == callee => Code::InvalidRequest,
            Some(_) => Code::Success,
        };
        assert_eq!(self.desk.code(AX, ax::set_temporary, body.clone()), expected, "{body}");
        if expected == Code::Success {
            self.model.rows.insert(name, new.unwrap());
        }
    }

    fn unbind(&mut self, app: AppId) {
        let (operation, not_found): (Operation, _) = match app {
            AXB => (axb::unbind, Code::NoRecord),
            AX => (ax::unbind, Code::NoAxToUnbind),
            _ => (axe::unbind, Code::NoBinding),
        };
        if app == AXB && self.roll(6) == 0 {
            let x = x(AXB, self.seed % 3);
            let expected = if self.model.load(x) == 0 { Code::NoX } else { Code::Success };
            assert_eq!(self.desk.code(AXB, operation, json!({"relationNum": text(x)})), expected);
            self.model.rows.retain(|_, row| row.x != x);
            return;
        }
        let name = self.name(app);
        // Another app learns nothing, and ends nothing.
        let stranger = AppId(app.0 + 1);
        assert_eq!(self.desk.code(stranger, operation, json!({"subscriptionId": name})), not_found);
        let expected = if self.model.rows.remove(&name).is_some() { Code::Success } else { not_found };
        assert_eq!(self.desk.code(app, operation, json!({"subscriptionId": name})), expected);
    }

    fn advance(&mut self) {
        let seconds = self.roll(2_000);
        self.desk.advance(seconds);
        self.model.advance(seconds);
    }

    /// The table is the model's.
    fn compare(&self) {
        let seconds = |ends: u64| (ends - START) / 1000;
        let told = self.desk.all().into_iter().map(|binding| {
            let (b, e, callee) = match &*binding {
                Binding::Axb(axb) => (Some(axb.b), None, None),
                Binding::Ax(ax) => (None, None, ax.temporary.as_ref().map(|t| (t.callee, seconds(t.ends)))),
                Binding::Axe(axe) => (None, Some(axe.extension.to_string()), None),
            };
            let row = Row {
                app: binding.app(),
                x: binding.x(),
                a: binding.a(),
                b,
                e,
                ends: binding.ends().map(seconds),
                minutes: u64::from(binding.max_minutes()),
                callee,
            };
            (binding.id().to_string(), row)
        });
        assert_eq!(told.collect::<BTreeMap<_, _>>(), self.model.rows);
    }
}

#[test]
fn random_programs_give_the_codes_and_the_table_of_the_model() {
    let mut bound = 0;
    for seed in 0..200 {
        let mut program = Program { seed, desk: Desk::new(), model: Model::default() };
        for n in 3..8 {
            let number = VirtualNumber::new(x(AX, n), AX, None);
            program.desk.books.bindings.add_number(VirtualNumber { area: None, ..number }).unwrap();
        }
        for _ in 0..150 {
            let app = [AXB, AX, AXE][program.roll(3) as usize];
            match program.roll(10) {
                0..=4 => program.bind(app),
                5 | 6 => program.modify(app),
                7 => program.set_temporary(),
                8 => program.unbind(app),
                _ => program.advance(),
            }
            program.compare();
            bound += program.model.rows.len();
        }
    }
    assert!(bound > 200 * 150, "the programs do bind: {bound}");
}
