//! The database itself: who has it, what is written into it, what is read from it at a start.

use std::collections::HashMap;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::sync::Arc;

use numbering::{Binding, Number, VirtualNumber};
use rusqlite::{Connection, OptionalExtension, Row, Transaction, TransactionBehavior, params};

use super::rows::{self, Names};
use super::{AppRow, Change, PromptRow, PromptState, StoreError, audit, sqlite};
use crate::notify::{Channel, Notice};

/// The database's file.
pub(super) const FILE: &str = "axbridge.db";

/// Who holds the lock on this file has the store.
const LOCK: &str = "lock";

/// What stands in `untold` is told in the order of its places.
const MIGRATIONS: [&str; 2] = [
    "
    CREATE TABLE names (id INTEGER PRIMARY KEY, name TEXT NOT NULL UNIQUE) STRICT;
    CREATE TABLE bindings (
        id BLOB PRIMARY KEY, app INTEGER NOT NULL REFERENCES names, mode INTEGER NOT NULL, x INTEGER NOT NULL,
        a INTEGER NOT NULL, b INTEGER, ends INTEGER NOT NULL, terms TEXT
    ) STRICT, WITHOUT ROWID;
    CREATE TABLE numbers (
        number INTEGER PRIMARY KEY, app INTEGER NOT NULL REFERENCES names, trunk TEXT, area TEXT, state INTEGER NOT NULL
    ) STRICT;
    CREATE TABLE rests (number INTEGER PRIMARY KEY, until INTEGER NOT NULL) STRICT;
    CREATE TABLE apps (name TEXT PRIMARY KEY, settings TEXT NOT NULL) STRICT, WITHOUT ROWID;
    CREATE TABLE prompts (
        app TEXT NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL, remark TEXT NOT NULL, alaw BLOB NOT NULL,
        changed INTEGER NOT NULL, UNIQUE (app, name)
    ) STRICT;
    CREATE TABLE audit (
        id INTEGER PRIMARY KEY, at INTEGER NOT NULL, who TEXT NOT NULL, origin TEXT NOT NULL, action TEXT NOT NULL,
        status INTEGER NOT NULL, detail TEXT NOT NULL
    ) STRICT;
    CREATE TABLE meta (name TEXT PRIMARY KEY, value BLOB NOT NULL) STRICT, WITHOUT ROWID;
    ",
    "
    CREATE TABLE untold (
        place INTEGER PRIMARY KEY, id TEXT NOT NULL UNIQUE, app TEXT NOT NULL, channel TEXT NOT NULL,
        session TEXT NOT NULL, created INTEGER NOT NULL, body TEXT NOT NULL
    ) STRICT;
    ",
];

/// Rows of a table that were read.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Loaded<T> {
    /// Those that make sense.
    pub rows: Vec<T>,
    /// How many do not: they are left out, and have been logged.
    pub bad: usize,
}

/// What has been acknowledged. One process has it, one thread writes it.
#[derive(Debug)]
pub struct Store {
    connection: Connection,
    /// Places of apps in `names`.
    apps: HashMap<Arc<str>, i64>,
    /// Held as long as the store is open.
    _lock: File,
}

impl Store {
    /// From now on its file grows no more, as on a full disk.
    #[cfg(test)]
    pub(crate) fn refuse_growth(&mut self) {
        self.connection.pragma_update(None, "max_page_count", 600).unwrap();
    }

    /// From now on it takes no callers while it has more bindings than that, as on a full disk that has room for less.
    #[cfg(test)]
    pub(crate) fn refuse_callers_above(&mut self, bindings: usize) {
        let sql = format!(
            "CREATE TEMP TRIGGER refused BEFORE INSERT ON main.bindings
             WHEN NEW.terms LIKE '%last_caller%' AND (SELECT count(*) FROM bindings) > {bindings}
             BEGIN SELECT raise(ABORT, 'no room'); END"
        );
        self.connection.execute_batch(&sql).unwrap();
    }

    /// Opens the store in this folder; makes both when they are not there.
    ///
    /// # Errors
    /// Another process has it, a newer axbridge has written it, or the folder or the database do not do.
    pub fn open(dir: &Path) -> Result<Store, StoreError> {
        sqlite::make_folder(dir)?;
        let lock = sqlite::lock(&dir.join(LOCK))?;
        let connection = sqlite::open(&dir.join(FILE), &MIGRATIONS)?;
        Ok(Store { connection, apps: HashMap::new(), _lock: lock })
    }

    /// Writes changes down, in their order, all or none; they are on the disk when this returns.
    ///
    /// # Errors
    /// The disk does not take them: nothing has changed then.
    pub fn commit(&mut self, changes: &[Change]) -> Result<(), StoreError> {
        let transaction = self.connection.transaction_with_behavior(TransactionBehavior::Immediate)?;
        let mut writer = Writer { transaction: &transaction, apps: &mut self.apps };
        let written = changes.iter().try_for_each(|change| writer.write(change));
        let committed = written.and_then(|()| transaction.commit());
        if committed.is_err() {
            // Some of these places may have gone with the transaction.
            self.apps.clear();
        }
        Ok(committed?)
    }

    /// Every application.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn load_apps(&mut self) -> Result<Loaded<AppRow>, StoreError> {
        self.load("apps", "SELECT name, settings FROM apps ORDER BY name", |row| {
            Ok(AppRow { name: text(row, 0)?.into(), settings: text(row, 1)?.to_owned() })
        })
    }

    /// Every X with the name of its application; `app` in it is nobody.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn load_numbers(&mut self) -> Result<Loaded<(Arc<str>, VirtualNumber)>, StoreError> {
        let apps = self.app_names()?;
        let mut names = Names::default();
        self.load("numbers", "SELECT number, app, trunk, area, state FROM numbers ORDER BY number", |row| {
            let number = rows::virtual_number(row, &mut names)?;
            let app = apps.get(&rows::integer(row, 1)?).ok_or_else(|| format!("number {}: app", number.number))?;
            Ok((Arc::clone(app), number))
        })
    }

    /// Until when each X rests that does; those that are past, too.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn load_rests(&mut self) -> Result<Loaded<(Number, u64)>, StoreError> {
        self.load("rests", "SELECT number, until FROM rests ORDER BY number", |row| {
            Ok((rows::number(row, 0)?, rows::integer(row, 1)?.cast_unsigned()))
        })
    }

    /// Every uploaded prompt.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn load_prompts(&mut self) -> Result<Loaded<PromptRow>, StoreError> {
        let sql = "SELECT app, name, state, remark, alaw, changed FROM prompts ORDER BY app, name";
        self.load("prompts", sql, |row| {
            let (app, name, state) = (text(row, 0)?, text(row, 1)?, text(row, 2)?);
            let state = PromptState::ALL.into_iter().find(|known| known.as_str() == state);
            let alaw = row.get_ref(4).ok().and_then(|alaw| alaw.as_blob().ok());
            Ok(PromptRow {
                app: app.into(),
                name: name.into(),
                state: state.ok_or_else(|| format!("prompt {app}/{name}: state"))?,
                remark: text(row, 3)?.to_owned(),
                alaw: alaw.ok_or_else(|| format!("prompt {app}/{name}: samples"))?.into(),
                changed: rows::integer(row, 5)?.cast_unsigned(),
            })
        })
    }

    /// What customers were to be told, in its order, and of which it is not known that the outbox has it.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn load_untold(&mut self) -> Result<Loaded<Notice>, StoreError> {
        self.load("untold", "SELECT id, app, channel, session, created, body FROM untold ORDER BY place", |row| {
            let (id, channel) = (text(row, 0)?, text(row, 2)?);
            let channel = Channel::ALL.into_iter().find(|known| known.as_str() == channel);
            Ok(Notice {
                id: id.to_owned(),
                app: text(row, 1)?.into(),
                channel: channel.ok_or_else(|| format!("notice {id}: channel"))?,
                session: text(row, 3)?.to_owned(),
                created: rows::integer(row, 4)?.cast_unsigned(),
                body: text(row, 5)?.to_owned(),
            })
        })
    }

    /// Shows `f` every binding with the name of its application; `app` in it is nobody. Equal names share their letters.
    /// Returns how many rows make no sense: they are left out, and have been logged.
    ///
    /// # Errors
    /// The database cannot be read.
    pub fn each_binding(&mut self, mut f: impl FnMut(&Arc<str>, Binding)) -> Result<usize, StoreError> {
        let apps = self.app_names()?;
        let mut names = Names::default();
        let mut statement =
            self.connection.prepare("SELECT id, app, mode, x, a, b, ends, terms FROM bindings ORDER BY id DESC")?;
        let mut found = statement.query([])?;
        let mut bad = 0;
        while let Some(row) = found.next()? {
            let binding = rows::binding(row, &mut names).and_then(|binding| {
                let app = apps.get(&rows::integer(row, 1)?).ok_or_else(|| format!("binding {}: app", binding.id()))?;
                Ok((app, binding))
            });
            match binding {
                Ok((app, binding)) => f(app, binding),
                Err(error) => bad += on_bad("bindings", error),
            }
        }
        Ok(bad)
    }

    /// Forgets the bindings that had ended by then (milliseconds of UNIX time).
    ///
    /// # Errors
    /// The database refuses.
    pub fn delete_ended(&mut self, now: u64) -> Result<(), StoreError> {
        let sql = "DELETE FROM bindings WHERE ends > 0 AND ends <= ?1";
        self.connection.execute(sql, [sqlite::clamped(now)])?;
        Ok(())
    }

    /// A secret of this name: made when it is first asked for, the same ever after.
    ///
    /// # Errors
    /// The database or the system's source of random bytes does not do.
    pub fn secret_key(&mut self, name: &str) -> Result<[u8; 32], StoreError> {
        let known: Option<[u8; 32]> =
            self.connection.query_row("SELECT value FROM meta WHERE name = ?1", [name], |row| row.get(0)).optional()?;
        if let Some(key) = known {
            return Ok(key);
        }
        let mut key = [0; 32];
        let source = Path::new("/dev/urandom");
        File::open(source).and_then(|mut source| source.read_exact(&mut key)).map_err(sqlite::at(source))?;
        self.connection.execute("INSERT INTO meta (name, value) VALUES (?1, ?2)", params![name, key])?;
        Ok(key)
    }

    /// Every row of a query that `read` can make sense of.
    fn load<T>(
        &mut self,
        table: &'static str,
        sql: &str,
        mut read: impl FnMut(&Row<'_>) -> Result<T, String>,
    ) -> Result<Loaded<T>, StoreError> {
        let mut statement = self.connection.prepare(sql)?;
        let mut found = statement.query([])?;
        let mut loaded = Loaded { rows: Vec::new(), bad: 0 };
        while let Some(row) = found.next()? {
            match read(row) {
                Ok(row) => loaded.rows.push(row),
                Err(error) => loaded.bad += on_bad(table, error),
            }
        }
        Ok(loaded)
    }

    fn app_names(&self) -> Result<HashMap<i64, Arc<str>>, StoreError> {
        let mut statement = self.connection.prepare("SELECT id, name FROM names")?;
        let names = statement.query_map([], |row| Ok((row.get(0)?, row.get::<_, Arc<str>>(1)?)))?;
        Ok(names.collect::<Result<_, _>>()?)
    }

    /// The connection, to spoil something.
    #[cfg(test)]
    pub(super) fn connection(&self) -> &Connection {
        &self.connection
    }
}

/// Writes the changes of one transaction.
struct Writer<'a> {
    transaction: &'a Transaction<'a>,
    apps: &'a mut HashMap<Arc<str>, i64>,
}

impl Writer<'_> {
    fn write(&mut self, change: &Change) -> rusqlite::Result<()> {
        let transaction = self.transaction;
        match change {
            Change::PutBinding { app, binding } => {
                let app = self.place(app)?;
                let sql = "REPLACE INTO bindings (id, app, mode, x, a, b, ends, terms) VALUES (?, ?, ?, ?, ?, ?, ?, ?)";
                rows::put_binding(&mut transaction.prepare_cached(sql)?, app, binding)?;
            }
            Change::EndBinding(id) => {
                transaction.prepare_cached("DELETE FROM bindings WHERE id = ?1")?.execute([rows::id_bytes(*id)])?;
            }
            Change::PutNumber { app, number } => {
                let app = self.place(app)?;
                let sql = "REPLACE INTO numbers (number, app, trunk, area, state) VALUES (?, ?, ?, ?, ?)";
                rows::put_number(&mut transaction.prepare_cached(sql)?, app, number)?;
            }
            Change::EndNumber(x) => {
                let x = [rows::digits(*x)];
                transaction.prepare_cached("DELETE FROM numbers WHERE number = ?1")?.execute(x)?;
                transaction.prepare_cached("DELETE FROM rests WHERE number = ?1")?.execute(x)?;
            }
            Change::Rest { x, until: 0 } => {
                transaction.prepare_cached("DELETE FROM rests WHERE number = ?1")?.execute([rows::digits(*x)])?;
            }
            Change::Rest { x, until } => {
                transaction
                    .prepare_cached("REPLACE INTO rests (number, until) VALUES (?1, ?2)")?
                    .execute([rows::digits(*x), until.cast_signed()])?;
            }
            Change::PutApp(app) => {
                transaction
                    .prepare_cached("REPLACE INTO apps (name, settings) VALUES (?1, ?2)")?
                    .execute(params![app.name, app.settings])?;
            }
            Change::EndApp(name) => {
                transaction.prepare_cached("DELETE FROM apps WHERE name = ?1")?.execute([name])?;
                transaction.prepare_cached("DELETE FROM prompts WHERE app = ?1")?.execute([name])?;
            }
            Change::PutPrompt(prompt) => {
                let sql = "REPLACE INTO prompts (app, name, state, remark, alaw, changed) VALUES (?, ?, ?, ?, ?, ?)";
                transaction.prepare_cached(sql)?.execute(params![
                    prompt.app,
                    prompt.name,
                    prompt.state.as_str(),
                    prompt.remark,
                    &*prompt.alaw,
                    prompt.changed.cast_signed(),
                ])?;
            }
            Change::EndPrompt { app, name } => {
                transaction.prepare_cached("DELETE FROM prompts WHERE app = ?1 AND name = ?2")?.execute([app, name])?;
            }
            Change::Audit(row) => audit::insert(transaction, row)?,
            Change::Tell(Notice { id, app, channel, session, created, body }) => {
                let sql = "REPLACE INTO untold (id, app, channel, session, created, body) VALUES (?, ?, ?, ?, ?, ?)";
                let values = params![id, app, channel.as_str(), session, sqlite::clamped(*created), body];
                transaction.prepare_cached(sql)?.execute(values)?;
            }
            Change::Told(id) => {
                transaction.prepare_cached("DELETE FROM untold WHERE id = ?1")?.execute([id])?;
            }
        }
        Ok(())
    }

    /// The place of an app in `names`, made where it is not there.
    fn place(&mut self, app: &Arc<str>) -> rusqlite::Result<i64> {
        if let Some(place) = self.apps.get(app) {
            return Ok(*place);
        }
        self.transaction.prepare_cached("INSERT OR IGNORE INTO names (name) VALUES (?1)")?.execute([app])?;
        let place = self
            .transaction
            .prepare_cached("SELECT id FROM names WHERE name = ?1")?
            .query_row([app], |row| row.get::<_, i64>(0))?;
        self.apps.insert(Arc::clone(app), place);
        Ok(place)
    }
}

fn text<'a>(row: &'a Row<'_>, column: usize) -> Result<&'a str, String> {
    row.get_ref(column).ok().and_then(|value| value.as_str().ok()).ok_or_else(|| format!("column {column} is no text"))
}

/// Tells of a row that makes no sense; one.
fn on_bad(table: &'static str, row: String) -> usize {
    tracing::error!(error = %StoreError::Row(table, row), "a row is left out");
    1
}
